"""Time as a replica counts it: cluster time along the log, and ticks of the algorithm (design decision 6)."""

from random import Random

import pytest

from replicated_queue.codec import Frame, encode_command
from replicated_queue.raft.config import RaftConfig
from replicated_queue.raft.log import RaftLog
from replicated_queue.raft.membership import Membership
from replicated_queue.raft.messages import (
    AppendResponse,
    Entry,
    EntryId,
    Heartbeat,
    PreVote,
    Role,
    VoteResponse,
)
from replicated_queue.raft.raft import Raft
from replicated_queue.replica import Replica
from tests.replicated_queue.service_group import Journal

TICK = 0.01


def replica_of(*voters: int, log: list[Entry] | None = None, now: float = 1000.0) -> Replica:
    raft = Raft(
        me=1,
        membership=Membership.of(voters or (1, 2, 3)),
        random=Random(1),
        config=RaftConfig(),
        log=RaftLog(entries=log or []),
    )
    return Replica(raft=raft, state_machine=Journal(), tick_seconds=TICK, now=now)


def settle(replica: Replica) -> list[int]:
    """Persist and apply at once; return the stamps of what was applied."""
    while (ready := replica.ready()) is not None:
        replica.raft.persisted(ready.term, ready.last_index)
        replica.apply(ready.committed)
    journal = replica._state_machine
    assert isinstance(journal, Journal)
    return [now for _, now, _ in journal.commands]


def leading(replica: Replica) -> Replica:
    replica.raft.campaign()
    settle(replica)
    assert replica.is_leading
    return replica


def stamped(index: int, now: int) -> Entry:
    return Entry(1, index, encode_command(b"old", now=now))


def test_stamps_follow_the_monotonic_clock() -> None:
    replica = leading(replica_of(1))

    replica.propose([b"a"], now=1000.5)
    replica.propose([b"b", b"c"], now=1001.25)

    assert settle(replica) == [500, 1250, 1250]


def test_a_new_leader_continues_from_the_newest_stamp_of_the_log_applied_or_not() -> None:
    """Checklist 3.12."""
    replica = replica_of(1, log=[stamped(1, 70_000), stamped(2, 90_000)])

    leading(replica).propose([b"new"], now=1000.0)

    assert settle(replica) == [70_000, 90_000, 90_000]


def test_what_a_leader_stamps_never_runs_backwards_though_its_clock_does() -> None:
    replica = leading(replica_of(1))
    replica.propose([b"a"], now=1001.0)

    replica.propose([b"b"], now=1000.0)

    assert settle(replica) == [1000, 1000]


def test_a_pause_of_the_leader_is_no_cluster_time() -> None:
    replica = leading(replica_of(1))
    replica.propose([b"a"], now=1001.0)

    replica.propose([b"b"], now=1601.0)

    stamps = settle(replica)
    assert stamps[1] - stamps[0] <= 2000


def test_a_follower_knows_the_time_between_heartbeats_and_is_set_right_by_the_next() -> None:
    replica = replica_of()
    replica.receive(Frame(Heartbeat(sender=2, to=1, term=1, commit=0), 5_000), now=1000.0)
    between = replica.cluster_time(1000.2)

    replica.receive(Frame(Heartbeat(sender=2, to=1, term=1, commit=0), 5_100), now=1000.25)

    assert between == 5_200
    assert replica.cluster_time(1000.25) == 5_100


def test_only_the_leader_says_what_time_it_is() -> None:
    replica = replica_of()
    replica.receive(Frame(Heartbeat(sender=2, to=1, term=3, commit=0), 5_000), now=1000.0)

    replica.receive(Frame(Heartbeat(sender=3, to=1, term=2, commit=0), 9_000), now=1000.0)
    replica.receive(Frame(PreVote(sender=3, to=1, term=4, last=EntryId(0, 0)), 9_000), now=1000.0)

    assert replica.cluster_time(1000.0) == 5_000


def test_time_goes_on_over_an_election_from_what_the_old_leader_said() -> None:
    replica = replica_of()
    replica.receive(Frame(Heartbeat(sender=2, to=1, term=1, commit=0), 60_000), now=1000.0)
    replica.raft.peer_unreachable(2)
    replica.raft.campaign()
    replica.receive(Frame(VoteResponse(sender=3, to=1, term=1), 0), now=1000.5)
    replica.raft.role = Role.FOLLOWER

    assert replica.cluster_time(1001.0) == 61_000


def test_leading_begins_with_the_own_no_op_applied() -> None:
    """Checklist 1.4."""
    replica = replica_of()
    replica.raft.campaign()
    replica.raft._become_candidate()
    ready = replica.ready()
    assert ready is not None
    replica.raft.persisted(ready.term, ready.last_index)
    replica.receive(Frame(VoteResponse(sender=2, to=1, term=replica.raft.term), 0), now=1000.0)
    settle(replica)
    before = replica.raft.role is Role.LEADER, replica.is_leading

    replica.receive(Frame(AppendResponse(sender=2, to=1, term=replica.raft.term, index=1), 0), now=1000.0)
    settle(replica)

    assert before == (True, False)
    assert replica.is_leading


def test_at_its_deadline_a_tick_does_something() -> None:
    for start in (0.1, 1000.0, 123_456.789):
        replica = replica_of(now=start)

        replica.tick(replica.next_deadline())

        assert replica.raft.role is Role.PRE_CANDIDATE


def test_the_wait_for_a_heartbeat_does_not_count_towards_the_next() -> None:
    replica = replica_of()

    for beat in range(1, 100):
        replica.receive(Frame(Heartbeat(sender=2, to=1, term=1, commit=0), 0), now=1000.0 + beat * 0.25)

    assert replica.raft.timer.elapsed_ticks == 0
    assert replica.seconds_since_leader(1000.0 + 99 * 0.25 + 0.5) == pytest.approx(0.5)


def test_a_replica_that_was_paused_does_not_take_its_own_pause_for_a_dead_leader() -> None:
    replica = replica_of()
    replica.receive(Frame(Heartbeat(sender=2, to=1, term=1, commit=0), 0), now=1000.0)

    replica.tick(1030.0)

    assert replica.raft.role is Role.FOLLOWER and replica.raft.leader == 2


def test_an_entry_out_of_order_is_never_applied() -> None:
    """Checklist 1.41."""
    replica = replica_of()

    with pytest.raises(AssertionError, match="2 applied after 0"):
        replica.apply([stamped(2, 0)])
