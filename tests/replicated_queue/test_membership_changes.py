"""Who belongs to the group, and how that changes one node at a time: thesis §4, checklist 1.20 to 1.24."""

import pytest

from replicated_queue.errors import Busy, UnknownVersion
from replicated_queue.raft.membership import (
    Change,
    ChangeKind,
    ChangeRefused,
    Membership,
    decode_changes,
    encode_changes,
)
from replicated_queue.raft.messages import Append, AppendResponse, EntryId, Heartbeat, PreVote, Role, Vote
from tests.replicated_queue.raft_group import RaftGroup

ADD, LEARN, REMOVE = ChangeKind.ADD_VOTER, ChangeKind.ADD_LEARNER, ChangeKind.REMOVE


def group_with_spare() -> RaftGroup:
    """Three voters led by 1, and node 4, which knows of nothing."""
    group = RaftGroup(1, 2, 3, 4, membership=Membership.of((1, 2, 3)))
    group.elect(1)
    return group


def test_a_second_change_is_refused_until_the_first_is_applied() -> None:
    """Checklist 1.20, 1.21."""
    group = group_with_spare()
    leader = group.nodes[1]
    leader.propose_change([Change(LEARN, 4)])

    with pytest.raises(ChangeRefused):
        leader.propose_change([Change(REMOVE, 3)])

    group.settle()
    leader.propose_change([Change(REMOVE, 3)])
    group.settle()
    assert leader.membership == Membership.of((1, 2), (4,))


def test_a_new_leader_refuses_changes_until_all_that_it_found_in_its_log_is_applied() -> None:
    """Checklist 1.20: a change of an older leader may be among it (the single-server bug of 2015)."""
    group = group_with_spare()
    group.nodes[1].propose_change([Change(LEARN, 4)])
    group.settle(lose=lambda message: isinstance(message, AppendResponse))
    group.dead = {1}
    group.nodes[2].forget_leader()
    group.nodes[3].forget_leader()
    group.nodes[2].campaign()
    group.settle(lose=lambda message: isinstance(message, AppendResponse))
    assert group.nodes[2].role is Role.LEADER

    with pytest.raises(ChangeRefused):
        group.nodes[2].propose_change([Change(REMOVE, 3)])


def test_a_change_takes_effect_when_it_is_applied_not_when_it_is_appended() -> None:
    """Checklist 1.21."""
    group = group_with_spare()
    group.nodes[1].propose_change([Change(ADD, 4)])

    group.settle(lose=lambda message: isinstance(message, AppendResponse))

    assert group.nodes[1].membership == Membership.of((1, 2, 3))
    group.tick(group.config.heartbeat_ticks)
    assert group.nodes[1].membership == group.nodes[2].membership == Membership.of((1, 2, 3, 4))


def test_a_newcomer_gets_the_log_and_learns_that_it_belongs() -> None:
    group = group_with_spare()
    group.nodes[1].propose([b"before"])
    group.settle()

    group.change(LEARN, 4)

    assert group.applied[4] == group.applied[1]
    assert group.nodes[4].membership == Membership.of((1, 2, 3), (4,))


def test_a_learner_counts_neither_for_commits_nor_for_check_quorum_nor_for_votes() -> None:
    """Checklist 1.23."""
    group = group_with_spare()
    group.change(LEARN, 4)
    group.dead = {2, 3}

    first = group.nodes[1].propose([b"alone"])
    group.tick(2 * group.config.election_ticks)

    assert group.nodes[1].log.commit_index < first
    assert group.nodes[1].role is not Role.LEADER
    group.tick(4 * group.config.election_ticks)
    assert group.nodes[4].role is Role.FOLLOWER


def test_learners_get_a_heartbeat_now_and_then_and_voters_always() -> None:
    group = RaftGroup(1, 2, 3, membership=Membership.of((1, 2), (3,)), learner_beats=4)
    group.elect(1)

    beats = []
    for _ in range(8 * group.config.heartbeat_ticks):
        group.tick(settles=False)
        beats += [message.to for message in group.settle() if isinstance(message, Heartbeat)]

    assert (beats.count(2), beats.count(3)) == (8, 2)


def test_who_may_not_campaign_is_not_woken_up_for_an_election_that_it_cannot_call() -> None:
    group = RaftGroup(1, 2, membership=Membership.of((1,), (2,)))
    learner = group.nodes[2]

    learner.tick(5 * group.config.election_ticks)

    assert learner.role is Role.FOLLOWER
    assert learner.ticks_until_due == group.config.election_ticks


def test_leadership_is_not_handed_to_a_learner() -> None:
    """Checklist 1.23."""
    group = group_with_spare()
    group.change(LEARN, 4)

    group.nodes[1].transfer_leadership(4)
    group.settle()

    assert group.leaders == [1]


def test_a_learner_that_is_promoted_counts_at_once_and_may_lead() -> None:
    group = group_with_spare()
    group.change(LEARN, 4)

    group.change(ADD, 4)

    assert group.nodes[1].membership == Membership.of((1, 2, 3, 4))
    assert group.elect(4).role is Role.LEADER


