"""What gets into the log, stays there, and is committed: Raft §5.3 and §5.4.2."""

import pytest

from replicated_queue.errors import Busy, NotLeader
from replicated_queue.raft.joining import join_appends, newest_acknowledgements
from replicated_queue.raft.log import LogDiverged
from replicated_queue.raft.messages import (
    Append,
    AppendRejected,
    AppendResponse,
    Entry,
    EntryId,
    HardState,
    Heartbeat,
    HeartbeatResponse,
    Role,
    Vote,
)
from replicated_queue.raft.progress import ProgressState
from tests.replicated_queue.raft_group import RaftGroup, entries_of


def test_an_append_is_acknowledged_only_after_its_entries_are_on_the_disk() -> None:
    """Checklist 1.2."""
    group = RaftGroup()
    group.slow_disks = {2}
    entries = entries_of(1, 1)
    group.nodes[2].step(Append(sender=1, to=2, term=1, previous=EntryId(0, 0), commit=0, entries=entries))

    ready = group.take(2)

    assert ready is not None and list(ready.entries) == entries
    assert group.wire == []
    group.persist(2)
    assert group.wire == [AppendResponse(sender=2, to=1, term=1, index=2)]


def test_the_leader_counts_itself_only_after_its_own_disk() -> None:
    """Checklist 1.2; thesis §10.2.1: it sends before, and may commit by the others."""
    group = RaftGroup(1, 2)
    leader = group.elect(1)
    group.slow_disks = {1}

    leader.propose([b"data"])
    group.settle()
    before = leader.log.commit_index
    group.persist(1)

    assert group.nodes[2].log.last_index == 2
    assert before == 1
    assert leader.log.commit_index == 2


def test_a_majority_of_other_disks_commits_while_the_leaders_own_is_slow() -> None:
    group = RaftGroup()
    leader = group.elect(1)
    group.slow_disks = {1}

    leader.propose([b"data"])
    group.settle()

    assert leader.log.commit_index == 2


def test_a_single_voter_commits_only_after_its_own_disk() -> None:
    """Checklist 1.42."""
    group = RaftGroup(1)
    leader = group.elect(1)
    group.slow_disks = {1}
    leader.propose([b"data"])

    group.settle()

    assert [entry.data for entry in group.applied[1]] == [b""]
    group.persist(1)
    group.settle()
    assert [entry.data for entry in group.applied[1]] == [b"", b"data"]


def test_heartbeats_do_not_wait_for_a_stalled_disk() -> None:
    """Checklist 1.14."""
    group = RaftGroup()
    group.elect(1)
    group.slow_disks = {1, 2, 3}

    group.nodes[1].propose([b"data"])
    group.tick(30 * group.config.election_ticks)

    assert group.leaders == [1]
    assert group.nodes[1].term == 1


def test_a_leader_commits_by_counting_only_entries_of_its_own_term() -> None:
    """Checklist 1.3; Raft figure 8."""
    group = RaftGroup(pre_vote=False)
    for me in group.ids:
        group.start(me, log=entries_of(1, 2), hard_state=HardState(term=2))
    leader = group.nodes[1]
    leader.campaign()
    # Everybody stores the old entries, but the no-op reaches nobody.
    group.settle(lose=lambda message: isinstance(message, Append) and bool(message.entries))
    leader.step(AppendResponse(sender=2, to=1, term=3, index=2))

    before = leader.log.commit_index
    leader.step(AppendResponse(sender=2, to=1, term=3, index=3))

    assert before == 0
    assert leader.log.commit_index == 3


def test_a_new_leader_appends_a_no_op_at_once() -> None:
    """Checklist 1.4; Raft §8."""
    group = RaftGroup()
    group.nodes[1].campaign()

    group.settle()

    assert [(entry.term, entry.data) for entry in group.applied[2]] == [(1, b"")]


def follower_with(*terms: int, commit: int = 0) -> RaftGroup:
    group = RaftGroup()
    group.start(2, log=entries_of(*terms), hard_state=HardState(terms[-1], 0, commit))
    return group


def append(group: RaftGroup, *entries: Entry, term: int, previous: EntryId, commit: int = 0) -> list[object]:
    group.nodes[2].step(Append(sender=1, to=2, term=term, previous=previous, commit=commit, entries=entries))
    group.take(2)
    sent, group.wire = group.wire, []
    return list(sent)


def test_a_late_shorter_append_truncates_nothing() -> None:
    """Checklist 1.6; Raft §5.3."""
    group = follower_with(1, 1, 1)

    answers = append(group, *entries_of(1), term=1, previous=EntryId(0, 0))

    assert group.nodes[2].log.last_index == 3
    assert answers == [AppendResponse(sender=2, to=1, term=1, index=1)]


