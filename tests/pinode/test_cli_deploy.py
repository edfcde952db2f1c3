"""`pinode deploy`: the build as it goes, the URL at the end, and the reason when there is none."""

import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pinode.apps.commands import EndCancelledBuild, FailBuild, FailRelease
from pinode.cli.build_commands import follow_build, wait_for_release
from pinode.cli.invocation import ExitCode, Failure
from tests.pinode.cli_stage import CliStage, cli_stage
from tests.waiting import until

URL = "http://192.0.2.1:9000/\n"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[CliStage]:
    with cli_stage(tmp_path) as stage:
        stage.add_app("blog")
        yield stage


class Deploying:
    """A deploy that runs, and the build it asked for."""

    def __init__(self, node: CliStage, *words: str) -> None:
        self.node = node
        self.process: subprocess.Popen[bytes] = node.start("deploy", "-a", "blog", *words)
        found = until(
            lambda: node.cluster.state.registry.builds("blog"),
            within_seconds=10,
            saying="the build is asked for",
        )
        self.build_id = found[0].id

    def build(self, log: str = "-----> Cloning\n") -> None:
        (self.node.folder / f"{self.build_id}.log").write_text(log)
        self.node.do(lambda cluster: cluster.take_build(self.build_id))

    @property
    def token(self) -> int:
        build = self.node.cluster.state.registry.build(self.build_id)
        assert build
        return build.token

    def end(self) -> tuple[int, str, str]:
        ran = self.node.finish(self.process)
        return ran.code, ran.out, ran.err


def test_a_deploy_shows_the_build_and_gives_the_url(node: CliStage) -> None:
    deploying = Deploying(node)

    deploying.build("-----> Cloning\n       Flask found\n")
    version = node.do(lambda cluster: cluster.complete_build(deploying.build_id))
    node.do(lambda cluster: cluster.bring_up("blog", version))
    code, out, err = deploying.end()

    assert (code, out) == (0, URL)
    assert "-----> Cloning\n       Flask found\n" in err
    assert re.search(
        r"-----> blog v1 answers after \d+\.\d s\n       also at http://blog\.local:8080/\n", err
    )


def test_a_deploy_passes_on_what_is_to_be_built(node: CliStage) -> None:
    ran = node.run(
        "deploy",
        "https://example.org/shop.git",
        "--ref",
        "v1.2",
        "--dir",
        "web",
        "-a",
        "blog",
        "--no-wait",
        "--json",
    )

    document = ran.document
    assert (document["git_url"], document["ref"], document["dir"]) == (
        "https://example.org/shop.git",
        "v1.2",
        "web",
    )
    assert document["state"] == "queued"


def test_no_wait_gives_the_builds_number_with_which_it_can_be_cancelled(node: CliStage) -> None:
    number = node.run("deploy", "-a", "blog", "--no-wait").out.strip()

    cancelled = node.run("builds:cancel", number, "-a", "blog")
    again = node.run("builds:cancel", number, "-a", "blog")

    assert (cancelled.code, again.code) == (0, 5)
    assert node.run("builds", "-a", "blog", "--json").document["items"][0]["state"] == "cancelled"


def test_a_build_that_fails_is_1_with_the_reason(node: CliStage) -> None:
    deploying = Deploying(node)

    deploying.build("-----> Installing\n")
    failed = FailBuild(
        build_id=deploying.build_id, token=deploying.token, failure="no requirements.txt. Add one."
    )
    node.do(lambda cluster: cluster.apply(failed))
    code, out, err = deploying.end()

    assert (code, out) == (1, "")
    assert f"build {deploying.build_id} of blog failed: no requirements.txt. Add one." in err
    assert "-----> Installing" in err


def test_a_release_that_fails_is_1_with_the_reason_and_where_to_look(node: CliStage) -> None:
    deploying = Deploying(node)

    deploying.build()
    version = node.do(lambda cluster: cluster.complete_build(deploying.build_id))
    node.do(
        lambda cluster: cluster.apply(FailRelease(app="blog", version=version, failure="it listens on 5000"))
    )
    code, out, err = deploying.end()

    assert (code, out) == (1, "")
    assert "release v1 of blog failed: it listens on 5000" in err
    assert "pinode logs -a blog" in err


def test_a_deploy_that_is_cancelled_elsewhere_is_1(node: CliStage) -> None:
    deploying = Deploying(node)

    assert node.run("builds", "cancel", str(deploying.build_id), "-a", "blog").code == 0
    code, _, err = deploying.end()

    assert code == 1
    assert "was cancelled" in err


