"""What a core does, as events for a checker of specifications: one line of JSON each."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from .membership import Change
from .messages import (
    Append,
    AppendRejected,
    AppendResponse,
    Entry,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    PreVote,
    PreVoteResponse,
    Ready,
    Role,
    Vote,
    VoteResponse,
)
from .raft import Raft

Event = dict[str, Any]
NAMES: dict[type[Message], str] = {
    Append: "AppendEntriesRequest",
    AppendResponse: "AppendEntriesResponse",
    AppendRejected: "AppendEntriesResponse",
    Heartbeat: "AppendEntriesRequest",
    HeartbeatResponse: "AppendEntriesResponse",
    InstallSnapshot: "Snapshot",
    PreVote: "PreVoteRequest",
    PreVoteResponse: "PreVoteResponse",
    Vote: "RequestVoteRequest",
    VoteResponse: "RequestVoteResponse",
}


def line_of(event: Event) -> str:
    """One event as a line; equal events are equal lines."""
    return json.dumps(event, sort_keys=True, separators=(",", ":"))


class TracedRaft(Raft):
    """A core that tells `sink` of each step it takes, with term, vote, commit index and length of the log."""

    def __init__(self, *, sink: Callable[[Event], None], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._sink = sink
        self._note("InitState")

    def step(self, message: Message) -> None:
        self._note_message("Receive", message)
        super().step(message)

    def propose(self, data: Sequence[bytes]) -> int:
        first = super().propose(data)
        self._note("Replicate", entries=len(data))
        return first

    def propose_change(self, changes: Sequence[Change]) -> int:
        index = super().propose_change(changes)
        self._note("ChangeConf", changes=[[change.kind.name.lower(), change.node] for change in changes])
        return index

    def ready(self, *, apply: bool = True) -> Ready:
        before = self._told_hard.commit
        ready = super().ready(apply=apply)
        if ready.snapshot is not None:
            self._note("RestoreSnapshot", last=list(ready.snapshot.last))
        if self.log.commit_index > before:
            self._note("Commit")
        self._note("Ready", entries=len(ready.entries), committed=len(ready.committed))
        for message in ready.promises:
            self._note_message("Send", message)
        return ready

    def _send(self, message: Message) -> None:
        super()._send(message)
        self._note_message("Send", message)

    def _become_follower(self, term: int, leader: int) -> None:
        super()._become_follower(term, leader)
        self._note("BecomeFollower")

    def _become_pre_candidate(self) -> None:
        self._note("BecomePreCandidate", role=Role.PRE_CANDIDATE.value)  # before: it may win at once
        super()._become_pre_candidate()

    def _become_candidate(self, *, transfer: bool = False) -> None:
        self._note_before_its_messages(
            "BecomeCandidate", lambda: super(TracedRaft, self)._become_candidate(transfer=transfer)
        )

    def _become_leader(self) -> None:
        self._note_before_its_messages("BecomeLeader", super()._become_leader)

    def _apply_change(self, entry: Entry) -> None:
        super()._apply_change(entry)
        members = self.membership
        self._note("ApplyConfChange", voters=list(members.voters.ids), learners=list(members.learners))

    def _note_before_its_messages(self, name: str, become: Callable[[], None]) -> None:
        sink, sent = self._sink, list[Event]()
        self._sink = sent.append
        become()
        self._sink = sink
        self._note(name)
        for event in sent:
            sink(event)

    def _note(self, name: str, **more: Any) -> None:
        state = {"term": self.term, "vote": self.vote, "commit": self.log.commit_index}
        self._sink(
            {
                "name": name,
                "node": self.me,
                "role": self.role.value,
                "state": state,
                "log": self.log.last_index,
                **more,
            }
        )

    def _note_message(self, what: str, message: Message) -> None:
        name = NAMES.get(type(message))
        if name is None:
            return  # a hand-over is seen in the election that follows
        told: Event = {"from": message.sender, "to": message.to, "term": message.term}
        match message:
            case Append():
                told |= {"previous": list(message.previous), "entries": len(message.entries)}
                told |= {"commit": message.commit}
            case Heartbeat():
                told |= {"commit": message.commit, "entries": 0}
            case AppendResponse() | AppendRejected():
                told |= {"index": message.index, "reject": isinstance(message, AppendRejected)}
            case VoteResponse() | PreVoteResponse():
                told |= {"reject": message.reject}
            case Vote() | PreVote():
                told |= {"last": list(message.last)}
            case InstallSnapshot():
                told |= {"last": list(message.snapshot.last)}
            case _:
                pass
        self._note(what + name, message=told)
