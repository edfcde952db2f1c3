"""Who may lead, and when: Raft §5.2 and §5.4.1, pre-vote (thesis §9.6), check-quorum (thesis §6.2)."""

import pytest

from replicated_queue.raft.messages import (
    Append,
    AppendResponse,
    EntryId,
    HardState,
    Heartbeat,
    PreVote,
    PreVoteResponse,
    Role,
    TimeoutNow,
    Vote,
    VoteResponse,
)
from tests.replicated_queue.raft_group import RaftGroup, entries_of


def ask(
    group: RaftGroup, *, candidate: int = 2, term: int, last: EntryId, transfer: bool = False
) -> list[object]:
    group.nodes[1].step(Vote(sender=candidate, to=1, term=term, last=last, transfer=transfer))
    ready = group.nodes[1].ready()
    return [*ready.messages, *ready.promises]


def test_a_vote_leaves_only_after_it_is_on_the_disk() -> None:
    """Checklist 1.1."""
    group = RaftGroup()
    group.slow_disks = {1}
    group.nodes[1].step(Vote(sender=2, to=1, term=1, last=EntryId(0, 0)))

    ready = group.take(1)

    assert ready is not None and ready.must_sync and ready.hard_state == HardState(1, 2, 0)
    assert group.wire == []
    group.persist(1)
    assert group.wire == [VoteResponse(sender=1, to=2, term=1)]


def test_a_candidate_counts_its_own_vote_only_when_it_is_on_the_disk() -> None:
    group = RaftGroup(pre_vote=False)
    group.dead = {3}
    group.slow_disks = {1}
    group.nodes[1].campaign()
    group.settle()

    before = group.nodes[1].role
    group.persist(1)

    assert before is Role.CANDIDATE
    assert group.nodes[1].role is Role.LEADER


def test_a_vote_persisted_for_an_earlier_term_counts_in_no_later_one() -> None:
    group = RaftGroup(pre_vote=False)
    group.slow_disks = {1}
    group.nodes[1].campaign()
    first = group.take(1)
    group.nodes[1].campaign()
    assert first is not None

    group.nodes[1].step(VoteResponse(sender=2, to=1, term=2))
    group.nodes[1].persisted(first.term, first.last_index)

    assert group.nodes[1].role is Role.CANDIDATE


@pytest.mark.parametrize(
    ("last", "granted"),
    [
        (EntryId(2, 3), True),
        (EntryId(2, 4), True),
        (EntryId(3, 1), True),  # a later term wins over any length
        (EntryId(2, 2), False),
        (EntryId(1, 9), False),
    ],
)
def test_a_vote_compares_the_last_term_first_then_the_length(last: EntryId, granted: bool) -> None:
    """Checklist 1.5; Raft §5.4.1."""
    group = RaftGroup()
    group.start(1, log=entries_of(1, 2, 2), hard_state=HardState(2, 0, 0))

    answers = ask(group, term=4, last=last)

    assert answers == [VoteResponse(sender=1, to=2, term=4, reject=not granted)]


def test_one_vote_a_term_also_after_a_restart() -> None:
    group = RaftGroup()
    group.start(1, hard_state=HardState(term=4, vote=3))

    assert ask(group, candidate=2, term=4, last=EntryId(0, 0)) == [
        VoteResponse(sender=1, to=2, term=4, reject=True)
    ]
    assert ask(group, candidate=3, term=4, last=EntryId(0, 0)) == [VoteResponse(sender=1, to=3, term=4)]


def test_a_voter_is_counted_once_however_often_it_answers() -> None:
    """Checklist 1.46."""
    group = RaftGroup(1, 2, 3, 4, 5, pre_vote=False)
    group.nodes[1].campaign()
    group.take(1)

    for _ in range(3):
        group.nodes[1].step(VoteResponse(sender=2, to=1, term=1))

    assert group.nodes[1].role is Role.CANDIDATE


def test_a_higher_term_demotes_a_leader() -> None:
    """Checklist 1.9; Raft §5.1."""
    group = RaftGroup()
    leader = group.elect(1)

    leader.step(AppendResponse(sender=2, to=1, term=9, index=0))

    assert (leader.role, leader.term) == (Role.FOLLOWER, 9)


def test_a_pre_vote_and_its_answer_change_no_term() -> None:
    """Checklist 1.9."""
    group = RaftGroup()
    group.nodes[1].step(PreVote(sender=2, to=1, term=7, last=EntryId(5, 5)))
    group.nodes[1].step(PreVoteResponse(sender=2, to=1, term=8))

    assert group.nodes[1].term == 0
    assert not group.nodes[1].ready().must_sync


