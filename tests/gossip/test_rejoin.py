"""Joining, leaving, dying, and what the dead and the returning are told."""

from dataclasses import replace
from itertools import pairwise

import pytest

from gossip.events import MemberAlive, MemberDied, MemberLeft, MemberSuspected, NameConflict
from gossip.member import MemberState
from gossip.messages import Introduce, NameTaken, News, Ping, RowUpdate, StartExchange
from gossip.settings import GossipSettings
from tests.gossip.factories import Core, accused, address, member, node_id, says, tells_all

ALIVE, SUSPECT, DEAD, LEFT = MemberState
DAY = 24 * 3600.0


def core_that_saw_die(name: str) -> Core:
    core = Core("b", name)
    core.hears("b", about=(accused(name),))
    core.hears("b", about=(accused(name, state=DEAD),))
    assert core.state(name) is DEAD
    core.effects.clear()
    return core


def test_a_stale_word_that_a_dead_member_lives_sends_the_accusation_to_that_member() -> None:
    core = core_that_saw_die("c")

    effects = core.hears("b", about=(member("c"),))

    assert core.told(effects, "c")[0] == accused("c", state=DEAD)
    assert core.state("c") is DEAD


def test_a_dead_member_that_speaks_is_told_so_and_its_refutation_is_believed() -> None:
    core = core_that_saw_die("c")

    effects = core.hears("c", News())
    told = core.told(effects, "c")
    core.hears("c", about=(member("c", incarnation=1),), incarnation=1)

    assert told[0] == accused("c", state=DEAD)
    assert core.state("c") is ALIVE
    assert core.events(MemberAlive)


def test_an_accusation_of_somebody_unknown_is_passed_on() -> None:
    core = Core("b", "c")
    core.run(2.0, answering=("b", "c"))

    core.hears("b", about=(accused("e", state=DEAD),))
    core.effects.clear()
    core.run(0.3)

    assert accused("e", state=DEAD) in core.told(core.effects, "c")


def test_a_death_is_first_a_suspicion_to_whoever_held_the_member_for_alive() -> None:
    core = Core("b", "c", "d")

    core.hears("b", about=(accused("c", state=DEAD),))

    assert core.state("c") is SUSPECT
    assert core.events(MemberSuspected)
    assert not core.events(MemberDied)


def test_deaths_told_over_a_stream_are_suspicions_and_the_accused_hears_of_them_at_once() -> None:
    core = Core("b", "c", "d")

    core.learns(tells_all("b", accused("c", state=DEAD), accused("d", state=DEAD)))
    core.run(0.01)

    assert (core.state("c"), core.state("d")) == (SUSPECT, SUSPECT)
    assert accused("c") in core.told(core.effects, "c")


def test_the_dead_are_spoken_to_now_and_then_in_case_they_live_behind_a_partition() -> None:
    core = core_that_saw_die("c")

    core.run(11.0, answering=("b",))

    announced = [sent for sent in core.sent(core.effects, Ping) if sent.to == address("c")]
    assert len(announced) >= 2
    assert announced[0].datagram.updates[0].member == accused("c", state=DEAD)


def test_an_unknown_sender_is_asked_to_introduce_itself() -> None:
    core = Core("b", "c")

    effects = core.hears("e", News())

    assert [sent.to for sent in core.sent(effects, Introduce)] == [address("e")]
    assert core.state("e") is None


def test_whoever_is_asked_to_introduce_itself_tells_its_claim() -> None:
    core = Core("b", "c")

    effects = core.hears("b", Introduce())

    assert core.swim.me in core.told(effects, "b")


def test_leaving_is_told_to_everyone_and_suspicions_are_no_longer_refuted() -> None:
    core = Core("b", "c")

    effects = core.swim.leave(now=core.now)
    core.hears("b", about=(accused("a", incarnation=5),))

    for name in "bc":
        assert core.told(effects, name)[0].state is LEFT
    assert (core.swim.me.state, core.swim.me.incarnation) == (LEFT, 1)


def test_a_member_that_left_is_neither_suspected_nor_probed() -> None:
    core = Core("b", "c")

    core.hears("c", about=(accused("c", state=LEFT, incarnation=1),), incarnation=1)
    core.effects.clear()
    core.run(10.0, answering=("b",))

    assert core.state("c") is LEFT
    assert not core.events(MemberSuspected)
    assert not [sent for sent in core.sent(core.effects) if sent.to == address("c")]


def test_leave_and_immediate_rejoin_works() -> None:
    core = Core("b", "c")
    core.hears("c", about=(accused("c", state=LEFT, incarnation=1),), incarnation=1)

    core.hears("c", about=(member("c", run_id=2),), run_id=2)

    assert core.state("c") is ALIVE
    assert core.events(MemberLeft)
    assert core.events(MemberAlive)


def test_a_tombstone_keeps_old_news_from_reviving_the_dead_for_a_day_and_then_goes() -> None:
    core = core_that_saw_die("c")

    core.now += DAY - 60
    core.hears("b", about=(member("c"),))
    core.learns(tells_all("b", member("c")))
    before = core.state("c")
    core.now += 120
    core.swim.tick(now=core.now)

    assert before is DEAD
    assert core.state("c") is None


def test_tombstones_age_on_the_way_so_that_two_members_do_not_keep_one_for_ever() -> None:
    core = Core("b", "c")

    core.learns(tells_all("b", accused("e", state=DEAD), gone_seconds=DAY - 10))
    core.learns(tells_all("b", accused("f", state=DEAD), gone_seconds=DAY + 10))
    known = (core.state("e"), core.state("f"))
    core.run(20.0, answering=("b", "c"))

    assert known == (DEAD, None)
    assert core.state("e") is None


