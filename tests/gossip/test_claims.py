"""Which claim stands, and who may make it."""

from dataclasses import replace
from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.events import MemberAlive, MemberJoined, MemberUpdated, NameConflict
from gossip.member import Member, MemberState, merge, supersedes
from tests.gossip.factories import Core, accused, address, member, node_id, tells_all

ALIVE, SUSPECT, DEAD, LEFT = MemberState

claims = st.builds(
    lambda run_id, incarnation, state: replace(
        # What a member is follows from its run and incarnation; only the state is said by others.
        member("b", run_id=run_id, incarnation=incarnation, state=state),
        meta=b"%d.%d" % (run_id, incarnation),
    ),
    st.integers(1, 3),
    st.integers(0, 3),
    st.sampled_from(list(MemberState)),
)


@given(claims, claims, claims)
def test_merging_claims_is_commutative_associative_and_idempotent(a: Member, b: Member, c: Member) -> None:
    assert merge(a, b) == merge(b, a)
    assert merge(a, merge(b, c)) == merge(merge(a, b), c)
    assert merge(a, a) == a


@given(st.lists(claims, min_size=1, max_size=5))
def test_claims_of_one_member_in_any_order_end_in_the_same_table(said: list[Member]) -> None:
    """Whether the accused is still a suspect here, or dead already, follows from who heard what first."""
    ends = set()
    for order in list(permutations(said))[:24]:
        core = Core()
        for claim in order:
            core.hears("c", about=(claim,))
        held = core.held("b")
        assert held is not None
        state = SUSPECT if held.state is DEAD else held.state
        ends.add((held.run_id, held.incarnation, state))

    assert len(ends) == 1


def test_the_order_is_run_then_incarnation_then_state() -> None:
    rising = [
        member("b", run_id=1, incarnation=5, state=LEFT),
        member("b", run_id=2, incarnation=0, state=ALIVE),
        member("b", run_id=2, incarnation=0, state=SUSPECT),
        member("b", run_id=2, incarnation=0, state=DEAD),
        member("b", run_id=2, incarnation=0, state=LEFT),
        member("b", run_id=2, incarnation=1, state=ALIVE),
    ]

    for lower, higher in pairwise(rising):
        assert supersedes(higher, lower)
        assert not supersedes(lower, higher)


def test_a_suspicion_of_ourselves_is_refuted_with_a_higher_incarnation_told_first() -> None:
    core = Core("b", "c")
    core.hears("b", about=(member("c", incarnation=1),))

    effects = core.hears("b", about=(accused("a", incarnation=4),))

    assert core.swim.me.incarnation == 5
    assert core.swim.me.state is ALIVE
    assert core.told(effects, "b")[0] == core.swim.me


@pytest.mark.parametrize("state", [SUSPECT, DEAD, LEFT])
def test_our_own_death_notice_is_refuted_and_never_believed(state: MemberState) -> None:
    core = Core("b", "c")

    core.hears("b", about=(accused("a", state=state),))

    assert core.state("a") is ALIVE
    assert core.swim.me.incarnation == 1


def test_a_refutation_goes_out_before_older_news() -> None:
    core = Core("b", "c")
    core.hears("b", about=tuple(member(name) for name in "defg"))
    core.hears("b", about=(accused("a"),))
    core.effects.clear()

    core.run(0.2)

    first = core.sent(core.effects)[0].datagram.updates[0].member
    assert (first.node_id, first.incarnation) == (node_id("a"), 1)


def test_a_replayed_alive_of_ourselves_with_a_higher_incarnation_is_outrun() -> None:
    core = Core("b", "c")

    core.hears("b", about=(member("a", incarnation=7),))

    assert core.swim.me.incarnation == 8


def test_an_old_accusation_of_ourselves_changes_nothing_but_is_answered() -> None:
    core = Core("b", "c")
    core.hears("b", about=(accused("a", incarnation=4),))

    effects = core.hears("c", about=(accused("a", incarnation=2),))

    assert core.swim.me.incarnation == 5
    assert core.swim.me in core.told(effects, "c")


def test_somebody_elses_incarnation_is_never_raised_by_us() -> None:
    core = Core("b", "c")

    core.run(12.0, answering=("b",))

    held = core.held("c")
    assert held is not None
    assert (held.state, held.incarnation) == (DEAD, 0)


def test_a_new_run_supersedes_whatever_the_old_one_was() -> None:
    core = Core("b", "c")
    core.hears("b", about=(member("c", run_id=1, incarnation=9, state=LEFT),))

    core.hears("c", about=(member("c", run_id=2, incarnation=0),), run_id=2)

    assert core.state("c") is ALIVE
    assert core.events(MemberAlive)


def test_a_node_whose_clock_went_back_runs_as_the_run_after_the_one_remembered() -> None:
    core = Core("b", "c")

    core.learns(tells_all("b", member("a", run_id=6, incarnation=2, state=DEAD)))

    assert (core.swim.me.run_id, core.swim.me.incarnation) == (7, 0)


def test_a_live_node_that_moved_is_found_at_its_new_address_and_the_old_one_is_forgotten() -> None:
    core = Core("b", "c")

    core.hears("c", about=(replace(member("c", incarnation=1), address=("10.9.9.9", 7300)),), incarnation=1)
    core.effects.clear()
    core.run(3.0)

    used = {sent.to for sent in core.sent(core.effects)}
    assert ("10.9.9.9", 7300) in used
    assert address("c") not in used
    held = core.held("c")
    assert held is not None
    assert held.address == ("10.9.9.9", 7300)


def test_our_own_new_meta_is_a_new_incarnation_and_the_same_meta_is_none() -> None:
    core = Core("b", "c")

    core.swim.change_myself(meta=b"new", now=core.now)
    core.swim.change_myself(meta=b"new", now=core.now)

    assert (core.swim.me.incarnation, core.swim.me.meta) == (1, b"new")


def test_our_own_new_address_is_a_new_incarnation_and_told_at_once() -> None:
    core = Core("b", "c")

    core.swim.change_myself(address=("10.9.9.9", 7300), now=core.now)
    core.run(0.5, answering=("b", "c"))

    me = core.swim.me
    assert (me.incarnation, me.address) == (1, ("10.9.9.9", 7300))
    assert me in core.told(core.effects, "b") and me in core.told(core.effects, "c")


def test_a_change_of_meta_is_an_update_and_a_first_sight_is_a_join() -> None:
    core = Core("b", "c")

    core.hears("b", about=(replace(member("c", incarnation=1), meta=b"new"), member("d")))

    assert [event.member.name for event in core.events(MemberUpdated)] == ["c"]  # type: ignore[union-attr]
    assert [event.member.name for event in core.events(MemberJoined)] == ["d"]  # type: ignore[union-attr]


def test_a_second_process_with_our_id_at_another_address_does_not_make_us_dead_but_is_reported() -> None:
    core = Core("b", "c")
    other = replace(member("a"), address=("10.7.7.7", 7300))

    for incarnation in range(0, 50, 10):
        core.hears("b", about=(replace(other, incarnation=incarnation),))

    assert core.swim.me.state is ALIVE
    assert [event.other.address for event in core.events(NameConflict)] == [("10.7.7.7", 7300)]  # type: ignore[union-attr]
    assert core.swim.me.incarnation == 1, "the two do not outbid each other at the speed of the network"
