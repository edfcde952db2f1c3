"""Logging in from elsewhere, tokens, and the git remote: the authority is pinned, the token stays at home."""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinode.cli.invocation import ExitCode
from pinode.cli.logins import fingerprint
from pinode.web.passwords import Cost, Passwords
from tests.builders.repositories import IDENTITY, make_repository
from tests.pinode.cli_stage import CliStage, Ran, cli_stage, finish, run_here, start_process
from tests.pinode.web_certificate import make_certificate

PASSWORD = "four random words"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[CliStage]:
    folder = tmp_path / "node"
    folder.mkdir()
    with cli_stage(folder) as stage:
        stage.add_app("blog")
        stored = _hashed(PASSWORD)
        stage.do(lambda cluster: cluster.add_user("bob", stored))
        yield stage


def _hashed(password: str) -> bytes:
    import asyncio

    return asyncio.run(Passwords(Cost(log2_n=4, r=1, p=1)).hash(password))


class Elsewhere:
    """A machine without a node, with a home of its own."""

    def __init__(self, node: CliStage, home: Path) -> None:
        self.node, self.home = node, home
        home.mkdir(exist_ok=True)
        self.environment = {"HOME": str(home)}

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.node.authority.read_text())

    def run(self, *words: str, **environment: str) -> Ran:
        return run_here("--no-input", *words, **self.environment, **environment)

    def log_in(self, *words: str, password: str = PASSWORD) -> Ran:
        secret = self.home / "password"
        secret.write_text(password + "\n")
        named = ["--username", "bob", "--password", f"@{secret}"]
        return self.run("auth:login", self.node.server, *named, *words)

    def pinned(self) -> Ran:
        return self.log_in("--fingerprint", self.fingerprint)


@pytest.fixture
def elsewhere(node: CliStage, tmp_path: Path) -> Elsewhere:
    return Elsewhere(node, tmp_path / "home")


def test_an_authority_that_nobody_vouched_for_is_not_trusted(elsewhere: Elsewhere) -> None:
    ran = elsewhere.log_in()

    assert ran.code == ExitCode.NOT_ALLOWED
    assert elsewhere.fingerprint in ran.err
    assert not list(elsewhere.home.rglob("logins.json"))


def test_another_authority_than_the_expected_one_is_refused(elsewhere: Elsewhere) -> None:
    ran = elsewhere.log_in("--fingerprint", "AB:" * 31 + "CD")

    assert ran.code == ExitCode.NOT_ALLOWED and "shows another authority" in ran.err


def test_after_the_login_commands_go_to_the_server_with_its_token(elsewhere: Elsewhere) -> None:
    assert elsewhere.pinned().code == 0

    whoami = elsewhere.run("--server", elsewhere.node.server, "auth:whoami")
    token = elsewhere.run("auth:token")

    assert (whoami.code, whoami.out) == (0, "bob\n"), whoami.err
    assert token.code == 0 and len(token.out.strip()) > 20
    kept = next(elsewhere.home.rglob("logins.json"))
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert PASSWORD not in kept.read_text()


def test_the_second_login_asks_nothing_and_another_authority_is_an_alarm(
    elsewhere: Elsewhere, tmp_path: Path
) -> None:
    elsewhere.pinned()
    again = elsewhere.log_in()
    (tmp_path / "other").mkdir()
    other = make_certificate(tmp_path / "other")[0].read_text()
    kept = next(elsewhere.home.rglob("logins.json"))
    mine = elsewhere.node.authority.read_text()
    kept.write_text(kept.read_text().replace(mine.replace("\n", "\\n"), other.replace("\n", "\\n")))

    changed = elsewhere.log_in()

    assert again.code == 0, again.err
    assert changed.code == ExitCode.NOT_ALLOWED and "another authority than before" in changed.err


def test_a_wrong_password_is_refused_and_nothing_kept(elsewhere: Elsewhere) -> None:
    ran = elsewhere.log_in("--fingerprint", elsewhere.fingerprint, password="wrong and long")

    assert ran.code == ExitCode.NOT_ALLOWED
    assert not list(elsewhere.home.rglob("logins.json"))


def test_a_password_is_not_taken_from_the_command_line(elsewhere: Elsewhere) -> None:
    ran = elsewhere.run(
        "auth:login", elsewhere.node.server, "--fingerprint", elsewhere.fingerprint,
        "--username", "bob", "--password", PASSWORD,
    )  # fmt: skip

    assert ran.code == ExitCode.USAGE and PASSWORD not in ran.err


def test_after_the_logout_the_token_opens_nothing(elsewhere: Elsewhere) -> None:
    elsewhere.pinned()
    token = elsewhere.run("auth:token").out.strip()

    out = elsewhere.run("--server", elsewhere.node.server, "auth:logout")

    assert out.code == 0, out.err
    assert elsewhere.run("auth:token").code == ExitCode.NOT_ALLOWED
    with_it = {"PINODE_TOKEN": token, "PINODE_CA": str(elsewhere.node.authority)}
    who = elsewhere.run("--server", elsewhere.node.server, "auth:whoami", **with_it)
    assert who.code == ExitCode.NOT_ALLOWED


