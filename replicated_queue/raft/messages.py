"""What replicas say to each other, and what the algorithm hands to its shell.

Kinds and their meaning are those of the reference implementation, one class each. `term` is
the sender's term when it spoke, except in `PreVote` and a granting `PreVoteResponse`, which carry the
term that would follow. What is made for each entry is a tuple: a frozen dataclass costs three times as much.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Role(Enum):
    """What a replica is in its term (Raft §5.1; the pre-candidate: thesis §9.6)."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class Entry(NamedTuple):
    """One entry of the log; its `data` means nothing to the algorithm, and is empty in a leader's no-op."""

    term: int
    index: int  # type: ignore[assignment]  # hides a method of tuples that nobody needs
    data: bytes
    is_change: bool = False  # of the membership; `data` then is for the algorithm alone


class EntryId(NamedTuple):
    """A place in the log and the term of its entry; two logs that share one are equal up to it (§5.3)."""

    term: int
    index: int  # type: ignore[assignment]


NOTHING = EntryId(0, 0)  # before the first entry


@dataclass(frozen=True, slots=True, kw_only=True)
class PreVote:
    """Would you vote for me in `term`? Binds nobody (thesis §9.6)."""

    sender: int
    to: int
    term: int
    last: EntryId


@dataclass(frozen=True, slots=True, kw_only=True)
class PreVoteResponse:
    """Yes (`term` is the one asked for), or no (`term` is the answerer's own).

    `commit` is told by who is no voter any more, see `Raft._answer_vote`, and by nobody else.
    """

    sender: int
    to: int
    term: int
    reject: bool = False
    commit: EntryId = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """RequestVote (§5.2). `transfer`: the leader asked for this election, so nobody protects it."""

    sender: int
    to: int
    term: int
    last: EntryId
    transfer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteResponse:
    """The answer to `Vote`; leaves only when the vote is on the disk."""

    sender: int
    to: int
    term: int
    reject: bool = False


class Append(NamedTuple):
    """AppendEntries (§5.3): `entries` follow directly on `previous`."""

    sender: int
    to: int
    term: int
    previous: EntryId
    commit: int
    entries: Sequence[Entry] = ()


class AppendResponse(NamedTuple):
    """Everything up to `index` is on the sender's disk and equal to the leader's log.

    Index 0 acknowledges nothing: it tells an old leader of the term that has come since.
    """

    sender: int
    to: int
    term: int
    index: int  # type: ignore[assignment]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendRejected:
    """The append on `index` does not match; `hint` is where one may (§5.3, last paragraphs)."""

    sender: int
    to: int
    term: int
    index: int
    hint: EntryId


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """I lead. `commit` never exceeds what is known to match at the receiver. Waits for no disk."""

    sender: int
    to: int
    term: int
    commit: int
    read_round: int = 0  # the newest reads that wait for an answer to this (thesis §6.4)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatResponse:
    """I am here, and in your term."""

    sender: int
    to: int
    term: int
    read_round: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutNow:
    """Start an election at once: the leader hands over (thesis §3.10)."""

    sender: int
    to: int
    term: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a snapshot covers, and who belonged to the group by then; its content is the shell's affair."""

    last: EntryId
    voters: tuple[int, ...]
    learners: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallSnapshot:
    """The log before `snapshot` is not kept any more: take this in its place (§7).

    The core's shell sends the content along, and hands this to the receiver's core only with all of it.
    """

    sender: int
    to: int
    term: int
    snapshot: Snapshot


Message = (
    PreVote
    | PreVoteResponse
    | Vote
    | VoteResponse
    | Append
    | AppendResponse
    | AppendRejected
    | Heartbeat
    | HeartbeatResponse
    | TimeoutNow
    | InstallSnapshot
)


@dataclass(frozen=True, slots=True)
class ReadState:
    """The read that was asked under this number may be answered once `index` is applied."""

    read: int
    index: int


class HardState(NamedTuple):
    """What must be on the disk before any promise that rests on it; `vote` is 0 for nobody.

    `commit` rides along for a quicker start and needs no sync of its own.
    """

    term: int = 0
    vote: int = 0
    commit: int = 0


class SoftState(NamedTuple):
    """What is worth telling others and is forgotten at a restart; `leader` is 0 for nobody."""

    leader: int = 0
    role: Role = Role.FOLLOWER


class Ready(NamedTuple):
    """What the shell must do now; the next may be taken while this one's writes are still in flight.

    Restore `snapshot` before anything is applied. Send `messages` at once. Write `snapshot`, `hard_state`
    and `entries` in the order of the Readies; when they, and those of all earlier Readies, are on the disk,
    send `promises` and call `persisted(ready.term, ready.last_index)`. Apply `committed` at any time, in
    order.
    """

    term: int
    last_index: int
    soft_state: SoftState | None = None  # None: as before
    hard_state: HardState | None = None  # None: as before
    entries: Sequence[Entry] = ()
    snapshot: Snapshot | None = None
    committed: Sequence[Entry] = ()
    reads: Sequence[ReadState] = ()
    messages: Sequence[Message] = ()
    promises: Sequence[Message] = ()
    must_sync: bool = False  # false when only the commit index moved: nothing needs to be written
