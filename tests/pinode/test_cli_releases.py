"""`pinode releases:info` and `pinode rollback`: notes of who, what, when and why, and the way back."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinode.apps.commands import FailRelease
from tests.pinode.cli_stage import CliStage, cli_stage
from tests.waiting import until


@pytest.fixture
def node(tmp_path: Path) -> Iterator[CliStage]:
    with cli_stage(tmp_path) as stage:
        stage.add_app("blog")
        stage.release("blog")
        stage.release("blog")
        yield stage


def test_one_release_says_who_made_it_of_what_and_what_it_runs(node: CliStage) -> None:
    newest, first = node.run("releases:info", "-a", "blog"), node.run("releases:info", "v1", "-a", "blog")

    assert newest.out.startswith("blog v2\n") and first.out.startswith("blog v1\n")
    for fact in ("live", "Deploy cccccccc", "ada", "c" * 40, "gunicorn app:app"):
        assert fact in newest.out
    assert node.run("releases:info", "1", "-a", "blog", "--json").document["state"] == "superseded"
    assert node.run("releases:info", "v9", "-a", "blog").code == 3
    assert node.run("releases:info", "newest", "-a", "blog").code == 2


def test_a_rollback_waits_until_it_answers_and_gives_the_url(node: CliStage) -> None:
    process = node.start("rollback", "-a", "blog")
    release = until(
        lambda: node.cluster.state.registry.pending_release("blog"),
        within_seconds=10,
        saying="the rollback is asked for",
    )
    node.do(lambda cluster: cluster.bring_up("blog", release.version))
    ran = node.finish(process)

    assert (ran.code, ran.out) == (0, "http://192.0.2.1:9000/\n")
    assert "-----> Rollback to v1 is v3\n" in ran.err
    assert re.search(r"-----> blog v3 answers after \d+\.\d s", ran.err)


def test_a_rollback_that_does_not_come_up_is_1_with_the_reason(node: CliStage) -> None:
    process = node.start("rollback", "v1", "-a", "blog")
    until(
        lambda: node.cluster.state.registry.pending_release("blog"),
        within_seconds=10,
        saying="the rollback is asked for",
    )
    failed = FailRelease(app="blog", version=3, failure="web.1: exited with status 3")
    node.do(lambda cluster: cluster.apply(failed))
    ran = node.finish(process)

    assert (ran.code, ran.out) == (1, "")
    assert "release v3 of blog failed: web.1: exited with status 3" in ran.err


def test_no_wait_only_asks_for_it(node: CliStage) -> None:
    ran = node.run("rollback", "v1", "--no-wait", "-a", "blog")

    assert (ran.code, ran.out) == (0, "v3\n")


def test_what_cannot_be_rolled_back_to_is_said_with_its_exit_code(node: CliStage) -> None:
    assert node.run("rollback", "v2", "-a", "blog").code == 5
    assert node.run("rollback", "v9", "-a", "blog").code == 3
    assert node.run("rollback", "yesterday", "-a", "blog").code == 2
