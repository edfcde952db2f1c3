"""How one release takes over from another: new dynos first, routes next, old dynos last."""

import pytest

from pinode.apps.commands import FailRelease, MakeReleaseLive, SetConfig, SetFormation, Unplace
from pinode.apps.placement import Placement
from pinode.scheduler.plan import DRAIN_GRACE_MS, FETCH_MS, MARGIN_MS, START_SECONDS
from tests.pinode.observed_world import ObservedWorld

START_MS = START_SECONDS * 1000 + MARGIN_MS


@pytest.fixture
def world() -> ObservedWorld:
    """v1 is live with one web dyno."""
    world = ObservedWorld()
    world.agreed.create()
    world.agreed.deploy()
    world.settle()
    return world


def states(world: ObservedWorld) -> dict[int, str]:
    return {release.version: release.state for release in world.agreed.registry.releases("blog")}


def placement_of(world: ObservedWorld, version: int, dyno: str = "web.1") -> Placement:
    found = [
        one
        for one in world.agreed.registry.placements_of("blog")
        if (one.version, one.dyno) == (version, dyno)
    ]
    return found[0]


def deploy_second(world: ObservedWorld) -> None:
    """v2 has a slug and a placement beside v1's."""
    world.agreed.deploy(slug="2", process_types={"web": "x", "worker": "y"})
    world.execute_plan()


def test_new_dynos_come_up_beside_the_old_before_anything_changes(world: ObservedWorld) -> None:
    deploy_second(world)
    world.report(placement_of(world, 2), "starting")

    assert sorted(world.where()) == ["v1 web.1", "v2 web.1"]
    assert world.plan().commands == ()
    assert states(world) == {1: "live", 2: "pending"}


def test_a_release_is_live_once_all_its_web_dynos_are_up(world: ObservedWorld) -> None:
    world.agreed.do(SetFormation(app="blog", quantities={"web": 2}, actor="ada"))
    world.settle()
    deploy_second(world)

    world.report(placement_of(world, 2, "web.1"), "up")
    assert world.plan().commands == ()

    world.report(placement_of(world, 2, "web.2"), "up")
    assert world.plan().commands == (MakeReleaseLive(app="blog", version=2),)


def test_old_dynos_end_only_when_the_routes_have_left_them(world: ObservedWorld) -> None:
    deploy_second(world)
    old = placement_of(world, 1).number
    world.report_all()
    world.execute_plan()

    at_once = world.plan()
    world.agreed.now += DRAIN_GRACE_MS

    assert at_once.commands == () and at_once.due_ms == world.agreed.now
    assert world.plan().commands == (Unplace(number=old),)


def test_a_worker_does_not_hold_the_web_up(world: ObservedWorld) -> None:
    world.agreed.deploy(slug="2", process_types={"web": "x", "worker": "y"}, default_formation={"worker": 1})
    world.execute_plan()

    world.report(placement_of(world, 2, "worker.1"), "fetching")
    world.report(placement_of(world, 2, "web.1"), "up")

    assert world.plan().commands == (MakeReleaseLive(app="blog", version=2),)


def test_an_app_of_workers_alone_is_live_when_all_of_them_are_up() -> None:
    world = ObservedWorld()
    world.agreed.create()
    world.agreed.deploy(
        process_types={"clock": "x", "worker": "y"}, default_formation={"clock": 1, "worker": 1}
    )
    world.execute_plan()

    world.report(placement_of(world, 1, "clock.1"), "up")
    assert world.plan().commands == ()
    world.report(placement_of(world, 1, "worker.1"), "up")
    assert world.plan().commands == (MakeReleaseLive(app="blog", version=1),)


def test_a_release_that_wants_no_dynos_is_live_at_once() -> None:
    world = ObservedWorld()
    world.agreed.create()
    world.agreed.deploy(process_types={"worker": "y"})

    assert world.plan().commands == (MakeReleaseLive(app="blog", version=1),)


def test_a_dyno_that_is_given_up_fails_the_release_and_the_old_one_keeps_serving(
    world: ObservedWorld,
) -> None:
    deploy_second(world)
    before = world.where()["v1 web.1"]

    detail = "it listened on 5000 instead of PORT."
    world.report(placement_of(world, 2), "failed", detail=detail, last_lines=("Listening on 5000",))
    world.settle()

    assert states(world) == {1: "live", 2: "failed"}
    failed = world.agreed.registry.release("blog", 2)
    assert failed is not None and failed.failure == f"web.1: {detail}"
    assert failed.last_lines == ("Listening on 5000",)
    assert world.where() == {"v1 web.1": before}


