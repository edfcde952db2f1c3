"""Probe, ask helpers, suspect, confirm, declare dead; and how long each may take."""

import math

import pytest

from gossip.events import MemberAlive, MemberDied, MemberSuspected
from gossip.lifeguard import LocalHealth, shortest_suspicion_seconds, suspect, suspicion_seconds
from gossip.member import MemberState
from gossip.messages import Ack, Nack, NotMe, Ping, PingRequest
from gossip.settings import GossipSettings
from gossip.turns import Turns, shuffled_distances
from tests.gossip.factories import Core, accused, address, member, node_id

ALIVE, SUSPECT, DEAD, LEFT = MemberState
SETTINGS = GossipSettings()


def open_ping(core: Core, name: str) -> Ping:
    """Run until the next probe of this member, and return its ping."""
    for _ in range(200):
        core.effects.clear()
        core.run(0.05, answering=tuple(one for one in "bcdef" if core.held(one) and one != name))
        for sent in core.sent(core.effects, Ping):
            assert isinstance(sent.datagram.message, Ping)
            if sent.to == address(name):
                return sent.datagram.message
    raise AssertionError(f"{name} is not probed")


def test_a_ping_is_answered_with_its_sequence_to_where_it_came_from() -> None:
    core = Core("b", "c")

    effects = core.hears(
        "b", Ping(sequence=7, target=node_id("a"), target_run_id=1), source=("192.168.7.7", 999)
    )

    (sent,) = core.sent(effects, Ack)
    assert (sent.to, sent.datagram.message) == (("192.168.7.7", 999), Ack(sequence=7))


@pytest.mark.parametrize(("target", "run_id"), [("c", 1), ("a", 2)])
def test_a_ping_for_another_node_or_run_is_answered_not_me(target: str, run_id: int) -> None:
    core = Core("b", "c")

    effects = core.hears("b", Ping(sequence=7, target=node_id(target), target_run_id=run_id))

    assert not core.sent(effects, Ack)
    assert core.sent(effects, NotMe)


def test_a_member_whose_address_belongs_to_another_now_is_not_taken_for_alive() -> None:
    core = Core("b", "c")
    ping = open_ping(core, "c")

    core.hears("d", NotMe(sequence=ping.sequence), source=address("c"))
    core.hears("d", Ack(sequence=ping.sequence), source=address("c"))
    core.run(1.0, answering=("b",))

    assert core.state("c") is SUSPECT


def test_nobody_is_suspected_before_the_helpers_had_their_turn() -> None:
    core = Core("b", "c", "d")
    open_ping(core, "c")

    core.run(SETTINGS.probe_timeout_seconds, answering=("b", "d"))

    assert core.state("c") is ALIVE
    assert {sent.to for sent in core.sent(core.effects, PingRequest)} == {address("b"), address("d")}


def test_an_answer_through_a_helper_saves_the_target() -> None:
    core = Core("b", "c", "d")
    ping = open_ping(core, "c")
    core.run(SETTINGS.probe_timeout_seconds, answering=("b", "d"))

    core.hears("b", Ack(sequence=ping.sequence))
    core.run(0.5, answering=("b", "d"))

    assert core.state("c") is ALIVE


def test_an_answer_by_somebody_who_was_not_asked_does_not_save_the_target() -> None:
    core = Core("b", "c")
    ping = open_ping(core, "c")

    core.hears("b", Ack(sequence=ping.sequence))
    core.run(1.0, answering=("b",))

    assert core.state("c") is SUSPECT


def test_a_helper_passes_the_answer_on_or_says_in_time_that_the_target_is_silent() -> None:
    core = Core("b", "c", "d")
    request = PingRequest(sequence=70, target=node_id("c"), target_run_id=1, address=address("c"))

    effects = core.hears("b", request)
    (ping,) = (sent.datagram.message for sent in core.sent(effects, Ping) if sent.to == address("c"))
    assert isinstance(ping, Ping)
    core.run(SETTINGS.indirect_seconds, answering=("b", "d"))
    nacks = [sent for sent in core.sent(core.effects, Nack) if sent.to == address("b")]
    late = core.hears("c", Ack(sequence=ping.sequence))

    assert [sent.datagram.message for sent in nacks] == [Nack(sequence=70)]
    assert [sent.datagram.message for sent in core.sent(late, Ack)] == [Ack(sequence=70)]


