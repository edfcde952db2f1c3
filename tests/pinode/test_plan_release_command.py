"""A `release:` command: before any dyno of its release, once, and never a second time for want of an answer."""

import pytest

from pinode.apps.commands import (
    EndReleaseCommand,
    FailRelease,
    MakeReleaseLive,
    Place,
    Rollback,
    StartReleaseCommand,
)
from pinode.apps.errors import InvalidValue, PlacementNotFound, ReleaseCommandStarted, ReleaseNotPending
from pinode.apps.placement import Placement
from pinode.scheduler.plan import FETCH_MS
from tests.pinode.observed_world import ObservedWorld

TYPES = {"web": "serve", "release": "migrate"}


@pytest.fixture
def world() -> ObservedWorld:
    """v1 is live with one web dyno; v2 has a release command and its placement."""
    world = ObservedWorld()
    world.agreed.create()
    world.agreed.deploy()
    world.settle()
    world.agreed.deploy(slug="2", process_types=TYPES)
    world.execute_plan()
    return world


def command_of(world: ObservedWorld) -> Placement:
    (found,) = [one for one in world.agreed.registry.placements_of("blog") if one.process_type == "release"]
    return found


def state(world: ObservedWorld, version: int = 2) -> tuple[str, str]:
    release = world.agreed.registry.release("blog", version)
    assert release is not None
    return release.state, release.command_state


def start(world: ObservedWorld) -> Placement:
    placement = command_of(world)
    world.agreed.do(StartReleaseCommand(number=placement.number))
    return placement


def test_it_runs_before_any_dyno_of_its_release(world: ObservedWorld) -> None:
    assert sorted(world.where()) == ["v1 web.1", "v2 release.2"]
    assert world.plan().commands == ()

    start(world)

    assert world.plan().commands == ()
    assert state(world) == ("pending", "running")


def test_when_it_ended_well_the_rollout_goes_on(world: ObservedWorld) -> None:
    placement = start(world)

    world.agreed.do(EndReleaseCommand(number=placement.number, last_lines=("Migrated.",)))
    world.execute_plan()

    assert sorted(world.where()) == ["v1 web.1", "v2 web.1"]
    world.settle()
    release = world.agreed.registry.live_release("blog")
    assert release is not None
    assert (release.version, release.last_lines) == (2, ("Migrated.",))


def test_when_it_failed_its_release_fails_with_its_words_and_the_old_one_serves(world: ObservedWorld) -> None:
    placement = start(world)

    failed = EndReleaseCommand(
        number=placement.number, failure="it exited with status 1", last_lines=("no table",)
    )
    world.agreed.do(failed)
    world.settle()

    assert state(world) == ("failed", "failed") and state(world, 1)[0] == "live"
    release = world.agreed.registry.release("blog", 2)
    assert release is not None
    assert (release.failure, release.last_lines) == ("it exited with status 1", ("no table",))
    assert list(world.where()) == ["v1 web.1"]


def test_it_is_started_once(world: ObservedWorld) -> None:
    placement = start(world)

    with pytest.raises(ReleaseCommandStarted):
        world.agreed.do(StartReleaseCommand(number=placement.number))
    again = Place(
        app="blog", version=2, process_type="release", ordinal=2, node_id="c", replaces=placement.number
    )
    with pytest.raises(ReleaseCommandStarted):
        world.agreed.do(again)


def test_how_it_ended_counts_once_and_only_after_it_began(world: ObservedWorld) -> None:
    placement = command_of(world)
    with pytest.raises(InvalidValue):
        world.agreed.do(EndReleaseCommand(number=placement.number))

    start(world)
    world.agreed.do(EndReleaseCommand(number=placement.number))

    with pytest.raises(PlacementNotFound):
        world.agreed.do(EndReleaseCommand(number=placement.number, failure="x"))


def test_no_release_serves_before_its_command_ended_well(world: ObservedWorld) -> None:
    with pytest.raises(InvalidValue):
        world.agreed.do(MakeReleaseLive(app="blog", version=2))


def test_a_node_that_dies_before_it_began_is_replaced(world: ObservedWorld) -> None:
    first = command_of(world)
    world.set_state(first.node_id, "dead")

    world.execute_plan()

    moved = command_of(world)
    assert moved.node_id != first.node_id
    with pytest.raises(PlacementNotFound):  # the first node is back, and late
        world.agreed.do(StartReleaseCommand(number=first.number))


def test_a_node_that_dies_while_it_runs_fails_the_release_and_nobody_runs_it_again(
    world: ObservedWorld,
) -> None:
    placement = start(world)
    world.set_state(placement.node_id, "dead")

    (verdict,) = world.execute_plan()

    assert isinstance(verdict, FailRelease) and "unknown how the release command ended" in verdict.failure
    assert state(world) == ("failed", "failed")
    with pytest.raises(PlacementNotFound):
        world.agreed.do(EndReleaseCommand(number=placement.number))


def test_a_new_leader_waits_for_a_command_that_runs(world: ObservedWorld) -> None:
    start(world)
    world.change_leader()

    assert world.plan().commands == ()


def test_a_newer_release_lets_a_command_that_runs_come_to_its_end_and_runs_its_own_after_it(
    world: ObservedWorld,
) -> None:
    first = start(world)
    world.agreed.deploy(slug="3", process_types=TYPES)

    assert world.execute_plan() == ()
    assert sorted(world.where()) == ["v1 web.1", "v2 release.2"]
    world.agreed.do(EndReleaseCommand(number=first.number))
    world.execute_plan()

    assert state(world) == ("superseded", "succeeded")
    assert sorted(world.where()) == ["v1 web.1", "v3 release.3"]


def test_a_newer_release_drops_a_command_that_has_not_begun(world: ObservedWorld) -> None:
    first = command_of(world)
    world.agreed.deploy(slug="3", process_types=TYPES)

    world.execute_plan()

    with pytest.raises(PlacementNotFound):
        world.agreed.do(StartReleaseCommand(number=first.number))
    assert sorted(world.where()) == ["v1 web.1", "v3 release.3"]


def test_a_command_of_an_older_release_on_a_dead_node_holds_nobody_up(world: ObservedWorld) -> None:
    first = start(world)
    world.agreed.deploy(slug="3", process_types=TYPES)
    world.set_state(first.node_id, "dead")

    world.settle()

    assert state(world, 3) == ("live", "succeeded")


def test_a_node_that_cannot_bring_the_slug_fails_the_release_in_the_end(world: ObservedWorld) -> None:
    began = world.agreed.now
    assert world.plan().due_ms == began + FETCH_MS

    world.agreed.now = began + FETCH_MS

    assert [type(command) for command in world.plan().commands] == [FailRelease]


def test_a_rollback_runs_the_command_of_the_release_it_makes(world: ObservedWorld) -> None:
    world.settle()
    world.agreed.deploy(slug="3")
    world.settle()
    world.agreed.do(Rollback(app="blog", actor="ada", version=2))

    world.execute_plan()

    assert "v4 release.4" in world.where()


def test_a_release_that_ended_cannot_begin_its_command(world: ObservedWorld) -> None:
    world.agreed.do(FailRelease(app="blog", version=2, failure="x"))
    late = Place(app="blog", version=2, process_type="release", ordinal=2, node_id="a")
    with pytest.raises(ReleaseNotPending):
        world.agreed.do(late)