def test_ctrl_c_leaves_the_deploy_running_and_says_how_to_go_on(node: CliStage) -> None:
    deploying = Deploying(node)
    deploying.build()
    assert deploying.process.stderr
    while b"Cloning" not in deploying.process.stderr.readline():
        pass

    deploying.process.send_signal(signal.SIGINT)
    code, _, err = deploying.end()

    assert code == 130
    assert f"pinode builds:output {deploying.build_id} -a blog" in err
    assert f"pinode builds:cancel {deploying.build_id} -a blog" in err
    assert node.run("builds", "-a", "blog", "--json").document["items"][0]["state"] == "building"


def test_the_output_of_the_newest_build_is_shown_as_text_or_as_documents(node: CliStage) -> None:
    assert node.run("builds:output", "-a", "blog").code == 3
    build = node.do(lambda cluster: cluster.start_build("blog"))
    (node.folder / f"{build}.log").write_text("-----> Cloning\n\n       the end")
    node.do(lambda cluster: cluster.complete_build(build))

    text = node.run("builds:output", "-a", "blog")
    documents = node.run("builds:output", str(build), "-a", "blog", "--json")

    assert text.out == "-----> Cloning\n\n       the end\n"
    assert documents.out == '{"text": "-----> Cloning"}\n{"text": ""}\n{"text": "       the end"}\n'


class ScriptedClient:
    """An API whose log breaks off, once after each of these parts but the last."""

    def __init__(self, *parts: Sequence[str], failing: Failure | None = None) -> None:
        self._parts = list(parts)
        self._failing = failing or Failure("the stream broke off")

    def lines(self, _path: str, **_: object) -> Iterator[str]:
        part = self._parts.pop(0)
        yield from part
        if self._parts or not part:
            raise self._failing

    def get(self, path: str, **_: object) -> Any:
        if len(self._parts) > 1:
            self._parts.pop(0)
            raise self._failing
        if "releases" in path:
            return {"version": 7, "state": "live", "has_served": True}
        return {"state": "succeeded", "version": 7}


def test_a_log_that_breaks_off_goes_on_where_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    client = ScriptedClient(
        ["one", "two", "two"], ["waits for a node", "one", "two"], ["one", "two", "two", "three"]
    )

    follow_build(client, "blog", 1)  # type: ignore[arg-type]

    assert capsys.readouterr().err.splitlines() == ["one", "two", "two", "waits for a node", "three"]


def test_waiting_for_a_release_survives_a_node_that_is_away_for_a_moment() -> None:
    away = Failure("no node answers", code=ExitCode.NO_NODE)

    build = wait_for_release(ScriptedClient([], [], [], failing=away), "blog", 1)  # type: ignore[arg-type]

    assert build["version"] == 7


def test_what_waiting_does_not_mend_ends_the_deploy_at_once() -> None:
    gone = Failure("there is no app named 'blog'", code=ExitCode.NOT_FOUND)

    with pytest.raises(Failure, match="no app named") as caught:
        follow_build(ScriptedClient([], [], failing=gone), "blog", 1)  # type: ignore[arg-type]

    assert caught.value.code == ExitCode.NOT_FOUND


def test_one_build_is_shown_with_what_came_of_it(node: CliStage) -> None:
    node.release("blog")

    ran = node.run("builds:info", "-a", "blog")
    build = node.run("builds:info", "-a", "blog", "--json").document

    assert ran.out.startswith(f"build {build['id']} of blog\n")
    for fact in ("succeeded", "v1", "c" * 40, "pi1", "ada"):
        assert fact in ran.out
    assert node.run("builds:info", "999", "-a", "blog").code == 3


def test_cancelled_is_said_only_when_nothing_of_the_build_runs_any_more(node: CliStage) -> None:
    build_id = node.do(lambda cluster: cluster.start_build("blog"))
    build = node.cluster.state.registry.build(build_id)
    process = node.start("builds:cancel", str(build_id), "-a", "blog")
    until(
        lambda: node.cluster.state.registry.build(build_id).cancelled_by,  # type: ignore[union-attr]
        within_seconds=10,
        saying="the build is to be ended",
    )
    was_running = process.poll() is None

    node.do(lambda cluster: cluster.apply(EndCancelledBuild(build_id=build_id, token=build.token)))  # type: ignore[union-attr]
    ran = node.finish(process)

    assert was_running and ran.code == 0 and f"cancelled build {build_id}" in ran.err
