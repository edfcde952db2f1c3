"""The trace of a core: what a checker of specifications reads."""

import json
from random import Random

from replicated_queue.raft.log import RaftLog
from replicated_queue.raft.membership import Change, ChangeKind, Membership
from replicated_queue.raft.trace import Event, TracedRaft, line_of
from tests.replicated_queue.raft_group import CONFIG, RaftGroup


def traced_group() -> tuple[RaftGroup, list[Event]]:
    group, events = RaftGroup(), list[Event]()
    for me in group.ids:
        group.nodes[me] = TracedRaft(
            sink=events.append,
            me=me,
            membership=Membership.of(group.ids),
            random=Random(me),
            config=CONFIG,
            log=RaftLog(),
        )
    return group, events


def names(events: list[Event], node: int) -> list[str]:
    return [event["name"] for event in events if event["node"] == node]


def test_an_election_is_told_from_the_first_question_to_the_commit() -> None:
    group, events = traced_group()

    group.elect(1)

    wanted = [
        "InitState",
        "BecomePreCandidate",
        "SendPreVoteRequest",
        "BecomeCandidate",
        "SendRequestVoteRequest",
        "ReceiveRequestVoteResponse",
        "BecomeLeader",
        "SendAppendEntriesRequest",
        "Commit",
    ]
    told = iter(names(events, 1))
    assert all(name in told for name in wanted), names(events, 1)


def test_each_event_has_the_state_it_left_and_is_one_line_of_json() -> None:
    group, events = traced_group()
    group.elect(1)
    group.nodes[1].propose([b"x"])
    group.settle()

    lines = [line_of(event) for event in events]

    assert all(
        "\n" not in line and json.loads(line) == event for line, event in zip(lines, events, strict=True)
    )
    last = [event for event in events if event["name"] == "Commit" and event["node"] == 1][-1]
    assert last["state"] == {"term": 1, "vote": 1, "commit": 2} and last["log"] == 2


def test_snapshots_and_changes_of_the_membership_are_told() -> None:
    group, events = traced_group()
    group.elect(1)
    group.dead = {3, 4}
    group.change(ChangeKind.ADD_LEARNER, 4)
    group.nodes[1].propose([b"x"])
    group.settle()
    group.compact(1)
    group.dead = {4}

    group.tick(CONFIG.heartbeat_ticks)

    assert {"ChangeConf", "ApplyConfChange", "SendSnapshot"} <= set(names(events, 1))
    assert "RestoreSnapshot" in names(events, 3)


def test_a_trace_does_not_change_what_is_traced() -> None:
    plain, (traced, _) = RaftGroup(), traced_group()

    for group in (plain, traced):
        group.elect(2)
        group.nodes[2].propose([b"a", b"b"])
        group.settle()
        group.nodes[2].propose_change([Change(ChangeKind.REMOVE, 3)])
        group.settle()

    assert [repr(node.log) for node in plain.nodes.values()] == [
        repr(node.log) for node in traced.nodes.values()
    ]