def test_tokens_are_made_listed_and_revoked(node: CliStage) -> None:
    made = node.run_far("tokens:create", "ci", by="bob")
    token_id = node.run_far("tokens", "--json", by="bob").document["items"][0]["id"]

    with_it = {"PINODE_TOKEN": made.out.strip()}
    before = node.run_far("auth:whoami", by="bob", **with_it)
    revoked = node.run_far("tokens:revoke", token_id, by="bob")
    after = node.run_far("auth:whoami", by="bob", **with_it)

    assert (made.code, before.out, revoked.code, after.code) == (0, "bob\n", 0, ExitCode.NOT_ALLOWED)
    assert node.run_far("tokens:revoke", token_id, by="bob").code == ExitCode.NOT_FOUND


def git(folder: Path, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "GIT_SSL_CAINFO"}
    env = {**inherited, **IDENTITY, "HOME": str(home), "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    return subprocess.run(["git", *words], cwd=folder, env=env, capture_output=True, text=True, timeout=30)


def set_remote(elsewhere: Elsewhere, folder: Path, *words: str) -> Ran:
    """As a process: the command works on the repository of the folder it is called in."""
    process = start_process(*words, "git:remote", "-a", "blog", environment=elsewhere.environment, cwd=folder)
    return finish(process)


def test_git_knows_authority_and_token_of_the_remote_and_keeps_neither(
    elsewhere: Elsewhere, tmp_path: Path
) -> None:
    repository = make_repository(tmp_path / "app", {"x": "x"})
    elsewhere.pinned()
    token = elsewhere.run("auth:token").out.strip()
    elsewhere.node.do(_give_blog_to_bob)

    first = set_remote(elsewhere, repository.path, "--server", elsewhere.node.server)
    again = set_remote(elsewhere, repository.path, "--server", elsewhere.node.server)
    asked = git(repository.path, elsewhere.home, "ls-remote", "pinode")

    assert (first.code, again.code) == (0, 0), first.err + again.err
    assert "this node takes no pushes" in asked.stderr or "pushed here, not fetched" in asked.stderr
    assert token not in (repository.path / ".git" / "config").read_text()
    assert git(repository.path, elsewhere.home, "remote").stdout == "pinode\n"


@pytest.mark.parametrize("authorities", [None, "/etc/ssl/certs/ca-certificates.crt"])
def test_who_makes_git_trust_other_authorities_is_told_how_to_push_all_the_same(
    elsewhere: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authorities: str | None
) -> None:
    """git takes `GIT_SSL_CAINFO` rather than `http.<url>.sslCAInfo`, and the push would fail."""
    monkeypatch.delenv("GIT_SSL_CAINFO", raising=False)
    repository = make_repository(tmp_path / "app", {"x": "x"})
    elsewhere.pinned()
    elsewhere.node.do(_give_blog_to_bob)
    environment = {} if authorities is None else {"GIT_SSL_CAINFO": authorities}
    words = ("git:remote", "-a", "blog", "--server", elsewhere.node.server)

    process = start_process(*words, environment={**elsewhere.environment, **environment}, cwd=repository.path)

    ran = finish(process)
    assert ran.code == 0, ran.err
    assert ("env -u GIT_SSL_CAINFO git push pinode main" in ran.err) == (authorities is not None)


def test_the_helper_tells_other_hosts_nothing(elsewhere: Elsewhere, tmp_path: Path) -> None:
    elsewhere.pinned()
    for asked, known in (
        (f"127.0.0.1:{elsewhere.node.port}", True),
        ("github.com", False),
        ("127.0.0.1", False),
    ):
        process = start_process("auth:token", "--git", "get", environment=elsewhere.environment)

        answered = finish(process, f"protocol=https\nhost={asked}\n\n".encode())

        assert ("password=" in answered.out) == known, asked


def test_on_a_node_the_remote_needs_no_login(node: CliStage, tmp_path: Path) -> None:
    """Whoever can open the socket gets a token made for git."""
    repository = make_repository(tmp_path / "app", {"x": "x"})
    here = Elsewhere(node, tmp_path / "root")

    ran = set_remote(here, repository.path, "--data-dir", str(node.folder))

    assert ran.code == 0, ran.err
    config = (repository.path / ".git" / "config").read_text()
    assert "/git/blog.git" in config and "auth:token --git" in config
    assert len(node.cluster.state.people.tokens_of("ada", node.cluster.now_ms)) == 1


def test_outside_of_a_repository_the_remote_has_no_place(node: CliStage, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    here = Elsewhere(node, tmp_path / "root")

    ran = set_remote(here, tmp_path / "empty", "--data-dir", str(node.folder))

    assert ran.code == ExitCode.FAILED and "git init" in ran.err


def _give_blog_to_bob(cluster: object) -> None:
    from dataclasses import replace

    tables = cluster.state.registry._tables  # type: ignore[attr-defined]
    tables.apps.put("blog", replace(tables.apps.get("blog"), owner="bob"))
