"""Snapshots as the algorithm sees them: compaction, what is sent instead of entries, what it does there (§7)."""

import pytest

from replicated_queue.raft.log import LogDiverged, RaftLog
from replicated_queue.raft.membership import Change, ChangeKind, Membership, encode_changes
from replicated_queue.raft.messages import (
    Append,
    AppendRejected,
    AppendResponse,
    Entry,
    EntryId,
    InstallSnapshot,
    Message,
    Snapshot,
)
from replicated_queue.raft.progress import ProgressState
from tests.replicated_queue.raft_group import RaftGroup, entries_of


def group_with_gap() -> RaftGroup:
    """3 was away while 1 committed five entries and forgot them."""
    group = RaftGroup()
    group.elect(1)
    group.dead = {3}
    group.nodes[1].propose([b"a", b"b", b"c", b"d", b"e"])
    group.settle()
    group.compact(1)
    group.dead = set()
    return group


def installs(messages: list[Message]) -> list[InstallSnapshot]:
    return [message for message in messages if isinstance(message, InstallSnapshot)]


def test_who_needs_what_is_not_kept_gets_the_snapshot_and_then_the_log() -> None:
    """Checklist 1.31."""
    group = group_with_gap()

    group.tick(group.config.heartbeat_ticks)

    assert group.restored[3].last == EntryId(1, 6)
    group.nodes[1].propose([b"f"])
    group.settle()
    assert group.applied[3][-1].data == b"f"
    replication = group.nodes[1].replication
    assert replication is not None and replication.progress[3].state is ProgressState.REPLICATE


def test_entries_kept_behind_the_snapshot_spare_a_rebooted_node_the_snapshot() -> None:
    """Checklist 1.31."""
    group = RaftGroup()
    group.elect(1)
    group.dead = {3}
    group.nodes[1].propose([b"a", b"b", b"c"])
    group.settle()
    group.compact(1, keep=4)
    group.dead = set()

    group.tick(group.config.heartbeat_ticks)

    assert group.restored == {}
    assert group.applied[3] == group.applied[1]


def test_while_a_snapshot_is_under_way_nothing_else_and_no_second_one_is_sent() -> None:
    """Checklist 1.30."""
    group = group_with_gap()
    sent: list[Message] = []
    for _ in range(4):
        group.tick(group.config.heartbeat_ticks, settles=False)
        sent += group.settle(lose=lambda message: isinstance(message, InstallSnapshot))
        group.nodes[1].propose([b"more"])

    assert len(installs(sent)) == 1


def test_a_snapshot_that_could_not_be_sent_is_tried_again_after_a_heartbeat() -> None:
    group = group_with_gap()
    group.tick(group.config.heartbeat_ticks, settles=False)
    group.settle(lose=lambda message: isinstance(message, InstallSnapshot))

    group.nodes[1].snapshot_ended(3, arrived=False)
    group.tick(2 * group.config.heartbeat_ticks)

    assert group.restored[3].last == EntryId(1, 6)


def test_no_snapshot_is_sent_to_who_does_not_answer() -> None:
    group = group_with_gap()
    group.dead = {3}
    group.tick(3 * group.config.election_ticks)

    group.nodes[1].peer_unreachable(3)
    group.nodes[1].propose([b"more"])
    sent = group.settle()

    assert not installs(sent)


def snapshot_at(index: int, term: int = 1) -> Snapshot:
    return Snapshot(EntryId(term, index), (1, 2, 3))


def offered(snapshot: Snapshot, *, to: int = 3, term: int = 1) -> InstallSnapshot:
    return InstallSnapshot(sender=1, to=to, term=term, snapshot=snapshot)


def test_a_snapshot_inside_a_matching_log_keeps_what_follows_it() -> None:
    """Checklist 1.29."""
    group = RaftGroup()
    node = group.start(3, log=entries_of(1, 1, 1, 1))

    node.step(offered(snapshot_at(2)))
    ready = group.take(3)

    assert ready is not None and ready.snapshot is None
    assert node.log.last_index == 4 and node.log.commit_index == 2
    assert group.wire == [AppendResponse(sender=3, to=1, term=1, index=2)]


def test_a_log_that_conflicts_with_the_snapshot_is_dropped() -> None:
    """Checklist 1.29 (openraft #559)."""
    group = RaftGroup()
    node = group.start(3, log=entries_of(1, 1, 1, 1))

    node.step(offered(snapshot_at(3, term=2), term=2))
    group.take(3)

    assert node.log.last == EntryId(2, 3)
    assert node.log.commit_index == node.log.applying_index == 3


def test_a_snapshot_older_than_what_is_committed_changes_nothing() -> None:
    """Checklist 1.30."""
    group = RaftGroup()
    group.elect(1)
    group.nodes[1].propose([b"a", b"b"])
    group.settle()
    group.compact(3)
    before = repr(group.nodes[3].log)

    group.nodes[3].step(offered(snapshot_at(2)))
    group.settle()

    assert repr(group.nodes[3].log) == before
    assert group.restored == {}


