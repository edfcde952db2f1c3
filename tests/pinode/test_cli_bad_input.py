"""What must not be, typed at the command line: named in the message, a non-zero exit, and nothing changed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pinode.cli_stage import CliStage, Ran, cli_stage

URLS = {
    "option": "--upload-pack=touch /tmp/x",
    "short option": "-u",
    "local path": "/etc",
    "relative path": "../blog",
    "ext transport": "ext::sh -c id",
    "fd transport": "fd::17/foo",
    "unknown transport": "gopher://example.org/x",
    "ssh option": "ssh://-oProxyCommand=id/x",
    "control character": "https://example.org/a\x07b",
    "newline": "https://example.org/a\nb",
    "space": "https://example.org/a b",
    "no repository": "https://example.org",
    "empty": "",
    "long": "https://example.org/" + "x" * 100_000,
}
LOCAL = {
    "file": "file:///srv/blog.git",
    "loopback name": "http://localhost/blog.git",
    "loopback": "http://127.0.0.1/blog.git",
    "loopback in short": "http://127.1/blog.git",
    "loopback v6": "http://[::1]/blog.git",
    "link-local": "http://169.254.169.254/latest/meta-data",
}
REFS = [
    "-x",
    "a..b",
    "a b",
    "a~1",
    "a^",
    "a:b",
    "a?",
    "a*",
    "a[",
    "a\\b",
    "/a",
    "a/",
    "a.lock",
    "@{",
    "a\x01",
    "x" * 300,
]
DIRECTORIES = ["/etc", "..", "a/../../b", "~", "-x", ".git", "a\nb", "c:\\x"]
APPS = [
    "Blog",
    "1blog",
    "-blog",
    "a_b",
    "a" * 31,
    "a.b",
    "..",
    "a/b",
    "a b",
    "a\nb",
    "блог",
    "",
    "a;id",
    "a%2Fb",
]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CliStage]:
    with cli_stage(tmp_path_factory.mktemp("node")) as stage:
        stage.add_app("blog")
        yield stage


def assert_refused(node: CliStage, ran: Ran, offending: str, before: int) -> None:
    assert ran.code == 2, ran
    assert ran.out == ""
    assert ran.err.startswith("pinode: ")
    shown = ran.err.replace("'", "").replace("\\\\", "\\")
    assert ascii(offending[:20])[1:-1].replace("\\\\", "\\") in shown or offending[:20] in shown, ran.err
    assert len(ran.err) < 1000
    assert node.cluster.commit_index == before


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
def test_a_repository_url_that_cannot_be(node: CliStage, url: str) -> None:
    before = node.cluster.commit_index

    ran = node.run("deploy", "-a", "blog", "--", url)

    assert_refused(node, ran, url, before)


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
def test_an_app_is_not_created_with_such_a_url(node: CliStage, url: str) -> None:
    before = node.cluster.commit_index

    ran = node.run("apps:create", "shop", f"--git={url}")

    assert_refused(node, ran, url, before)


@pytest.mark.parametrize("url", LOCAL.values(), ids=LOCAL)
def test_this_machine_and_its_neighbours_are_for_administrators(node: CliStage, url: str) -> None:
    node.let_in("ada")
    node.run_far("apps:create", "bobs", by="bob")
    before = node.cluster.commit_index

    ran = node.run_far("deploy", "-a", "bobs", url, by="bob")
    by_administrator = node.run("deploy", "-a", "bobs", url, "--no-wait")

    assert (ran.code, ran.out) == (2, "")
    assert url in ran.err and "dministrators" in ran.err
    assert by_administrator.code == 0
    assert node.cluster.commit_index > before


def test_a_url_with_a_password_is_not_shown_back(node: CliStage) -> None:
    ran = node.run("apps:create", "shop", "--git", "https://ada:hunter2@example.org/shop.git")

    assert ran.code == 2
    assert "hunter2" not in ran.err and "came with a password" in ran.err


@pytest.mark.parametrize("ref", REFS)
def test_a_ref_that_git_would_refuse(node: CliStage, ref: str) -> None:
    before = node.cluster.commit_index

    ran = node.run("deploy", "-a", "blog", f"--ref={ref}")

    assert_refused(node, ran, ref, before)


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_a_directory_outside_the_repository(node: CliStage, directory: str) -> None:
    before = node.cluster.commit_index

    ran = node.run("deploy", "-a", "blog", "https://example.org/you/blog.git", f"--dir={directory}")

    assert_refused(node, ran, directory, before)


@pytest.mark.parametrize("name", APPS)
def test_an_app_name_outside_its_pattern(node: CliStage, name: str) -> None:
    before = node.cluster.commit_index

    created = node.run("apps:create", "--", name)
    others = [
        node.run(*words, f"--app={name}")
        for words in (
            ["ps"],
            ["deploy", "https://example.org/x.git"],
            ["config:set", "A=1"],
            ["logs"],
            ["builds:output"],
        )
    ]
    destroyed = node.run("apps:destroy", f"--app={name}", f"--confirm={name}")

    for ran in (created, *others, destroyed):
        assert_refused(node, ran, name, before)


def test_a_process_type_outside_its_pattern(node: CliStage) -> None:
    before = node.cluster.commit_index

    for kind in ("we b", "we/b", "release"):
        ran = node.run("ps:scale", f"{kind}=1", "-a", "blog")
        assert_refused(node, ran, kind, before)


def test_a_build_number_that_cannot_be(node: CliStage) -> None:
    for number in ("0", "-1", "1e3", "../1", "99999999999999999999"):
        ran = node.run("builds:output", "-a", "blog", "--", number)
        assert ran.code == 2
        assert number in ran.err
    assert node.run("builds:output", "-a", "blog", "4711").code == 3


def test_text_of_a_user_reaches_no_shell(node: CliStage, tmp_path: Path) -> None:
    trap = tmp_path / "trap"

    for word in (
        f"$(touch {trap})",
        f"`touch {trap}`",
        f";touch {trap}",
        f"|touch {trap}",
        f"&& touch {trap}",
    ):
        assert node.run("deploy", "-a", "blog", word).code == 2
        assert node.run("apps:create", word).code == 2
        assert node.run("deploy", "-a", "blog", "--ref", word).code == 2

    assert not trap.exists()
