"""`pinode releases:info` and `pinode rollback`: notes of who, what, when and why, and the way back."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinode.apps.commands import FailRelease, MakeReleaseLive, Place
from pinode.apps.placement import Placement
from tests.pinode.cli_stage import CliStage, cli_stage
from tests.pinode.fake_cluster import FakeCluster
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
    for fact in ("live", "Deploy cccccccc", "ada", "c" * 40, "gunicorn app:app", " for aarch64"):
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
    placement = node.do(lambda cluster: place(cluster, release.version))
    assert process.stderr
    while b"web.1 on pi1: fetching" not in process.stderr.readline():
        pass
    node.do(lambda cluster: cluster.report(placement, "up"))
    node.do(lambda cluster: cluster.apply(MakeReleaseLive(app="blog", version=release.version)))
    ran = node.finish(process)

    assert (ran.code, ran.out) == (0, "http://192.0.2.1:9000/\n")
    assert re.search(r"-----> blog v3 answers after \d+\.\d s", ran.err)


def place(cluster: FakeCluster, version: int) -> Placement:
    """Its only dyno is placed, and its node fetches the slug."""
    number = cluster.apply(
        Place(app="blog", version=version, process_type="web", ordinal=1, node_id=cluster.node_id)
    )
    placement = next(one for one in cluster.state.registry.placements() if one.number == number)
    cluster.report(placement, "fetching")
    return placement


def test_a_rollback_that_does_not_come_up_is_1_with_the_reason(node: CliStage) -> None:
    process = node.start("rollback", "v1", "-a", "blog")
    until(
        lambda: node.cluster.state.registry.pending_release("blog"),
        within_seconds=10,
        saying="the rollback is asked for",
    )
    failed = FailRelease(
        app="blog", version=3, failure="web.1: exited with status 3", last_lines=("No module named flask",)
    )
    node.do(lambda cluster: cluster.apply(failed))
    ran = node.finish(process)

    assert (ran.code, ran.out) == (1, "")
    assert "       No module named flask\n" in ran.err
    assert "release v3 of blog failed: web.1: exited with status 3" in ran.err
    assert "No module named flask" in node.run("releases:info", "v3", "-a", "blog").out


def test_no_wait_only_asks_for_it(node: CliStage) -> None:
    ran = node.run("rollback", "v1", "--no-wait", "-a", "blog")

    assert (ran.code, ran.out) == (0, "v3\n")


def test_what_cannot_be_rolled_back_to_is_said_with_its_exit_code(node: CliStage) -> None:
    assert node.run("rollback", "v2", "-a", "blog").code == 5
    assert node.run("rollback", "v9", "-a", "blog").code == 3
    assert node.run("rollback", "yesterday", "-a", "blog").code == 2