def test_the_same_append_twice_changes_nothing() -> None:
    """Checklist 1.6."""
    group = follower_with(1)
    entries = entries_of(1, 1, start=2)

    first = append(group, *entries, term=1, previous=EntryId(1, 1))
    again = append(group, *entries, term=1, previous=EntryId(1, 1))

    assert first == again
    assert group.nodes[2].log.entries_from(1) == [*entries_of(1), *entries]


def test_entries_of_another_term_are_replaced_from_the_first_that_differs() -> None:
    group = follower_with(1, 1, 2, 2)

    append(group, *entries_of(1, 3, start=2), term=3, previous=EntryId(1, 1))

    assert [entry.term for entry in group.nodes[2].log.entries_from(1)] == [1, 1, 3]


def test_a_follower_commits_only_what_the_message_vouches_for() -> None:
    """Checklist 1.7: its own tail may differ from the leader's."""
    group = follower_with(1, 1, 1)

    append(group, *entries_of(1), term=2, previous=EntryId(0, 0), commit=3)

    assert group.nodes[2].log.commit_index == 1


def test_a_heartbeat_commits_no_more_than_what_is_known_to_match() -> None:
    """Checklist 1.7."""
    group = RaftGroup()
    leader = group.elect(1)
    leader.propose([b"data"])
    group.settle(lose=lambda message: message.to == 3)
    leader.tick(group.config.heartbeat_ticks)

    beats = [message for message in leader.ready().messages if isinstance(message, Heartbeat)]

    assert {beat.to: beat.commit for beat in beats} == {2: 2, 3: 1}


def test_replacing_a_committed_entry_ends_the_process_with_the_state() -> None:
    """Checklist 1.8."""
    group = follower_with(1, 1, commit=2)

    with pytest.raises(LogDiverged, match=r"entry 2 is committed .* RaftLog\(.*commit=2"):
        group.nodes[2].log.maybe_append(EntryId(1, 1), entries_of(3, start=2))


def test_a_commit_beyond_the_log_ends_the_process() -> None:
    """Checklist 1.8: this disk lost what it had promised."""
    group = follower_with(1)

    with pytest.raises(LogDiverged, match="lost or set back"):
        group.nodes[2].step(Heartbeat(sender=1, to=2, term=1, commit=2))


def test_an_append_below_the_commit_index_is_answered_with_it() -> None:
    group = follower_with(1, 1, 1, commit=3)

    answers = append(group, term=1, previous=EntryId(1, 1))

    assert answers == [AppendResponse(sender=2, to=1, term=1, index=3)]


def test_a_rejection_names_where_the_logs_may_meet() -> None:
    group = follower_with(1, 1, 2, 2, 2)

    answers = append(group, term=4, previous=EntryId(3, 9))

    assert answers == [AppendRejected(sender=2, to=1, term=4, index=9, hint=EntryId(2, 5))]
    assert append(group, term=4, previous=EntryId(1, 4)) == [
        AppendRejected(sender=2, to=1, term=4, index=4, hint=EntryId(1, 2))
    ]


def test_a_follower_far_behind_is_streamed_to_after_one_probe() -> None:
    group = RaftGroup(max_append_bytes=1000, max_inflight_appends=4)
    leader = group.elect(1)
    group.dead = {3}
    for _ in range(100):
        leader.propose([b"x" * 100])
        group.settle()
    group.dead = set()

    group.tick(2 * group.config.heartbeat_ticks)

    assert group.nodes[3].log.last_index == 101
    assert group.applied[3] == group.applied[1]


def test_the_window_bounds_what_is_sent_unanswered_and_a_lost_one_is_found_again() -> None:
    group = RaftGroup(max_inflight_appends=3)
    leader = group.elect(1)
    for _ in range(10):
        leader.propose([b"data"])
    appends = [
        message for message in leader.ready().messages if isinstance(message, Append) and message.to == 3
    ]
    assert len(appends) == 3

    group.tick(3 * group.config.heartbeat_ticks)

    assert group.nodes[3].log.last_index == 11
    assert group.applied[3] == group.applied[1]


def test_a_reset_link_makes_the_leader_probe_again() -> None:
    group = RaftGroup()
    leader = group.elect(1)
    assert leader.replication is not None
    assert leader.replication.progress[2].state is ProgressState.REPLICATE

    leader.peer_unreachable(2)

    assert leader.replication.progress[2].state is ProgressState.PROBE


def test_uncommitted_bytes_are_bounded_and_one_large_entry_still_passes() -> None:
    """Checklist 1.45."""
    group = RaftGroup(max_uncommitted_bytes=1000)
    leader = group.elect(1)
    leader.propose([b"x" * 5000])

    with pytest.raises(Busy):
        leader.propose([b"y"])
    group.settle()
    leader.propose([b"y"])

    assert leader.log.last_index == 3


def test_who_does_not_lead_proposes_nothing_and_names_the_leader() -> None:
    group = RaftGroup()
    group.elect(1)

    with pytest.raises(NotLeader) as refusal:
        group.nodes[2].propose([b"data"])

    assert refusal.value.leader == 1
    assert group.nodes[2].log.last_index == 1


