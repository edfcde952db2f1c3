"""A rollout where memory is short: new dynos one by one, old ones give way, and one serves to the last."""

from dataclasses import replace

import pytest

from pinode.apps.commands import SetFormation
from pinode.apps.observed import NodeStats
from tests.pinode.observed_world import ObservedWorld

FULL = NodeStats(memory_percent=95.0)


@pytest.fixture
def world() -> ObservedWorld:
    """v1 is live with four web dynos and a worker, v2 waits, and every node is full."""
    world = ObservedWorld()
    world.agreed.create()
    world.agreed.deploy(process_types={"web": "x", "worker": "y"})
    world.agreed.do(SetFormation(app="blog", quantities={"web": 4, "worker": 1}, actor="ada"))
    world.settle()
    for node_id in world.nodes:
        world.nodes[node_id] = replace(world.nodes[node_id], stats=FULL)
    world.agreed.deploy(slug="2", process_types={"web": "x", "worker": "y"})
    return world


def running(world: ObservedWorld, version: int) -> list[str]:
    return sorted(name.split()[1] for name in world.where() if name.startswith(f"v{version} "))


def test_a_new_dyno_comes_when_the_last_one_is_up_and_an_old_one_gives_way_for_the_next(
    world: ObservedWorld,
) -> None:
    world.execute_plan()
    assert running(world, 2) == ["web.1"] and len(running(world, 1)) == 5
    assert world.execute_plan() == ()

    world.report_all()
    world.execute_plan()

    assert running(world, 2) == ["web.1", "web.2"]
    assert running(world, 1) == ["web.2", "web.3", "web.4", "worker.1"]


def test_never_more_than_one_dyno_too_many_and_never_none_of_the_old_release(world: ObservedWorld) -> None:
    counts = []
    while (release := world.agreed.registry.live_release("blog")) and release.version == 1:
        world.execute_plan()
        counts.append(len(world.where()))
        assert [name for name in running(world, 1) if name.startswith("web")]
        world.report_all()

    assert max(counts) <= 6
    world.settle()
    assert running(world, 1) == [] and len(running(world, 2)) == 5


def test_when_it_fails_half_way_the_old_release_has_all_its_dynos_again(world: ObservedWorld) -> None:
    for _ in range(3):
        world.execute_plan()
        world.report_all()
    assert len(running(world, 1)) < 5

    failing = next(one for one in world.agreed.registry.placements() if one.version == 2)
    world.report(failing, "failed")
    world.settle()

    assert running(world, 2) == []
    assert running(world, 1) == ["web.1", "web.2", "web.3", "web.4", "worker.1"]


def test_with_a_single_dyno_the_new_one_still_comes_beside_it(world: ObservedWorld) -> None:
    world.agreed.do(SetFormation(app="blog", quantities={"web": 1, "worker": 0}, actor="ada"))

    world.execute_plan()

    assert running(world, 1) == running(world, 2) == ["web.1"]


def test_memory_that_comes_and_goes_does_not_make_it_go_back(world: ObservedWorld) -> None:
    for _ in range(2):
        world.execute_plan()
        world.report_all()
    left = running(world, 1)
    for node_id in world.nodes:
        world.nodes[node_id] = replace(world.nodes[node_id], stats=NodeStats(memory_percent=20.0))

    world.execute_plan()

    assert running(world, 1) == left
    assert len(running(world, 2)) == 5
