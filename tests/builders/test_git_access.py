"""Private repositories: git gets what it needs, and no secret is in an argument list, the log, or left behind."""

import base64
import http.server
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from builders.errors import BuildError
from builders.git_access import GitAccess
from builders.git_url import check_git_url
from builders.source import fetch_source
from tests.builders.repositories import Repository, make_log, make_repository, make_request

PASSWORD = "pass%2Fword:with-strange;signs$(id)"
PLAIN = "pass/word:with-strange;signs$(id)"


class Guarded(http.server.SimpleHTTPRequestHandler):
    """A repository of plain files behind a password; looks at all argument lists while it is asked."""

    seen: list[str]
    wanted: str

    def do_GET(self) -> None:
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit():
                    self.seen.append((entry / "cmdline").read_bytes().decode(errors="replace"))
            except OSError:
                continue
        if self.headers.get("Authorization") != self.wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.end_headers()
            return
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = make_repository(tmp_path / "www" / "r", {"Procfile": "web: ./serve\n"})
    made.git("update-server-info")
    return made


@pytest.fixture
def served(tmp_path: Path, repository: Repository) -> Iterator[tuple[str, type[Guarded]]]:
    class Handler(Guarded):
        seen: list[str] = []  # noqa: RUF012
        wanted = "Basic " + base64.b64encode(f"joe:{PLAIN}".encode()).decode()

        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path / "www"))  # type: ignore[arg-type]

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}/r/.git", Handler
    server.shutdown()


def test_a_token_in_the_url_opens_the_repository_and_is_in_no_argument_list(
    tmp_path: Path, served: tuple[str, type[Guarded]]
) -> None:
    address, handler = served
    log, lines = make_log()

    fetch_source(make_request(tmp_path, f"http://joe:{PASSWORD}@{address}"), log)

    assert (tmp_path / "app" / "Procfile").exists()
    argument_lists = "\n".join(handler.seen)
    assert "git" in argument_lists
    for secret in (PASSWORD, PLAIN, "strange;signs"):
        assert secret not in argument_lists + "\n".join(lines)


def test_nothing_of_it_is_left_when_the_app_is_laid_out(
    tmp_path: Path, served: tuple[str, type[Guarded]]
) -> None:
    log, _ = make_log()

    fetch_source(make_request(tmp_path, f"http://joe:{PASSWORD}@{served[0]}"), log)

    for path in (tmp_path / "work").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert PLAIN.encode() not in content and PASSWORD.encode() not in content, path


def test_a_wrong_token_says_what_to_do_and_shows_none(
    tmp_path: Path, served: tuple[str, type[Guarded]]
) -> None:
    log, lines = make_log()

    with pytest.raises(BuildError, match="wants a password or key") as caught:
        fetch_source(make_request(tmp_path, f"http://joe:other-secret@{served[0]}"), log)

    assert "other-secret" not in str(caught.value) + "\n".join(lines)


SSH = """\
#!/bin/sh
for word in "$@"; do echo "$word" >> "$LOG.words"; done
for word in "$@"; do case "$last" in -i) cat "$word" >> "$LOG.key"; stat -c %a "$word" >> "$LOG.mode";; esac; last=$word; done
eval "exec $last"
"""


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `ssh` that notes how it is called and runs the command here."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "ssh").write_text(SSH.replace("$LOG", str(tmp_path / "ssh")))
    (tools / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return tmp_path / "ssh"


def test_a_deploy_key_is_given_to_ssh_as_a_private_file(
    tmp_path: Path, repository: Repository, ssh: Path
) -> None:
    log, lines = make_log()
    url = f"git@git.example.org:{repository.path}"

    fetch_source(make_request(tmp_path, url, deploy_key="KEY\nMATERIAL\n"), log)

    assert (tmp_path / "app" / "Procfile").exists()
    words = ssh.with_suffix(".words").read_text()
    assert ssh.with_suffix(".key").read_text().startswith("KEY\nMATERIAL\n")
    assert set(ssh.with_suffix(".mode").read_text().split()) == {"600"}
    assert "IdentitiesOnly=yes" in words and "StrictHostKeyChecking=accept-new" in words
    assert "MATERIAL" not in words + "\n".join(lines)
    assert not list((tmp_path / "work").rglob("key"))


def test_a_host_is_known_by_its_first_key_until_there_is_another_deploy_key(tmp_path: Path) -> None:
    def known_hosts(key: str, name: str) -> str:
        access = GitAccess(deploy_key=key, known_hosts="/own folder")
        return (
            access.write(tmp_path / name)["GIT_SSH_COMMAND"]
            .partition("UserKnownHostsFile=")[2]
            .split(" -i")[0]
        )

    assert known_hosts("a", "1") == known_hosts("a", "2") != known_hosts("b", "3")
    assert known_hosts("a", "4").startswith("'/own folder/known_hosts-")


def test_without_secrets_there_are_no_files(tmp_path: Path) -> None:
    env = GitAccess().write(tmp_path / "access")

    assert list((tmp_path / "access").iterdir()) == []
    assert env["GIT_ASKPASS"] == "/bin/false"
    assert stat.S_IMODE((tmp_path / "access").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("url", "bare", "credentials"),
    [
        ("https://h/x.git", "https://h/x.git", ("", "")),
        ("https://joe:a%40b@h:8443/x.git", "https://h:8443/x.git", ("joe", "a@b")),
        ("https://t0ken@h/x.git", "https://h/x.git", ("t0ken", "")),
        ("ssh://git:pw@h/x.git", "ssh://git@h/x.git", ("", "")),
        ("git@h:x.git", "git@h:x.git", ("", "")),
        ("file:///srv/x.git", "file:///srv/x.git", ("", "")),
    ],
)
def test_a_url_is_taken_apart(url: str, bare: str, credentials: tuple[str, str]) -> None:
    found = check_git_url(url, administrator=True)

    assert (found.bare, found.credentials) == (bare, credentials)
