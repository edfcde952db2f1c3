"""A `release:` command as a real process in its real sandbox: once, over restarts of the node, with its words."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pinode.apps.commands import Place, StartReleaseCommand
from pinode.apps.release import Release
from tests.pinode.dyno_world import QUICK, World, make_world
from tests.waiting import eventually

SERVE = "exec python3 server.py"
WAIT = "echo waiting; until [ -e /app/go ]; do sleep 0.05; done"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = await make_world(tmp_path)
    yield made
    made.end_processes()


def place_command(world: World, command: str) -> int:
    """A release with this command, and its placement here."""
    version = world.deploy(web=SERVE, release=command)
    world.cluster.apply(
        Place(
            app="blog",
            version=version,
            process_type="release",
            ordinal=version,
            node_id=world.cluster.node_id,
        )
    )
    return max(one.number for one in world.cluster.state.registry.placements())


def release(world: World) -> Release:
    found = world.cluster.state.registry.newest_release("blog")
    assert found is not None
    return found


def log(world: World, name: str = "release.*.log") -> str:
    return "".join(path.read_text() for path in (world.data_dir / "logs" / "blog").glob(name))


async def test_it_runs_once_with_the_apps_environment_and_its_output_is_kept(world: World) -> None:
    world.configure(DATABASE="a $b")
    async with world.running():
        number = place_command(world, 'echo "migrating $DATABASE for $PINODE_RELEASE in $PINODE_DYNO"')
        await eventually(lambda: release(world).command_state == "succeeded", within_seconds=10)
        await eventually(world.is_gone(number))

    assert release(world).state == "pending"
    assert release(world).last_lines == ("migrating a $b for v1 in release.1",)
    assert log(world).count("migrating a $b") == 1
    assert not world.cluster.state.registry.placements()


async def test_a_status_other_than_0_fails_the_release_with_its_last_lines(world: World) -> None:
    async with world.running():
        place_command(world, "echo looking; echo no such table: users >&2; exit 3")
        await eventually(lambda: release(world).state == "failed", within_seconds=10)

    assert str(release(world).failure).startswith("the release command exited with status 3.")
    assert release(world).last_lines == ("looking", "no such table: users")


async def test_one_that_does_not_end_is_ended_at_its_bound(world: World) -> None:
    timings = type(QUICK)(release_seconds=0.5, stop_seconds=0.5)
    async with world.running(timings=timings):
        number = place_command(world, "trap '' TERM; tail -f /dev/null & wait; wait; wait")
        await eventually(lambda: release(world).state == "failed", within_seconds=10)
        await eventually(world.is_gone(number))

    assert "did not end within 0.5 s and was ended" in str(release(world).failure)


async def test_it_goes_on_while_the_node_process_is_away_and_its_end_is_known(world: World) -> None:
    async with world.running():
        number = place_command(world, f"{WAIT}; echo done")
        await eventually(lambda: "waiting" in log(world), within_seconds=10)

    (world.data_dir / "dynos" / str(number) / "app" / "go").touch()
    await eventually(lambda: "done" in log(world), within_seconds=10)
    async with world.running():
        await eventually(lambda: release(world).command_state == "succeeded", within_seconds=10)

    assert release(world).last_lines == ("waiting", "done")


async def test_found_running_after_a_restart_of_the_node_it_is_not_started_again(world: World) -> None:
    async with world.running():
        number = place_command(world, f"echo began; {WAIT}; echo done")
        await eventually(lambda: "waiting" in log(world), within_seconds=10)

    async with world.running():
        await eventually(lambda: "waiting" in log(world), within_seconds=10)
        (world.data_dir / "dynos" / str(number) / "app" / "go").touch()
        await eventually(lambda: release(world).command_state == "succeeded", within_seconds=10)

    assert release(world).last_lines == ("began", "waiting", "done")


async def test_a_start_that_was_agreed_and_left_no_process_is_an_unknown_end_and_nothing_runs(
    world: World,
) -> None:
    number = place_command(world, "echo ran")
    world.cluster.apply(StartReleaseCommand(number=number))  # and the node died in that moment

    async with world.running():
        await eventually(lambda: release(world).state == "failed", within_seconds=10)

    assert "unknown how the release command ended" in str(release(world).failure)
    assert "ran" not in log(world).replace("on which it ran", "")


async def test_what_was_cut_off_by_a_power_cut_is_an_unknown_end(world: World) -> None:
    async with world.running():
        number = place_command(world, f"echo began; {WAIT}")
        await eventually(lambda: "waiting" in log(world), within_seconds=10)
    status = world.data_dir / "dynos" / str(number) / "status"
    world.end_processes()
    await eventually(lambda: "exit-code" in status.read_text())
    status.write_text(status.read_text().splitlines()[0] + "\n")  # nobody was there to write the rest

    async with world.running():
        await eventually(lambda: release(world).state == "failed", within_seconds=10)

    assert "unknown how the release command ended" in str(release(world).failure)
    assert log(world).count("began") == 1
