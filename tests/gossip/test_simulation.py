"""Whole clusters in virtual time, from seeds: how soon a death is known, and that the living are left alone."""

from statistics import median

import pytest

from gossip.events import MemberDied, MemberJoined, MemberSuspected, NameConflict
from gossip.member import MemberState
from tests.gossip.world import World

ALIVE, SUSPECT, DEAD, LEFT = MemberState


def settled(nodes: int, *, seed: int, **world: float) -> World:
    made = World(nodes, seed=seed, **world)  # type: ignore[arg-type]
    made.settle()
    made.run(3 + made.random.random() * 3)
    return made


def seconds_from_kill_to_known_everywhere(nodes: int, *, seed: int) -> float:
    world = settled(nodes, seed=seed)
    victim = world.random.randrange(nodes)
    world.kill(victim)
    took = world.run_until(lambda: world.all_see(DEAD, of=[victim]), within=10)
    assert not world.false_deaths, seed
    return took


@pytest.mark.parametrize(("nodes", "seeds"), [(2, 40), (3, 40), (5, 40), (16, 25)])
def test_a_killed_node_is_known_to_be_dead_everywhere_within_five_seconds(nodes: int, seeds: int) -> None:
    took = [seconds_from_kill_to_known_everywhere(nodes, seed=seed) for seed in range(seeds)]

    assert max(took) <= 5.0, sorted(took)
    assert median(took) <= 4.2


@pytest.mark.parametrize(("nodes", "seconds"), [(2, 1800), (3, 1800), (5, 900), (16, 400)])
def test_a_fifth_of_all_datagrams_lost_kills_nobody(nodes: int, seconds: float) -> None:
    world = World(nodes, seed=nodes, loss=0.2)
    world.settle()

    world.run(seconds)

    assert world.false_deaths == []


@pytest.mark.parametrize("nodes", [3, 16])
def test_loss_and_starvation_in_slices_of_a_second_kill_nobody(nodes: int) -> None:
    world = World(nodes, seed=nodes, loss=0.2)
    world.settle()
    world.starve(slice_seconds=1.0, every_seconds=4.0)

    world.run(300)

    assert world.false_deaths == []


def test_stalls_of_300_milliseconds_kill_nobody() -> None:
    world = World(5, seed=1)
    world.settle()
    world.stall(lambda: 0.3 if world.random.random() < 0.3 else 0.0)

    world.run(600)

    assert world.false_deaths == []


def test_loss_in_one_direction_between_two_nodes_kills_neither() -> None:
    world = settled(5, seed=1)

    world.cut_one_way(1, 2)
    world.run(300)

    assert world.false_deaths == []


@pytest.mark.parametrize("nodes", [2, 3, 5, 16])
def test_a_node_silent_for_two_seconds_is_never_declared_dead(nodes: int) -> None:
    for seed in range(10):
        world = settled(nodes, seed=seed)

        world.pause(1, 2.0)
        world.run(12)

        assert world.false_deaths == [], seed


@pytest.mark.parametrize("nodes", [2, 3, 5, 16])
def test_a_node_stopped_for_five_seconds_is_back_everywhere_in_two_and_accused_nobody(nodes: int) -> None:
    worlds = [settled(nodes, seed=seed) for seed in range(10)]

    back = [stop_for_five_seconds(world) for world in worlds]

    assert max(back) <= 2.0
    assert not [world.seed for world in worlds if world.events_of(1, MemberSuspected)]
    assert not [world.seed for world in worlds if world.events_of(1, MemberDied)]


def stop_for_five_seconds(world: World) -> float:
    """Return after how long node 1 was alive again in every view."""
    world.pause(1, 5.0)
    world.run(5.0)
    assert world.state(0, 1) is DEAD
    back = world.run_until(lambda: world.all_see(ALIVE), within=10)
    world.run(10)
    return back


def test_two_halves_that_were_apart_for_ten_minutes_are_one_again_within_a_minute() -> None:
    world = settled(16, seed=1)
    world.part(range(8), range(8, 16))
    world.run(600)
    assert world.state(0, 15) is world.state(15, 0) is DEAD

    world.heal()

    assert world.run_until(world.tables_agree, within=60) <= 60
    assert world.all_see(ALIVE)


def test_a_node_that_was_alone_rejoins_by_itself_and_makes_nobody_look_dead_to_others() -> None:
    world = settled(16, seed=2)
    others = [number for number in range(16) if number != 5]
    world.part([5], others)
    world.run(120)
    assert world.all_see(DEAD, of=[5])
    before = {number: len(world.events_of(number, MemberDied)) for number in others}

    world.heal()
    world.run_until(world.tables_agree, within=60)
    world.run(30)

    assert world.all_see(ALIVE)
    assert {number: len(world.events_of(number, MemberDied)) for number in others} == before