def test_a_crash_alone_does_not_fail_the_release(world: ObservedWorld) -> None:
    deploy_second(world)

    world.report(placement_of(world, 2), "crashed")

    assert world.plan().commands == ()


@pytest.mark.parametrize("state", ["starting", "crashed", None])
def test_a_release_that_is_not_up_in_time_fails(world: ObservedWorld, state: str | None) -> None:
    deploy_second(world)
    if state is not None:
        world.report(placement_of(world, 2), state)  # type: ignore[arg-type]

    due_ms = world.plan().due_ms
    assert due_ms == world.agreed.now + START_MS
    world.agreed.now = due_ms - 1
    assert world.plan().commands == ()
    world.agreed.now += 1

    (verdict,) = world.plan().commands
    assert isinstance(verdict, FailRelease)
    assert "web.1 on pi-" in verdict.failure and "not up in time" in verdict.failure


def test_fetching_a_large_slug_over_a_slow_network_does_not_count_as_starting(world: ObservedWorld) -> None:
    deploy_second(world)
    placement = placement_of(world, 2)
    began = world.agreed.now
    world.report(placement, "fetching")
    world.plan()

    world.agreed.now += 5 * START_MS
    assert world.plan().commands == ()
    world.report(placement, "starting")
    assert world.plan().due_ms == world.agreed.now + START_MS

    world.report(placement, "fetching")
    world.agreed.now = began + FETCH_MS
    assert [type(command) for command in world.plan().commands] == [FailRelease]


def test_a_new_leader_counts_deadlines_anew_and_fails_nothing_for_want_of_reports(
    world: ObservedWorld,
) -> None:
    deploy_second(world)
    world.plan()
    world.agreed.now += START_MS - 1

    world.change_leader()
    anew = world.plan()

    assert anew.commands == () and anew.due_ms == world.agreed.now + START_MS


def test_a_new_leader_finishes_the_rollout_it_finds(world: ObservedWorld) -> None:
    deploy_second(world)
    world.report_all()
    world.execute_plan()
    world.change_leader()

    world.settle()

    assert list(world.where()) == ["v2 web.1"]


def test_what_a_dead_node_last_said_makes_no_release_live(world: ObservedWorld) -> None:
    deploy_second(world)
    placement = placement_of(world, 2)
    world.report(placement, "up")

    world.set_state(placement.node_id, "dead")
    commands = world.execute_plan()

    assert MakeReleaseLive(app="blog", version=2) not in commands
    assert placement_of(world, 2).node_id != placement.node_id


def test_a_node_that_dies_during_the_rollout_is_replaced_and_the_rollout_goes_on(
    world: ObservedWorld,
) -> None:
    deploy_second(world)
    world.set_state(placement_of(world, 2).node_id, "dead")

    world.settle()

    assert states(world) == {1: "superseded", 2: "live"}


def test_of_two_pending_releases_only_the_newer_comes_up(world: ObservedWorld) -> None:
    deploy_second(world)
    world.agreed.do(SetConfig(app="blog", set_values={"A": b"1"}, actor="ada"))

    world.execute_plan()
    assert sorted(world.where()) == ["v1 web.1", "v3 web.1"]
    world.settle()

    assert states(world) == {1: "superseded", 2: "superseded", 3: "live"}


def test_a_failed_first_release_leaves_nothing_running() -> None:
    world = ObservedWorld()
    world.agreed.create()
    world.agreed.deploy()
    world.execute_plan()

    world.report(placement_of(world, 1), "failed")
    world.settle()

    assert states(world) == {1: "failed"}
    assert world.where() == {}


def test_scaling_during_a_rollout_reaches_both_releases(world: ObservedWorld) -> None:
    deploy_second(world)

    world.agreed.do(SetFormation(app="blog", quantities={"web": 2}, actor="ada"))
    world.execute_plan()

    assert sorted(world.where()) == ["v1 web.1", "v1 web.2", "v2 web.1", "v2 web.2"]