def test_writes_that_land_after_a_truncation_vouch_for_nothing_new() -> None:
    """Design decision 2: a Ready may be taken while earlier writes are in flight."""
    group = follower_with(1)
    group.slow_disks = {2}
    node = group.nodes[2]
    node.step(
        Append(sender=1, to=2, term=1, previous=EntryId(1, 1), commit=0, entries=entries_of(1, 1, start=2))
    )
    first = group.take(2)
    node.step(
        Append(sender=3, to=2, term=2, previous=EntryId(1, 1), commit=0, entries=entries_of(2, start=2))
    )
    second = group.take(2)
    assert first is not None and second is not None

    node.persisted(first.term, first.last_index)
    node.campaign()
    node.forget_leader()

    assert list(second.entries) == entries_of(2, start=2)
    assert node.log.last == EntryId(2, 2)
    assert [promise.term for ready in (first, second) for promise in ready.promises] == [1, 2]


def test_an_acknowledgement_of_an_earlier_term_is_ignored_by_a_later_leader() -> None:
    group = RaftGroup()
    group.elect(1)
    leader = group.elect(1)
    leader.propose([b"data"])
    group.take(1)
    commit = leader.log.commit_index

    leader.step(AppendResponse(sender=2, to=1, term=leader.term - 1, index=leader.log.last_index))

    assert leader.log.commit_index == commit


def test_messages_of_strangers_move_nothing() -> None:
    """Checklist 1.46."""
    group = RaftGroup()
    leader = group.elect(1)
    leader.propose([b"data"])
    group.take(1)

    leader.step(AppendResponse(sender=9, to=1, term=1, index=2))
    leader.step(HeartbeatResponse(sender=9, to=1, term=1))

    assert leader.log.commit_index == 1


def test_committed_entries_are_handed_out_once_and_in_bounded_portions() -> None:
    group = RaftGroup(1, max_apply_bytes=250)
    leader = group.elect(1)
    leader.propose([b"x" * 100] * 5)

    portions = []
    while (ready := group.take(1)) is not None:
        portions.append(len(ready.committed))
    group.settle()

    assert [entry.index for entry in group.applied[1]] == [1, 2, 3, 4, 5, 6]
    assert max(portions) == 2


def test_what_was_committed_before_a_restart_is_applied_once_after_it() -> None:
    """Checklist 1.41."""
    group = RaftGroup(1)
    group.start(1, log=entries_of(1, 1, 1), hard_state=HardState(1, 1, 2))

    group.settle()
    early = [entry.index for entry in group.applied[1]]
    group.elect(1)

    assert early == [1, 2]
    assert [entry.index for entry in group.applied[1]] == [1, 2, 3, 4]


def test_a_commit_index_alone_needs_no_sync() -> None:
    group = RaftGroup()
    leader = group.elect(1)
    leader.propose([b"data"])
    group.settle(lose=lambda message: isinstance(message, AppendResponse))
    leader.step(AppendResponse(sender=2, to=1, term=1, index=2))

    ready = leader.ready()

    assert ready.hard_state == HardState(1, 1, 2)
    assert not ready.must_sync


def make_append(start: int, count: int, *, to: int = 2, commit: int = 0, term: int = 1) -> Append:
    entries = entries_of(*[1] * count, start=start + 1)
    return Append(sender=1, to=to, term=term, previous=EntryId(1, start), commit=commit, entries=entries)


def test_the_appends_of_one_turn_become_one_a_peer() -> None:
    turn = [make_append(0, 2), make_append(0, 2, to=3), make_append(2, 3), make_append(5, 0, commit=4)]

    joined = join_appends(turn, max_bytes=1 << 20)

    assert joined == [make_append(0, 5, commit=4), make_append(0, 2, to=3)]


def test_appends_that_do_not_continue_each_other_or_grow_too_large_stay_apart() -> None:
    for second in (make_append(7, 1), make_append(2, 1, term=2)):
        assert join_appends([make_append(0, 2), second], max_bytes=1 << 20) == [make_append(0, 2), second]
    assert len(join_appends([make_append(0, 2), make_append(2, 2)], max_bytes=10)) == 2


def test_only_the_newest_acknowledgement_of_a_term_is_sent() -> None:
    def acknowledgement(index: int, term: int = 1) -> AppendResponse:
        return AppendResponse(sender=2, to=1, term=term, index=index)

    vote = Vote(sender=2, to=1, term=1, last=EntryId(0, 0))

    kept = newest_acknowledgements(
        [acknowledgement(1), vote, acknowledgement(3), acknowledgement(3), acknowledgement(9, term=2)]
    )

    assert kept == [vote, acknowledgement(3), acknowledgement(9, term=2)]


def test_a_leader_ignores_a_second_leader_of_its_term() -> None:
    group = RaftGroup()
    leader = group.elect(1)

    leader.step(Heartbeat(sender=2, to=1, term=1, commit=0))

    assert leader.role is Role.LEADER
