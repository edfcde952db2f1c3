"""ReadIndex: a read is answered from state that held when it came, or later (thesis §6.4, checklist 1.15, 1.16)."""

import pytest

from replicated_queue.errors import NotLeader
from replicated_queue.raft.messages import (
    AppendResponse,
    Heartbeat,
    HeartbeatResponse,
    ReadState,
    Role,
)
from tests.replicated_queue.raft_group import RaftGroup


def test_a_read_waits_until_a_majority_has_confirmed_the_leader_after_it_came() -> None:
    group = RaftGroup()
    leader = group.elect(1)

    leader.read(7)
    group.take(1)

    assert group.read[1] == []
    group.settle()
    assert group.read[1] == [ReadState(7, leader.log.commit_index)]


def test_an_answer_to_an_earlier_heartbeat_confirms_nothing() -> None:
    """Checklist 1.16: it may have left before another leader was elected."""
    group = RaftGroup()
    leader = group.elect(1)
    leader.read(1)
    group.settle(lose=lambda message: isinstance(message, HeartbeatResponse))
    leader.read(2)
    group.settle(lose=lambda message: True)

    leader.step(HeartbeatResponse(sender=2, to=1, term=leader.term, read_round=1))
    group.take(1)

    assert [state.read for state in group.read[1]] == [1]


def test_a_leader_that_was_paused_and_replaced_answers_no_read() -> None:
    """Checklist 1.15, 1.18: there are no leases that it could trust."""
    group = RaftGroup()
    old = group.elect(1)
    group.dead = {1}
    group.elect(2)
    group.nodes[2].propose([b"newer"])
    group.settle()

    group.dead = set()
    old.read(1)
    group.settle()

    assert group.read[1] == []
    assert old.role is Role.FOLLOWER


def test_a_read_that_comes_before_the_no_op_is_committed_waits_for_it() -> None:
    """Checklist 1.4: until then a new leader does not know what is committed."""
    group = RaftGroup()
    group.elect(2)
    group.nodes[2].propose([b"acknowledged"])
    group.settle(lose=lambda message: message.to == 1 and isinstance(message, Heartbeat))
    group.nodes[1].forget_leader()
    group.nodes[3].forget_leader()
    group.dead = {2}
    group.nodes[1].campaign()
    group.settle(lose=lambda message: isinstance(message, AppendResponse))
    assert group.nodes[1].role is Role.LEADER

    group.nodes[1].read(5)
    group.settle(lose=lambda message: isinstance(message, AppendResponse))
    assert group.read[1] == []

    group.tick(group.config.heartbeat_ticks)
    (state,) = group.read[1]
    assert state.index == group.nodes[1].log.last_index


def test_only_the_leader_reads_and_a_lone_voter_needs_nobody() -> None:
    group, lone = RaftGroup(), RaftGroup(9)
    group.elect(1)
    lone.elect(9)

    with pytest.raises(NotLeader):
        group.nodes[2].read(1)
    lone.nodes[9].read(1)
    lone.take(9)

    assert [state.read for state in lone.read[9]] == [1]