def test_a_suspect_that_stays_silent_is_declared_dead() -> None:
    core = Core("b", "c")

    core.run(6.0, answering=("b",))

    assert [type(event) for event in core.effects if isinstance(event, MemberSuspected | MemberDied)] == [
        MemberSuspected,
        MemberDied,
    ]
    assert core.state("c") is DEAD


def test_a_suspect_that_refutes_is_alive_again() -> None:
    core = Core("b", "c")
    core.hears("b", about=(accused("c"),))

    core.hears("c", about=(member("c", incarnation=1),), incarnation=1)

    assert core.state("c") is ALIVE
    assert core.events(MemberAlive)


def test_a_ping_to_a_suspect_tells_it_what_it_is_suspected_of() -> None:
    core = Core("b", "c", "d")
    core.hears("b", about=(accused("c"),))
    core.run(3.0, answering=("b", "d"))

    pings = [sent for sent in core.sent(core.effects, Ping) if sent.to == address("c")]

    assert pings
    assert [sent.datagram.updates[0].member for sent in pings] == [accused("c")] * len(pings)


def test_an_accuser_reminds_the_accused_until_it_refutes() -> None:
    core = Core("b", "c")
    open_ping(core, "c")
    core.run(1.75, answering=("b",))
    core.effects.clear()  # what was told as news

    core.run(1.0, answering=("b",))

    assert core.state("c") is SUSPECT
    assert core.told(core.effects, "c").count(accused("c")) >= 3


def test_the_neighbours_of_an_accused_member_look_for_themselves_at_once() -> None:
    core = Core("b", "c", "d", "e")
    core.run(0.5, answering=("b", "c", "d", "e"))

    effects = core.hears("b", about=(accused("c"),))

    assert address("c") in {sent.to for sent in core.sent(effects, Ping)}


@pytest.mark.parametrize("members", [2, 3])
def test_a_suspicion_among_two_or_three_waits_for_no_confirmation(members: int) -> None:
    suspicion = suspect(accuser=node_id("b"), members=members, now=0.0, settings=SETTINGS)

    assert suspicion.ends_at == pytest.approx(2.2)


def test_a_suspicion_gets_shorter_with_each_independent_accuser() -> None:
    suspicion = suspect(accuser=node_id("b"), members=16, now=0.0, settings=SETTINGS)
    ends = [suspicion.ends_at]

    for accuser in "cd":
        assert suspicion.confirm(node_id(accuser))
        ends.append(suspicion.ends_at)

    shortest = 2.2 * math.log10(16)
    assert ends[0] == pytest.approx(6 * shortest)
    assert ends[0] > ends[1] > ends[2]
    assert ends[2] == pytest.approx(shortest)


def test_the_same_accuser_twice_or_the_first_one_again_confirms_nothing() -> None:
    suspicion = suspect(accuser=node_id("b"), members=16, now=0.0, settings=SETTINGS)
    suspicion.confirm(node_id("c"))
    ends_at = suspicion.ends_at

    assert not suspicion.confirm(node_id("b"))
    assert not suspicion.confirm(node_id("c"))
    assert suspicion.ends_at == ends_at


def test_the_shortest_suspicion_grows_with_the_logarithm_of_the_cluster() -> None:
    lengths = [shortest_suspicion_seconds(members, SETTINGS) for members in (1, 2, 10, 100, 1000)]

    assert lengths == pytest.approx([2.2, 2.2, 2.2, 4.4, 6.6])
    assert suspicion_seconds(confirmed=0, wanted=0, shortest=2.0, longest=12.0) == 2.0


def test_silence_without_nacks_makes_us_doubt_ourselves_and_answers_restore_us() -> None:
    core = Core("b", "c", "d")

    core.run(8.0)
    doubting = core.swim.health.score
    core.run(60.0, answering=("b", "c", "d"))

    assert doubting >= 2
    assert core.swim.health.score == 0