def test_a_snapshot_of_a_group_that_one_was_removed_from_is_not_installed() -> None:
    """Checklist 1.30."""
    group = RaftGroup()

    group.nodes[3].step(offered(Snapshot(EntryId(1, 9), (1, 2))))
    group.take(3)

    assert group.restored == {} and group.nodes[3].log.last_index == 0


def test_a_newcomer_takes_a_snapshot_that_does_not_know_it_yet() -> None:
    """Checklist 1.21: it was taken before the change that admits it, which follows in the log."""
    group = RaftGroup(1, 2, 3, 4, membership=Membership.of((1, 2, 3)))

    group.nodes[4].step(offered(Snapshot(EntryId(1, 9), (1, 2, 3)), to=4))
    group.take(4)

    assert group.restored[4].last == EntryId(1, 9)
    assert 4 not in group.nodes[4].membership


def test_who_installed_a_snapshot_that_the_log_has_left_behind_gets_the_next_one_at_once() -> None:
    """Checklist 1.31: else it would wait until the transfer is taken for lost."""
    group = group_with_gap()
    group.tick(group.config.heartbeat_ticks, settles=False)
    (install,) = installs(group.settle(lose=lambda message: isinstance(message, InstallSnapshot)))
    group.dead = {3}
    group.nodes[1].propose([b"f", b"g"])
    group.settle()
    group.compact(1)
    group.dead = set()

    group.nodes[1].step(AppendResponse(sender=3, to=1, term=1, index=install.snapshot.last.index))

    (next_one,) = installs(group.nodes[1].ready().messages)
    assert next_one.snapshot.last.index > install.snapshot.last.index


def test_a_snapshot_of_an_old_leader_is_answered_with_the_newer_term() -> None:
    """Checklist 1.30: the leader changed while it was under way."""
    group = RaftGroup()
    group.start(3)
    group.nodes[3].term = 5

    group.nodes[3].step(offered(snapshot_at(9), term=4))
    group.take(3)

    assert group.restored == {}
    assert group.wire == [AppendResponse(sender=3, to=1, term=5, index=0)]


def test_the_acknowledgement_of_a_snapshot_waits_for_the_disk() -> None:
    """Checklist 1.2, 1.28."""
    group = RaftGroup()
    group.slow_disks = {3}

    group.nodes[3].step(offered(snapshot_at(9)))
    group.take(3)

    assert group.wire == []
    group.persist(3)
    assert group.wire == [AppendResponse(sender=3, to=1, term=1, index=9)]


def test_a_snapshot_brings_the_membership_and_drops_a_change_that_it_covers() -> None:
    """Checklist 1.21 (openraft #1808)."""
    group = RaftGroup(1, 2, 3, 4, membership=Membership.of((1, 2, 3)))
    change = Entry(1, 2, encode_changes([Change(ChangeKind.REMOVE, 2)]), True)
    node = group.start(3, log=[*entries_of(1), change])
    assert node.log.may_be_member(2)

    node.step(offered(Snapshot(EntryId(9, 50), (1, 3), (4,)), term=9))
    group.take(3)

    assert node.membership == Membership.of((1, 3), (4,))
    assert not node.log.may_be_member(2)


def test_an_empty_log_behind_a_snapshot_still_knows_the_term_before_it() -> None:
    """Checklist 1.32."""
    log = RaftLog(snapshot=snapshot_at(9, term=4))

    assert log.last == EntryId(4, 9) and log.term_at(9) == 4 and log.term_at(8) is None
    assert log.maybe_append(EntryId(4, 9), entries_of(5, start=10)) == 10
    assert log.maybe_append(EntryId(3, 9), entries_of(5, start=10)) is None


def test_an_append_that_reaches_back_before_the_snapshot_is_answered_with_what_is_committed() -> None:
    """Checklist 1.29, 1.32."""
    group = RaftGroup()
    group.nodes[3].step(offered(snapshot_at(9)))
    group.settle(lose=lambda message: True)

    late = Append(sender=1, to=3, term=1, previous=EntryId(1, 4), commit=9, entries=entries_of(1, start=5))
    group.nodes[3].step(late)
    group.take(3)

    assert group.wire == [AppendResponse(sender=3, to=1, term=1, index=9)]


def test_an_append_far_ahead_of_a_log_that_begins_with_a_snapshot_is_rejected_with_its_end() -> None:
    """Checklist 1.32: the search for where logs meet ends at the snapshot."""
    group = RaftGroup()
    group.nodes[3].step(offered(snapshot_at(9)))
    group.settle(lose=lambda message: True)

    group.nodes[3].step(Append(sender=1, to=3, term=1, previous=EntryId(1, 20), commit=9))
    group.take(3)

    (rejected,) = group.wire
    assert isinstance(rejected, AppendRejected) and rejected.hint == EntryId(1, 9)


def test_nothing_is_forgotten_that_no_snapshot_of_applied_state_covers() -> None:
    log = RaftLog(entries=entries_of(1, 1, 1))

    with pytest.raises(LogDiverged):
        log.compact(snapshot_at(2))