def test_everyone_killed_at_once_and_started_again_finds_everyone() -> None:
    world = settled(5, seed=3)

    for number in range(5):
        world.kill(number)
    for number in range(5):
        world.restart(number)

    world.run_until(lambda: world.all_see(ALIVE), within=10)


@pytest.mark.parametrize("silent_seconds", [0.1, 10.0])
def test_a_restarted_node_is_alive_as_a_new_run_whether_or_not_its_death_was_noticed(
    silent_seconds: float,
) -> None:
    world = settled(5, seed=4)
    world.kill(2)
    world.run(silent_seconds)

    world.restart(2)
    world.run_until(lambda: world.all_see(ALIVE), within=5)

    assert {held.run_id for held in world.nodes[0].swim.members()} == {1, 2}


def test_a_node_restarted_with_a_lower_run_id_takes_the_one_after_the_remembered() -> None:
    world = settled(3, seed=5)
    for run_id in (7, 3):
        world.restart(2, run_id=run_id)
        world.run(5)

    world.settle()

    assert world.nodes[2].swim.me.run_id == 8


def test_a_goodbye_is_heard_by_everyone_without_a_suspicion() -> None:
    world = settled(5, seed=6)

    world.do(2, lambda swim, now: swim.leave(now=now))
    world.run(1)
    world.kill(2)
    world.run(20)

    assert world.all_see(LEFT, of=[2])
    assert not any(world.events_of(number, MemberSuspected) for number in (0, 1, 3, 4))


def test_a_node_that_said_goodbye_and_starts_again_at_once_is_alive_everywhere() -> None:
    world = settled(5, seed=12)

    world.do(2, lambda swim, now: swim.leave(now=now))
    world.run(0.5)
    assert world.all_see(LEFT, of=[2])
    world.restart(2)
    world.run_until(lambda: world.all_see(ALIVE), within=5)
    world.run(10)

    assert world.all_see(ALIVE)
    assert not any(world.events_of(number, MemberSuspected) for number in (0, 1, 3, 4))


def test_a_change_of_meta_and_a_statistics_row_reach_everyone() -> None:
    world = settled(16, seed=7)

    world.do(3, lambda swim, now: swim.change_myself(meta=b"changed", now=now))
    world.do(3, lambda swim, now: swim.publish(b"hot", now=now))
    told = world.run_until(
        lambda: all(b"changed" in {held.meta for held in node.swim.members()} for node in world.nodes),
        within=5,
    )
    rows = world.run_until(
        lambda: all(b"hot" in {row.payload for row in node.swim.rows().values()} for node in world.nodes),
        within=35,
    )

    assert told <= 2
    assert rows <= 35


def test_nodes_that_publish_every_five_seconds_send_less_than_five_kilobytes_a_second() -> None:
    world = World(16, seed=8, measures_bytes=True)
    world.settle()
    world.run(20)
    before = [node.bytes_sent for node in world.nodes]

    for _ in range(6):
        for number in range(16):
            world.do(number, lambda swim, now: swim.publish(b"r" * 300, now=now))
        world.run(5)

    rates = [(node.bytes_sent - earlier) / 30 for node, earlier in zip(world.nodes, before, strict=True)]
    assert max(rates) < 5_000
    ages = [
        now - row.measured_at
        for node in world.nodes
        for now in [world.now + node.clock_offset]
        for row in node.swim.rows().values()
    ]
    assert len(ages) == 256
    assert max(ages) < 30
    assert median(ages) <= 6


def test_with_nothing_happening_a_node_sends_one_ping_and_one_answer_a_second() -> None:
    world = World(16, seed=9)
    world.settle()
    world.run(30)
    before = [node.datagrams_sent for node in world.nodes]

    world.run(60)

    sent = [node.datagrams_sent - earlier for node, earlier in zip(world.nodes, before, strict=True)]
    assert max(sent) <= 2 * 61


def test_of_two_nodes_with_one_name_only_the_newcomer_is_told() -> None:
    world = settled(3, seed=10)
    world.run(10)

    world.add(3, name="pi1")
    world.run(5)

    assert [event.other.address for event in world.events_of(3, NameConflict)] == [("10.0.0.2", 7300)]  # type: ignore[union-attr]
    assert not world.events_of(1, NameConflict)


def test_nodes_that_start_one_by_one_and_know_all_addresses_see_each_other() -> None:
    world = World(0, seed=11)
    for number in range(5):
        world.add(number, seeds=range(5))
        world.run(1.5)

    world.settle(within=5)

    assert all(len(world.events_of(number, MemberJoined)) == 4 for number in range(5))
