"""`pinode cron` and `cron:run`: what there is, how it went, and the exit code of a run."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinode.apps.commands import EndCronRun, StartCronRun, StopDynos
from pinode.apps.cron import CronEntry
from tests.pinode.cli_stage import CliStage, cli_stage
from tests.pinode.fake_cluster import FakeCluster

ENTRIES = (
    CronEntry(schedule="0 3 * * *", command="python tidy.py"),
    CronEntry(schedule="@hourly", command="report", is_suspended=True),
)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[CliStage]:
    with cli_stage(tmp_path) as stage:
        stage.add_app("blog")
        stage.do(deploy)
        yield stage


def deploy(cluster: FakeCluster) -> None:
    version = cluster.complete_build(cluster.start_build("blog"), schedule=ENTRIES)
    cluster.bring_up("blog", version)


def finish_what_begins(node: CliStage, exit_code: int) -> object:
    """Have the next run end with this status, as soon as it is asked for; the task that does it."""

    async def finish(cluster: FakeCluster) -> None:
        while not cluster.state.registry.open_cron_runs():
            await cluster.changed(cluster.revision)
        (run,) = cluster.state.registry.open_cron_runs()
        failure = f"it exited with status {exit_code}."
        cluster.apply(StartCronRun(number=run.number))
        cluster.apply(EndCronRun(number=run.number, exit_code=exit_code, failure=failure))

    return node.do(lambda cluster: asyncio.create_task(finish(cluster)))


def test_a_table_says_when_each_comes_next_and_how_it_went_last(node: CliStage) -> None:
    before = node.run("cron", "-a", "blog")
    task = finish_what_begins(node, 3)
    node.run("cron:run", "cron.1", "-a", "blog")
    after = node.run("cron", "-a", "blog")
    document = node.run("cron", "-a", "blog", "--json").document

    assert task and before.code == 0 and "At 03:00 every day" in before.out and "only by hand" in before.out
    assert "it exited with status 3, 0 s ago" in after.out
    assert [entry["id"] for entry in document["items"]] == [1, 2]


def test_a_run_that_is_waited_for_gives_its_exit_code_back(node: CliStage) -> None:
    task = finish_what_begins(node, 7)

    ran = node.run("cron:run", "2", "-a", "blog", "--json")

    assert task and ran.code == 7
    assert ran.document["failure"] == "it exited with status 7."
    assert "pinode logs -p cron.2 -a blog" in ran.err


def test_what_is_no_entry_is_refused(node: CliStage) -> None:
    assert node.run("cron:run", "9", "-a", "blog").code == 3
    assert node.run("cron:run", "web.1", "-a", "blog").code == 2


def test_a_stopped_app_and_one_without_cron_say_so(node: CliStage) -> None:
    node.do(lambda cluster: cluster.apply(StopDynos(app="blog", actor="ada")))
    node.add_app("shop")

    assert "app stopped" in node.run("cron", "-a", "blog").out
    assert "app.json" in node.run("cron", "-a", "shop").err
