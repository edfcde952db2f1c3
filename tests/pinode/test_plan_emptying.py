"""Cordoned, drained and leaving nodes: what the plan still gives them, and how their dynos move away."""

import pytest

from pinode.apps.commands import Place, SetFormation, Unplace
from pinode.apps.observed import Availability
from pinode.scheduler.plan import DRAIN_GRACE_MS
from tests.pinode.observed_world import ObservedWorld


def deployed(**quantities: int) -> ObservedWorld:
    world = ObservedWorld()
    world.agreed.create()
    world.agreed.deploy(process_types={"web": "x", "worker": "y"}, holders=())
    world.agreed.do(SetFormation(app="blog", quantities={"web": 1, "worker": 0} | quantities, actor="ada"))
    world.settle()
    return world


def running_on(world: ObservedWorld, node_id: str) -> list[str]:
    return [one.dyno for one in world.agreed.registry.placements() if one.node_id == node_id]


@pytest.mark.parametrize("availability", ["cordoned", "drained", "leaving"])
def test_a_node_that_takes_nothing_new_gets_no_dyno(availability: Availability) -> None:
    world = ObservedWorld()
    world.set_availability("a", availability)
    world.agreed.create()
    world.agreed.deploy(holders=("a",))
    world.agreed.do(SetFormation(app="blog", quantities={"web": 4}, actor="ada"))
    world.settle()

    assert not running_on(world, "a")
    assert len(running_on(world, "b")) == len(running_on(world, "c")) == 2


def test_a_cordoned_node_keeps_what_it_has() -> None:
    world = deployed(web=3)

    world.set_availability("a", "cordoned")
    world.settle()

    assert running_on(world, "a") == ["web.1"] or len(running_on(world, "a")) == 1


@pytest.mark.parametrize("availability", ["drained", "leaving"])
def test_a_web_dyno_serves_until_the_one_that_takes_its_place_is_up_and_routed_to(
    availability: Availability,
) -> None:
    world = deployed(web=1)
    home = world.where()["v1 web.1"]
    world.set_availability(home, availability)

    (moved,) = world.execute_plan()
    assert isinstance(moved, Place) and moved.is_beside and moved.node_id != home
    waiting = world.execute_plan()
    world.report_all("starting")
    still = world.execute_plan()
    assert waiting == still == () and running_on(world, home) == ["web.1"]

    world.report_all("up")
    assert world.execute_plan() == (), "the routers have yet to hear of it"
    world.agreed.now += DRAIN_GRACE_MS
    (ended,) = world.execute_plan()

    assert isinstance(ended, Unplace)
    assert not running_on(world, home) and running_on(world, moved.node_id) == ["web.1"]
    assert world.plan().commands == ()


def test_a_worker_is_never_one_too_many() -> None:
    world = deployed(web=0, worker=1)
    home = world.where()["v1 worker.1"]
    world.set_availability(home, "drained")

    world.execute_plan()

    placements = world.agreed.registry.placements()
    assert [one.dyno for one in placements] == ["worker.1"] and placements[0].node_id != home


def test_of_many_dynos_one_moves_when_the_last_is_up() -> None:
    world = deployed(web=6)
    world.set_availability("a", "drained")

    first = world.execute_plan()
    second = world.execute_plan()
    world.settle()

    assert len(first) == 1 and second == ()
    assert not running_on(world, "a") and len(world.agreed.registry.placements()) == 6


def test_what_moves_to_a_node_that_dies_goes_to_another_and_the_old_one_still_serves() -> None:
    world = deployed(web=1)
    home = world.where()["v1 web.1"]
    world.set_availability(home, "drained")
    (moved,) = world.execute_plan()
    assert isinstance(moved, Place)

    world.set_state(moved.node_id, "dead")
    world.execute_plan()

    assert running_on(world, home) == ["web.1"]
    world.settle()
    (placement,) = world.agreed.registry.placements()
    assert placement.node_id not in (home, moved.node_id)


def test_with_nowhere_to_go_dynos_stay_where_they_are() -> None:
    world = deployed(web=2)
    for node_id in "abc":
        world.set_availability(node_id, "drained")

    assert world.plan().commands == ()


def test_who_scales_down_meanwhile_loses_both() -> None:
    world = deployed(web=2)
    world.set_availability(world.where()["v1 web.2"], "drained")
    world.execute_plan()

    world.agreed.do(SetFormation(app="blog", quantities={"web": 1}, actor="ada"))
    world.settle()

    assert [one.dyno for one in world.agreed.registry.placements()] == ["web.1"]