def test_helpers_that_nack_keep_our_health_well() -> None:
    core = Core("b", "c", "d")
    open_ping(core, "c")

    core.run(0.9, answering=("b", "d"), nacking=("b", "d"))

    assert core.state("c") is SUSPECT
    assert core.swim.health.score == 0


def test_having_to_refute_lowers_our_health() -> None:
    core = Core("b", "c")

    core.hears("b", about=(accused("a"),))

    assert core.swim.health.score == 1


def test_bad_health_stretches_interval_and_timeouts_up_to_its_bound() -> None:
    health = LocalHealth(max_score=8)

    health.worsen(100)

    assert health.stretch == 9


def test_bad_health_leaves_the_target_and_the_helpers_more_time() -> None:
    core = Core("b", "c", "d")
    for incarnation in range(2):
        core.hears("b", about=(accused("a", incarnation=incarnation),))
    assert core.swim.health.stretch == 3
    core.effects.clear()
    while not core.sent(core.effects, Ping):
        core.run(0.05)
    began = core.now

    while not core.sent(core.effects, PingRequest):
        core.run(0.05)
    asked_after = core.now - began
    while not core.events(MemberSuspected):
        core.run(0.05)

    answer, indirect = SETTINGS.probe_timeout_seconds, SETTINGS.indirect_seconds
    assert asked_after == pytest.approx(3 * answer, abs=0.11)
    assert core.now - began == pytest.approx(3 * (answer + indirect), abs=0.11)


def test_a_member_in_bad_health_probes_less_often() -> None:
    core = Core("b", "c")
    for incarnation in range(3):
        core.hears("b", about=(accused("a", incarnation=incarnation),))
    assert core.swim.health.stretch == 4
    core.effects.clear()

    core.run(4.1, answering=("b", "c"))

    assert len(core.sent(core.effects, Ping)) == 1


def test_in_every_round_each_member_is_probed_by_exactly_one_other() -> None:
    ring = [f"{number:016x}" for number in range(7)]
    turns = {me: Turns(interval=1.0, now=0.0) for me in ring}

    for second in range(1, 50):
        targets = [turns[me].take(me=me, ring=ring, now=second + 0.01) for me in ring]
        assert sorted(filter(None, targets)) == ring
        assert all(me != target for me, target in zip(ring, targets, strict=True))


def test_a_newcomer_is_probed_and_probes_from_the_round_in_which_it_is_known() -> None:
    ring = [f"{number:016x}" for number in (1, 2, 4, 5, 6)]
    turns = {me: Turns(interval=1.0, now=0.0) for me in ring}

    for second in range(1, 40):
        if second % 10 == 3:
            newcomer = f"{second:016x}"
            ring = sorted([*ring, newcomer])
            turns[newcomer] = Turns(interval=1.0, now=second - 0.5)
        targets = [turns[me].take(me=me, ring=ring, now=second + 0.01) for me in ring]
        assert sorted(filter(None, targets)) == ring
        assert all(me != target for me, target in zip(ring, targets, strict=True))

    assert len(ring) == 9


def test_everyone_is_probed_once_before_anyone_is_probed_twice() -> None:
    ring = [f"{number:016x}" for number in range(7)]
    turns = Turns(interval=1.0, now=0.0)
    targets = [turns.take(me=ring[2], ring=ring, now=6 + second) for second in range(12)]

    assert len(set(targets[:6])) == len(set(targets[6:])) == 6
    assert shuffled_distances(1, 6) != shuffled_distances(2, 6)


def test_turns_fall_in_step_with_whoever_is_ahead() -> None:
    late, ahead = Turns(interval=1.0, now=10.0), Turns(interval=1.0, now=9_000.25)

    late.hear(ahead.beat(9_000.25), now=10.0)

    assert late.next_at(1) <= 10.0
    late.take(me="a", ring=["a", "b"], now=10.0)
    assert late.next_at(1) == pytest.approx(10.75)


def test_a_member_never_probes_twice_in_one_round_nor_makes_up_for_rounds_it_slept_through() -> None:
    core = Core("b", "c")
    core.now += 30.0

    effects = core.swim.tick(now=core.now)

    assert len(core.sent(effects, Ping)) == 1