def test_a_removed_leader_goes_on_until_the_change_is_applied_and_then_stops() -> None:
    """Checklist 1.22."""
    group = group_with_spare()
    leader = group.nodes[1]
    leader.propose_change([Change(REMOVE, 1)])
    assert leader.role is Role.LEADER

    group.settle()

    assert leader.role is Role.FOLLOWER
    assert leader.membership == Membership.of((2, 3))


def test_a_removed_leader_tells_who_asks_for_its_vote_that_its_removal_is_committed() -> None:
    """Checklist 1.22: else the last voter would ask it for ever, and its longer log refuse for ever."""
    group = RaftGroup(1, 2)
    leader, other = group.elect(1), group.nodes[2]
    leader.propose_change([Change(REMOVE, 1)])
    group.take(1)
    removal = leader.log.last_index
    leader.propose([b"more"])
    group.settle(
        lose=lambda message: (
            message.to == 2
            and isinstance(message, Append | Heartbeat)
            and (message.commit >= removal or leader.log.last_index > removal == other.log.last_index)
        )
    )
    assert leader.membership == Membership.of((2,)) and leader.role is Role.FOLLOWER
    assert other.membership == Membership.of((1, 2)) and other.log.last_index == removal

    other.forget_leader()
    group.tick(3 * group.config.election_ticks)

    assert other.role is Role.LEADER and other.membership == Membership.of((2,))


def test_a_removed_leader_that_goes_on_takes_no_proposals_and_does_not_count_itself() -> None:
    group = RaftGroup(step_down_on_removal=False)
    leader = group.elect(1)

    group.change(REMOVE, 1)

    with pytest.raises(Busy):
        leader.propose([b"more"])
    assert leader.role is Role.LEADER


def test_a_removed_node_disrupts_nobody() -> None:
    """Checklist 1.22: its votes are ignored by voters, and who hears the leader does not look at them."""
    group = group_with_spare()
    group.change(REMOVE, 3)
    term = group.nodes[1].term
    stale = EntryId(99, 99)

    for me in (1, 2):
        group.nodes[me].forget_leader()
        group.nodes[me].step(Vote(sender=3, to=me, term=term + 1, last=stale, transfer=True))
        group.nodes[me].step(PreVote(sender=3, to=me, term=term + 9, last=stale))

    assert not [message for message in group.settle() if message.to == 3]


def test_a_node_that_has_yet_to_learn_that_it_belongs_votes() -> None:
    """Checklist 1.22: it is needed for the majority of the new group."""
    group = group_with_spare()

    group.nodes[4].step(Vote(sender=2, to=4, term=7, last=EntryId(1, 9)))

    assert group.nodes[4].vote == 2


def test_a_voter_votes_for_a_newcomer_that_its_log_names_though_the_change_is_not_applied_here() -> None:
    """Checklist 1.22: with 1 gone, 2 and the newcomer need each other, and 2 does not know the commit yet."""
    group = RaftGroup(1, 2, 3, membership=Membership.of((1, 2)))
    group.elect(1)
    group.nodes[1].propose_change([Change(ADD, 3)])
    group.settle(lose=lambda m: isinstance(m, Append) and m.to == 2 and not m.entries)
    assert 3 not in group.nodes[2].membership and 3 in group.nodes[3].membership
    group.dead = {1}
    group.nodes[2].forget_leader()
    group.nodes[3].forget_leader()

    group.nodes[3].campaign()
    group.settle()

    assert group.nodes[3].role is Role.LEADER


def test_a_voter_that_was_away_votes_for_a_candidate_that_came_meanwhile() -> None:
    """Checklist 1.22: nobody else may be left who can win, and without its vote nobody tells it of the change."""
    group = RaftGroup(1, 2, 3, membership=Membership.of((1, 2, 3)))

    group.nodes[2].step(Vote(sender=9, to=2, term=7, last=EntryId(1, 9)))

    assert group.nodes[2].vote == 9


def test_nobody_campaigns_with_a_committed_change_that_is_not_applied() -> None:
    group = group_with_spare()
    group.nodes[1].propose_change([Change(LEARN, 4)])
    follower = group.nodes[2]
    group.take(1)
    for message in group.wire:
        if message.to == 2:
            follower.step(message)
    follower.log.commit_to(follower.log.last_index)

    follower.campaign()

    assert follower.role is Role.FOLLOWER


def test_two_voters_are_not_changed_at_once_and_the_last_one_is_not_removed() -> None:
    """Two majorities must always share a node."""
    one = Membership.of((1,))

    with pytest.raises(ChangeRefused, match="removed all voters"):
        one.changed([Change(REMOVE, 1)])
    with pytest.raises(ChangeRefused, match="more than one"):
        one.changed([Change(ADD, 2), Change(ADD, 3)])
    assert one.changed([Change(ADD, 2), Change(LEARN, 3)]) == Membership.of((1, 2), (3,))


def test_changes_come_back_from_their_entry_and_later_versions_are_not_guessed() -> None:
    changes = (Change(ADD, 2**64 - 1), Change(LEARN, 4), Change(REMOVE, 1))

    assert decode_changes(encode_changes(changes)) == changes
    for damaged in (b"", b"\x02", b"\x01\x09" + bytes(8), b"\x01\x01"):
        with pytest.raises(UnknownVersion):
            decode_changes(damaged)
