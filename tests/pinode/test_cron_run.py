"""A run of cron as a real process in its real sandbox: once, over restarts of the node, and kept in the log."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pinode.apps.commands import FireCron, MakeReleaseLive, StartCronRun
from pinode.apps.cron import CronEntry, CronRun
from pinode.apps.observed import DynoReport
from tests.pinode.dyno_world import QUICK, World, make_world
from tests.waiting import eventually

WAIT = "echo waiting; until [ -e /app/go ]; do sleep 0.05; done; echo went on"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await make_world(tmp_path)
    yield made
    made.end_processes()


def deploy(world: World, *commands: str, **process_types: str) -> int:
    entries = tuple(CronEntry(schedule="@daily", command=command) for command in commands)
    version = world.deploy(schedule=entries, **(process_types or {"web": "exec python3 server.py"}))
    world.cluster.apply(MakeReleaseLive(app="blog", version=version))
    return version


def fire(world: World, *, ordinal: int = 1) -> int:
    live = world.cluster.state.registry.live_release("blog")
    assert live is not None
    number: int = world.cluster.apply(
        FireCron(
            app="blog",
            version=live.version,
            ordinal=ordinal,
            node_id=world.cluster.node_id,
            actor="ada",
        )
    )
    return number


def run(world: World, number: int) -> CronRun:
    found = world.cluster.state.registry.cron_run(number)
    assert found is not None
    return found


def log(world: World) -> str:
    return "".join(path.read_text() for path in (world.data_dir / "logs" / "blog").glob("cron.*.log"))


async def test_it_runs_with_the_apps_environment_and_its_output_status_and_time_are_kept(
    world: World,
) -> None:
    world.configure(PLACE="a $b")
    deploy(world, 'echo "tidying $PLACE in $PINODE_DYNO of $PINODE_RELEASE"; exit 3')
    async with world.running():
        number = fire(world)
        await eventually(lambda: run(world, number).has_ended, within_seconds=10)
        await eventually(world.is_gone(number))

    ended = run(world, number)
    assert (ended.exit_code, ended.failure) == (3, "it exited with status 3.")
    assert log(world).count("tidying a $b in cron.1 of v1") == 1


async def test_a_name_of_a_process_type_runs_what_that_runs_also_beside_a_type_named_cron(
    world: World,
) -> None:
    deploy(world, "tidy", "echo second", web="exec python3 server.py", tidy="echo first", cron="echo third")
    async with world.running():
        numbers = [fire(world, ordinal=ordinal) for ordinal in (1, 2)]
        await eventually(lambda: all(run(world, one).has_ended for one in numbers), within_seconds=10)

    assert [run(world, number).exit_code for number in numbers] == [0, 0]
    assert "first" in log(world) and "second" in log(world) and "third" not in log(world)


async def test_it_goes_on_while_the_node_process_is_replaced_and_is_not_started_again(world: World) -> None:
    deploy(world, WAIT)
    async with world.running():
        number = fire(world)
        await eventually(lambda: "waiting" in log(world), within_seconds=10)
        await eventually(world.is_in(number, "up"))
    async with world.running():
        await eventually(world.is_in(number, "up"), within_seconds=10)
        (world.data_dir / "dynos" / str(number) / "app" / "go").touch()
        await eventually(lambda: run(world, number).has_ended, within_seconds=10)

    assert run(world, number).exit_code == 0
    assert log(world).count("waiting") == 1


async def test_what_was_begun_and_has_no_process_is_not_begun_again_and_its_end_is_unknown(
    world: World,
) -> None:
    deploy(world, "echo began twice")
    number = fire(world)
    world.cluster.apply(StartCronRun(number=number))  # and then the power went

    async with world.running():
        await eventually(lambda: run(world, number).has_ended, within_seconds=10)

    assert str(run(world, number).failure).startswith("it is unknown how it ended")
    assert "began twice" not in log(world)


async def test_one_that_does_not_end_is_ended_at_its_bound(world: World) -> None:
    deploy(world, WAIT)
    timings = type(QUICK)(cron_seconds=0.5, stop_seconds=0.5)
    async with world.running(timings=timings):
        number = fire(world)
        await eventually(lambda: run(world, number).has_ended, within_seconds=10)

    assert run(world, number).failure == "it did not end within 0.5 s and was ended."


async def test_one_that_gives_way_to_the_next_is_stopped(world: World) -> None:
    entries = (CronEntry(schedule="@daily", command=WAIT, concurrency="replace"),)
    version = world.deploy(schedule=entries, web="exec python3 server.py")
    world.cluster.apply(MakeReleaseLive(app="blog", version=version))
    rows: dict[int, DynoReport] = world.rows
    async with world.running():
        first = fire(world)
        await eventually(world.is_in(first, "up"), within_seconds=10)
        second = fire(world)
        await eventually(world.is_in(second, "up"), within_seconds=10)
        await eventually(world.is_gone(first), within_seconds=10)

    assert run(world, first).failure == "it was ended for the next run."
    assert first not in rows