def test_a_pre_vote_of_a_lower_term_is_answered_with_ours_so_that_nobody_waits_for_ever() -> None:
    """Checklist 1.10."""
    group = RaftGroup()
    group.start(1, hard_state=HardState(term=5))
    group.nodes[1].step(PreVote(sender=2, to=1, term=3, last=EntryId(2, 9)))

    group.take(1)

    assert group.wire == [PreVoteResponse(sender=1, to=2, term=5, reject=True)]
    group.settle()
    assert group.nodes[2].term == 5


def test_a_pre_candidate_knows_no_leader() -> None:
    """Checklist 1.10."""
    group = RaftGroup()
    group.elect(1)

    group.nodes[2].campaign()

    assert group.nodes[2].role is Role.PRE_CANDIDATE
    assert group.nodes[2].leader == 0


def test_a_node_that_hears_its_leader_ignores_candidates_unless_the_leader_sent_them() -> None:
    """Checklist 1.11; Raft §6."""
    group = RaftGroup()
    group.elect(2)
    group.nodes[1].ready()
    last = group.nodes[1].log.last

    assert ask(group, candidate=3, term=9, last=last) == []
    assert group.nodes[1].term == 1
    assert ask(group, candidate=3, term=9, last=last, transfer=True) == [VoteResponse(sender=1, to=3, term=9)]


def test_a_leader_that_hears_no_majority_for_an_election_timeout_steps_down() -> None:
    """Checklist 1.12; thesis §6.2."""
    group = RaftGroup()
    leader = group.elect(1)
    group.dead = {2, 3}

    group.tick(2 * group.config.election_ticks)

    assert leader.role is Role.FOLLOWER


def test_a_leader_with_one_of_two_followers_stays() -> None:
    group = RaftGroup()
    leader = group.elect(1)
    group.dead = {3}

    group.tick(10 * group.config.election_ticks)

    assert leader.role is Role.LEADER and leader.term == 1


def test_a_new_leader_is_found_when_the_old_one_falls_silent() -> None:
    group = RaftGroup()
    group.elect(1)
    group.dead = {1}

    group.tick(2 * group.config.election_ticks + 2)

    assert len(group.leaders) == 1


def test_a_cut_off_node_comes_back_without_a_new_term() -> None:
    """Thesis §9.6."""
    group = RaftGroup()
    leader = group.elect(1)
    group.dead = {3}
    for _ in range(100):
        group.nodes[3].tick()
        group.take(3)
    group.wire = []

    group.dead = set()
    group.tick(5)

    assert leader.role is Role.LEADER
    assert {node.term for node in group.nodes.values()} == {1}
    assert group.nodes[3].leader == 1


def test_a_node_that_hears_but_is_not_heard_does_not_drive_up_the_term() -> None:
    """Checklist 1.19."""
    group = RaftGroup()
    group.elect(1)

    for _ in range(20 * group.config.election_ticks):
        group.tick(settles=False)
        group.settle(lose=lambda message: message.sender == 3)

    assert group.leaders == [1]
    assert group.nodes[1].term == 1


def test_a_node_that_is_heard_but_hears_nothing_does_not_drive_up_the_term() -> None:
    """Checklist 1.19."""
    group = RaftGroup()
    group.elect(1)

    for _ in range(20 * group.config.election_ticks):
        group.tick(settles=False)
        group.settle(lose=lambda message: message.to == 3)

    assert group.leaders == [1]
    assert group.nodes[1].term == 1


def test_a_ring_in_which_each_hears_only_its_neighbours_settles() -> None:
    """Checklist 1.19: a partial partition of five."""
    group = RaftGroup(1, 2, 3, 4, 5)

    def is_cut(sender: int, to: int) -> bool:
        return (sender - to) % 5 not in (1, 4)

    for _ in range(100 * group.config.election_ticks):
        group.tick(settles=False)
        group.settle(lose=lambda message: is_cut(message.sender, message.to))

    assert max(node.term for node in group.nodes.values()) < 20
    assert len(group.leaders) == 1


def test_a_leader_that_was_stopped_finds_itself_replaced_and_commits_nothing() -> None:
    """Checklist 1.18."""
    group = RaftGroup()
    old = group.elect(1)
    group.dead = {1}
    group.tick(3 * group.config.election_ticks)
    commit = old.log.commit_index

    group.dead = set()
    old.propose([b"late"])
    group.settle()

    assert old.role is Role.FOLLOWER
    assert old.log.commit_index >= commit
    assert all(entry.data != b"late" for applied in group.applied.values() for entry in applied)


def test_a_reset_link_to_the_leader_starts_a_pre_vote_at_once() -> None:
    """Design decision 2."""
    group = RaftGroup(unreachable_ticks=5)
    group.elect(1)
    group.dead = {1}

    for me in (2, 3):
        group.nodes[me].peer_unreachable(1)
    group.tick(group.config.unreachable_ticks + 1)

    assert len(group.leaders) == 1


