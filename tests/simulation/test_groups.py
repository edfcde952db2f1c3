"""Seeds of `world.py`: what no single rule's test would find."""

import pytest

from tests.simulation.world import World, live_through

SEEDS_A_TEST = 20


@pytest.mark.parametrize("block", range(5))
def test_three_nodes_keep_every_promise_through_faults_and_agree_after_them(block: int) -> None:
    for seed in range(block * SEEDS_A_TEST, (block + 1) * SEEDS_A_TEST):
        try:
            live_through(seed, seconds=12.0)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


@pytest.mark.parametrize("block", range(2))
def test_five_nodes_keep_every_promise_through_faults_and_agree_after_them(block: int) -> None:
    for seed in range(10_000 + block * SEEDS_A_TEST, 10_000 + (block + 1) * SEEDS_A_TEST):
        try:
            live_through(seed, nodes=5, seconds=12.0)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


@pytest.mark.parametrize("block", range(4))
def test_groups_whose_members_change_keep_every_promise_and_agree_on_who_belongs(block: int) -> None:
    """Checklist 1.20-1.23: one change at a time, learners count for nothing, removed leaders stop."""
    for seed in range(20_000 + block * SEEDS_A_TEST, 20_000 + (block + 1) * SEEDS_A_TEST):
        try:
            live_through(seed, spares=3)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def trace_of(world: World) -> tuple[int, float, object, object]:
    return world.steps, world.now, world.committed, world.promises.acknowledged


def test_the_same_seed_lives_the_same_life() -> None:
    assert trace_of(live_through(3)) == trace_of(live_through(3))


def test_the_seeds_reach_what_they_are_for() -> None:
    worlds = [live_through(seed) for seed in range(20)]

    assert sum(len(world.promises.acknowledged) for world in worlds) > 300
    assert sum(len(world.promises.leaders) for world in worlds) > 40
    assert sum(world.reads_answered for world in worlds) > 300
    assert sum(world.handed_over for world in worlds) > 0
    assert sum(world.snapshots_taken for world in worlds) > 150
    assert sum(world.snapshots_received for world in worlds) > 10
    assert sum(node.is_ruined for world in worlds for node in world.nodes.values()) > 0
    assert sum(node.life - 1 for world in worlds for node in world.nodes.values()) > 20


def test_the_seeds_with_changing_members_reach_what_they_are_for() -> None:
    worlds = [live_through(seed, spares=3) for seed in range(20_000, 20_010)]

    assert sum(world.changes for world in worlds) > 30
    assert sum(len(world.removed) for world in worlds) > 10
    assert sum(world.snapshots_received for world in worlds) > 10


@pytest.mark.parametrize(
    "seed",
    [
        63,  # a voter that was away never heard of the only node that can win
        2,  # a newcomer is offered a snapshot from before it came
    ],
)
def test_lives_with_changing_members_that_once_went_wrong(seed: int) -> None:
    live_through(seed, spares=3)


@pytest.mark.parametrize(
    "seed, nodes",
    [
        (6, 5),  # a leader offers a snapshot again and again that has rotted on its disk
        (8, 3),  # the first batch that is kept is damaged, and the next segment is taken for the beginning
    ],
)
def test_lives_that_once_went_wrong(seed: int, nodes: int) -> None:
    live_through(seed, nodes=nodes)
