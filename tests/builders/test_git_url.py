"""Which repositories, refs and directories may be asked for (contract: bad input)."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.errors import InvalidRequest
from builders.git_url import check_directory, check_git_url, check_ref, without_credentials


@pytest.mark.parametrize(
    ("url", "transport", "host"),
    [
        ("https://github.com/ada/blog", "https", "github.com"),
        ("http://192.168.1.20:3000/ada/blog.git", "http", "192.168.1.20"),
        ("ssh://git@gitea.home:2222/ada/blog.git", "ssh", "gitea.home"),
        ("git@github.com:ada/blog.git", "ssh", "github.com"),
        ("https://[fd00::1]/ada/blog", "https", "fd00::1"),
        ("https://token@example.org/blog", "https", "example.org"),
    ],
)
def test_usual_repositories_and_private_networks_are_allowed(url: str, transport: str, host: str) -> None:
    checked = check_git_url(url, administrator=False)

    assert (checked.transport, checked.host) == (transport, host)


@pytest.mark.parametrize(
    "url",
    [
        "", "-", "--upload-pack=touch /tmp/x", "-u", "ext::sh -c id", "ext::sh", "file:///etc", "/etc", "./blog", "../x",
        "~/blog", "blog", "git://github.com/a/b", "ftp://example.org/a", "ssh://-oProxyCommand=id/a",
        "ssh://-oProxyCommand=id@host/a", "-oProxyCommand=id@host:a", "git@-oProxyCommand=id:a", "git@host:-x",
        "https://", "https:///a", "https://example.org", "https://example.org/", "https://example.org/a?b", "http://a b/c",
        "https://example.org/a\nb", "https://example.org/a\0", "https://exa\u043cple.org/a", "https://example.org:0/a",
        "https://example.org:99999/a", "https://example.org/" + "a" * 100_000, "javascript://example.org/a",
        "HTTPS+ext://example.org/a", "https://example.org/a#b", "fd::17/foo", "https://[::1/a", "git@host://a",
    ],
)  # fmt: skip
def test_options_paths_other_transports_and_strange_text_are_refused(url: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_git_url(url, administrator=False)

    assert refused.value.hint
    assert len(str(refused.value)) < 500
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "localhost", "LOCALHOST.", "a.localhost", "[::1]",
        "[::ffff:127.0.0.1]", "169.254.169.254", "[fe80::1]", "0.0.0.0", "0", "[::]", "224.0.0.1",
    ],
)  # fmt: skip
def test_loopback_and_link_local_are_for_administrators_however_they_are_spelled(host: str) -> None:
    url = f"http://{host}/blog.git"

    assert check_git_url(url, administrator=True).url == url
    with pytest.raises(InvalidRequest, match="administrator"):
        check_git_url(url, administrator=False)


def test_the_nodes_own_disk_is_for_administrators() -> None:
    assert check_git_url("file:///srv/blog.git", administrator=True).transport == "file"

    with pytest.raises(InvalidRequest, match="administrator"):
        check_git_url("file:///srv/blog.git", administrator=False)
    with pytest.raises(InvalidRequest):
        check_git_url("file://host/srv/blog.git", administrator=True)


def test_credentials_are_neither_shown_nor_quoted() -> None:
    checked = check_git_url("https://ada:s3cret@example.org/blog", administrator=False)

    assert checked.shown == "https://example.org/blog"
    assert "s3cret" not in repr(checked)
    assert "s3cret" in checked.secrets
    with pytest.raises(InvalidRequest) as refused:
        check_git_url("https://ada:s3cret@127.0.0.1/blog", administrator=False)
    assert "s3cret" not in str(refused.value)


def test_text_with_a_url_loses_its_credentials() -> None:
    text = "fatal: unable to access 'https://ada:s3c:ret@example.org/blog/': 403"

    assert without_credentials(text) == "fatal: unable to access 'https://***@example.org/blog/': 403"


REFS = [
    "main", "v1.2", "feature/login", "a" * 40, "a..b", "-x", "/x", "x/", "x.", "x.lock", "a/.b", "a//b", "a b", "a~b",
    "a^b", "a:b", "a?b", "a*b", "a[b", "a\\b", "a@{b", "@", "a\x7fb", "refs/heads/x", ".x", "x@y", "a.lock/b", "ä",
]  # fmt: skip


@pytest.mark.parametrize("ref", REFS)
def test_refs_are_those_that_git_takes(ref: str) -> None:
    """Outside ASCII we refuse what git would take; on its own, `@` and a leading `-` as well."""
    assert _is_taken(ref) <= _git_takes(ref)
    if ref.isascii() and ref != "@" and not ref.startswith("-"):
        assert _is_taken(ref) == _git_takes(ref)


@settings(max_examples=60)
@given(st.text(alphabet="ab./-@{~^:?*[\\ \n\x00\x7f", min_size=1, max_size=8))
def test_no_ref_gets_through_that_git_would_refuse(ref: str) -> None:
    if _is_taken(ref):
        assert _git_takes(ref)


def _is_taken(ref: str) -> bool:
    try:
        check_ref(ref)
    except InvalidRequest:
        return False
    return True


def _git_takes(ref: str) -> bool:
    if "\0" in ref:
        return False
    return subprocess.run(["git", "check-ref-format", f"refs/heads/{ref}"], check=False).returncode == 0


@pytest.mark.parametrize(
    "directory", ["/etc", "..", "a/../..", "-x", "a\nb", "a\0", ".git/hooks", "~ada", "a:b", "x" * 9999]
)
def test_directories_outside_the_repository_are_refused(directory: str) -> None:
    with pytest.raises(InvalidRequest):
        check_directory(directory)


def test_directories_are_normalised() -> None:
    assert check_directory("./services//web/") == "services/web"
    assert check_directory(".") == ""