def test_two_who_split_the_vote_of_a_dead_leaders_group_try_again_at_once() -> None:
    """Design decision 2: of three one is dead, so neither can win, and neither hears more."""
    group = RaftGroup(unreachable_ticks=5, election_ticks=100)
    group.elect(1)
    group.dead = {1}
    for me in (2, 3):
        group.nodes[me].peer_unreachable(1)
        group.nodes[me].timer.elapsed_ticks = group.nodes[me].timer.timeout_ticks - 1

    group.tick(1)
    term = group.nodes[2].term
    assert not group.leaders and group.nodes[3].term == term == 2
    for _ in range(3):  # they may meet again
        group.tick(group.config.unreachable_ticks + 1)

    assert len(group.leaders) == 1


def test_a_reset_link_to_a_living_leader_changes_nothing_for_the_others() -> None:
    group = RaftGroup()
    leader = group.elect(1)

    group.nodes[2].peer_unreachable(1)
    group.tick(group.config.heartbeat_ticks + 2)

    assert leader.role is Role.LEADER and leader.term == 1
    assert group.nodes[2].leader == 1


def test_forgetting_the_leader_keeps_the_term_and_a_heartbeat_brings_it_back() -> None:
    group = RaftGroup()
    group.elect(1)
    group.nodes[2].forget_leader()
    group.nodes[1].forget_leader()

    assert (group.nodes[2].leader, group.nodes[2].term) == (0, 1)
    assert group.nodes[1].leader == 1
    group.nodes[2].step(Heartbeat(sender=1, to=2, term=1, commit=0))
    assert group.nodes[2].leader == 1


def test_a_single_voter_leads_only_after_its_vote_is_on_the_disk() -> None:
    """Checklist 1.42."""
    group = RaftGroup(1)
    group.slow_disks = {1}
    group.nodes[1].campaign()
    group.take(1)

    before = group.nodes[1].role
    group.persist(1)

    assert before is Role.CANDIDATE
    assert group.nodes[1].role is Role.LEADER


def test_two_voters_make_no_progress_with_one() -> None:
    """Checklist 1.42."""
    group = RaftGroup(1, 2)
    leader = group.elect(1)
    group.dead = {2}
    leader.propose([b"data"])

    group.tick(3 * group.config.election_ticks)

    assert leader.role is not Role.LEADER
    assert all(entry.data != b"data" for entry in group.applied[1])


def test_leadership_goes_to_a_caught_up_voter_without_asking_first() -> None:
    """Thesis §3.10."""
    group = RaftGroup()
    leader = group.elect(1)

    leader.transfer_leadership(3)
    sent = group.settle()

    assert group.leaders == [3]
    assert any(isinstance(message, TimeoutNow) for message in sent)
    assert not any(isinstance(message, PreVote) for message in sent)


def test_leadership_waits_for_a_voter_that_is_behind_and_is_kept_when_it_does_not_come() -> None:
    group = RaftGroup()
    leader = group.elect(1)
    leader.propose([b"data"])
    group.settle(lose=lambda message: message.to == 3)

    leader.transfer_leadership(3)
    group.settle(lose=lambda message: 3 in (message.to, message.sender))
    for _ in range(group.config.election_ticks):
        leader.tick()
        group.settle(lose=lambda message: 3 in (message.to, message.sender))
    leader.propose([b"goes on"])

    assert leader.role is Role.LEADER
    leader.transfer_leadership(3)
    group.tick(group.config.heartbeat_ticks)
    assert group.leaders == [3]


def test_timing_depends_on_the_random_given_and_on_nothing_else() -> None:
    """Checklist 1.17: no clock is asked, so a stepped wall clock changes nothing."""
    first, second = RaftGroup(seed=7), RaftGroup(seed=7)

    for group in (first, second):
        group.tick(60)

    assert first.leaders == second.leaders
    assert first.nodes[1].ticks_until_due == second.nodes[1].ticks_until_due


def test_the_next_due_tick_is_told_so_that_nobody_wakes_up_for_nothing() -> None:
    group = RaftGroup()
    leader = group.elect(1)
    leader.tick(leader.ticks_until_due - 1)
    assert not leader.has_ready

    leader.tick()

    assert [type(message) for message in leader.ready().messages] == [Heartbeat, Heartbeat]


def test_an_append_of_an_old_leader_is_answered_with_the_term_that_came_since() -> None:
    group = RaftGroup()
    group.start(2, hard_state=HardState(term=5))
    group.nodes[2].step(Append(sender=1, to=2, term=4, previous=EntryId(0, 0), commit=0))

    group.take(2)

    assert group.wire == [AppendResponse(sender=2, to=1, term=5, index=0)]