def test_a_reaped_node_that_speaks_is_new() -> None:
    core = core_that_saw_die("c")
    core.now += DAY + 1
    core.swim.tick(now=core.now)

    core.hears("c", about=(member("c"),))

    assert core.state("c") is ALIVE


def test_seeds_are_tried_for_ever_and_less_often_while_they_do_not_answer() -> None:
    core = Core()
    seed = ("10.5.5.5", 7300)
    core.swim.add_seeds([seed], now=core.now)
    tries = []

    for _ in range(2000):
        core.effects.clear()
        core.run(0.1)
        for _effect in [one for one in core.effects if isinstance(one, StartExchange)]:
            tries.append(core.now)
            core.swim.exchange_failed(seed, now=core.now)

    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert pauses[0] < 2
    assert 10 < pauses[-1] < 20
    assert core.now - tries[-1] < 20


def test_a_seed_whose_node_is_seen_alive_is_left_alone() -> None:
    core = Core()
    seed = ("pi-b.example", 7300)
    core.swim.add_seeds([seed], now=core.now)
    core.run(0.1)

    core.swim.exchange_succeeded(seed, tells_all("b", member("b")), now=core.now)
    core.effects.clear()
    core.run(20.0, answering=("b",))

    assert StartExchange(to=seed) not in core.effects


def test_one_address_has_one_exchange_at_a_time() -> None:
    core = Core("b")
    core.effects.clear()

    core.run(100.0, answering=("b",))

    assert core.effects.count(StartExchange(to=address("b"))) == 1


def test_a_member_that_came_back_is_exchanged_with_soon() -> None:
    core = core_that_saw_die("c")

    core.hears("c", about=(member("c", incarnation=1),), incarnation=1)
    core.run(1.0, answering=("b", "c"))

    assert StartExchange(to=address("c")) in core.effects


def test_members_beyond_the_bound_are_refused() -> None:
    core = Core("b", "c", settings=GossipSettings(max_members=4))

    core.hears("b", about=tuple(member(name) for name in "defgh"))

    assert len(core.swim.members()) == 4
    assert core.state("b") is ALIVE


@pytest.mark.parametrize(("their_uptime", "gives_way"), [(4000.0, True), (1.0, False)])
def test_of_two_nodes_with_one_name_the_one_up_for_longer_keeps_it(
    their_uptime: float, gives_way: bool
) -> None:
    core = Core("b")
    core.run(10.0, answering=("b",))

    core.hears("c", about=(replace(member("c"), name="a"),))
    core.hears("c", NameTaken(uptime_seconds=their_uptime))
    core.run(0.01)

    conflicts = core.events(NameConflict)
    assert bool(conflicts) == gives_way
    if gives_way:
        assert conflicts[0].other.address == address("c")  # type: ignore[union-attr]


def test_a_newcomer_with_our_name_is_told_that_it_is_taken() -> None:
    core = Core("b")

    effects = core.hears("c", about=(replace(member("c"), name="a"),))

    assert [sent.to for sent in core.sent(effects, NameTaken)] == [address("c")]


@pytest.mark.parametrize("state", [DEAD, LEFT])
def test_the_name_of_a_dead_node_is_free(state: MemberState) -> None:
    core = Core("b")

    effects = core.hears("b", about=(replace(accused("c", state=state), name="a"),))

    assert not core.sent(effects, NameTaken)


def row(version: int, *, run_id: int = 1, payload: bytes = b"hot") -> RowUpdate:
    return RowUpdate(node_id=node_id("c"), run_id=run_id, version=version, age_seconds=0.5, payload=payload)


def test_the_newest_statistics_row_of_a_node_wins_and_keeps_its_age() -> None:
    core = Core("b", "c")

    payloads = []
    for update in (row(2), row(1, payload=b"old"), row(1, run_id=2, payload=b"new run"), row(3)):
        core.hears("b", rows=(update,))
        payloads.append(core.swim.rows()[node_id("c")].payload)

    held = core.swim.rows()[node_id("c")]
    assert payloads == [b"hot", b"hot", b"new run", b"new run"]
    assert (held.run_id, held.version) == (2, 1)
    assert core.now - held.measured_at == pytest.approx(0.5)


def test_our_own_row_is_written_by_us_alone() -> None:
    core = Core("b")
    core.swim.publish(b"mine", now=core.now)

    core.hears("b", rows=(replace(row(99), node_id=node_id("a")),))

    assert core.swim.rows()[node_id("a")].payload == b"mine"


def test_a_late_tick_judges_nobody_and_blames_ourselves() -> None:
    core = Core("b", "c")
    core.hears("b", about=(accused("c"),))

    core.now += 60.0
    effects = core.swim.tick(now=core.now)

    assert core.state("c") is SUSPECT
    assert not [one for one in effects if isinstance(one, MemberDied)]
    assert core.swim.health.score == 1


def test_after_a_gap_the_suspected_get_their_full_time_again() -> None:
    core = Core("b", "c")
    core.hears("b", about=(accused("c"),))
    core.run(1.5, answering=("b",))
    core.now += 60.0

    core.run(2.0, answering=("b",))
    before = core.state("c")
    core.run(1.0, answering=("b",))

    assert (before, core.state("c")) == (SUSPECT, DEAD)


def test_our_own_datagrams_coming_back_change_nothing() -> None:
    core = Core("b")

    effects = core.receives(
        says("a", Ping(sequence=1, target=node_id("a"), target_run_id=1)), source=address("a")
    )

    assert effects == []
