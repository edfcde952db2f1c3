"""Entries, frames between replicas and records of the write-ahead log, to bytes and back, by msgpack.

Each kind begins with a version. Fields are only ever added at the end: an unknown one is skipped, a missing
one has a default. What decodes trusts nobody and raises `MalformedMessage`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, NamedTuple

import msgpack

from .errors import MalformedMessage, UnknownVersion
from .raft.messages import (
    Append,
    AppendRejected,
    AppendResponse,
    Entry,
    EntryId,
    HardState,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    PreVote,
    PreVoteResponse,
    Snapshot,
    TimeoutNow,
    Vote,
    VoteResponse,
)

FRAME_VERSION = 1
RECORD_VERSION = 1
ENTRY_VERSION = 1
STAMP = Struct(">BQ")  # version, cluster time in milliseconds
KINDS: dict[type[Message], int] = {
    PreVote: 1,
    PreVoteResponse: 2,
    Vote: 3,
    VoteResponse: 4,
    Append: 5,
    AppendResponse: 6,
    AppendRejected: 7,
    Heartbeat: 8,
    HeartbeatResponse: 9,
    TimeoutNow: 10,
    InstallSnapshot: 11,
}
INTEGER_BOUND = 1 << 64
DIGEST_BYTES_MAX = 64
NO_CHECKPOINT = (0, b"")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a state is at a place of the log."""

    index: int
    digest: bytes


class Frame(NamedTuple):
    """One message of a peer, and cluster time (ms) as that peer knew it."""

    message: Message
    now: int
    checkpoint: Checkpoint | None = None  # of a leader, with its heartbeats


@dataclass(frozen=True, slots=True)
class Record:
    """What one `Ready` wrote: the hard state, and entries that replace all from the first of them on."""

    hard_state: HardState
    entries: Sequence[Entry]
    base: EntryId | None = None  # the log begins anew behind this: a snapshot took the place of all before


def encode_command(command: bytes, *, now: int) -> bytes:
    """The data of an entry: the proposer's bytes behind the leader's stamp."""
    return STAMP.pack(ENTRY_VERSION, now) + command


def decode_command(data: bytes) -> tuple[int, bytes]:
    """Stamp and command of an entry's data. Raises `UnknownVersion`: guessing would part the replicas."""
    version, now = stamp_of(data)
    if version != ENTRY_VERSION:
        raise UnknownVersion(version)
    return now, data[STAMP.size :]


def stamp_of(data: bytes) -> tuple[int, int]:
    """Version and cluster time of an entry's data."""
    if len(data) < STAMP.size:
        raise UnknownVersion(data[:1])
    version, now = STAMP.unpack_from(data)
    return version, now


def encode_frame(message: Message, *, now: int, checkpoint: Checkpoint | None = None) -> bytes:
    """One message for the wire. Who sends it, and to whom, is known from the authenticated link."""
    head = (FRAME_VERSION, KINDS[type(message)], message.term, now)
    tail: tuple[Any, ...] = ()
    if type(message) is Heartbeat:
        tail = (checkpoint.index, checkpoint.digest) if checkpoint is not None else NO_CHECKPOINT
    packed: bytes = msgpack.packb(head + _body_of(message) + tail)
    return packed


def _body_of(message: Message) -> tuple[Any, ...]:
    match message:
        case Append():
            return (*message.previous, message.commit, *_columns(message.entries))
        case AppendResponse():
            return (message.index,)
        case AppendRejected():
            return (message.index, *message.hint)
        case Heartbeat():
            return (message.commit, message.read_round)
        case InstallSnapshot():
            return pack_snapshot(message.snapshot)
        case PreVote():
            return tuple(message.last)
        case Vote():
            return (*message.last, message.transfer)
        case PreVoteResponse():
            return (message.reject, *message.commit)
        case VoteResponse():
            return (message.reject,)
        case HeartbeatResponse():
            return (message.read_round,)
        case TimeoutNow():
            return ()


def pack_snapshot(snapshot: Snapshot) -> tuple[Any, ...]:
    """What a snapshot covers, as fields of an array."""
    return (*snapshot.last, list(snapshot.voters), list(snapshot.learners))


def decode_frame(frame: bytes, *, sender: int, to: int) -> Frame:
    """A peer's frame. Raises `MalformedMessage`."""
    fields = _Fields(_unpack(frame))
    if fields.integer() != FRAME_VERSION:
        raise MalformedMessage("a frame of an unknown version")
    kind, term, now = fields.integer(), fields.integer(), fields.integer()
    decode = DECODERS.get(kind)
    if decode is None:
        raise MalformedMessage(f"a frame of unknown kind {kind}")
    message = decode(fields, sender, to, term)
    checkpoint = fields.checkpoint() if type(message) is Heartbeat and fields.has_more else None
    return Frame(message, now, checkpoint)


def encode_record(hard_state: HardState, entries: Sequence[Entry], *, base: EntryId | None = None) -> bytes:
    """What one `Ready` writes to the log."""
    first = entries[0].index if entries else 0
    head = (RECORD_VERSION, hard_state.term, hard_state.vote, hard_state.commit, first)
    tail = tuple(base) if base is not None else ()
    packed: bytes = msgpack.packb(head + _columns(entries) + tail)
    return packed


def decode_records(payload: bytes) -> Iterator[Record]:
    """The records of one batch, in order. Raises `MalformedMessage`, `UnknownVersion`."""
    unpacker = msgpack.Unpacker(max_buffer_size=0, strict_map_key=True)
    unpacker.feed(payload)
    consumed = 0
    while consumed < len(payload):
        try:
            fields = _Fields(unpacker.unpack())
        except (msgpack.UnpackException, ValueError) as error:
            raise MalformedMessage(f"a record of the log: {error}") from error
        consumed = unpacker.tell()
        version = fields.integer()
        if version != RECORD_VERSION:
            raise UnknownVersion(version)
        hard_state = HardState(fields.integer(), fields.integer(), fields.integer())
        entries = fields.entries(fields.integer())
        yield Record(hard_state, entries, fields.entry_id() if fields.has_more else None)


def _columns(entries: Sequence[Entry]) -> tuple[Any, ...]:
    """Entries as runs of (term, how many), and their data: terms seldom change, indexes follow each other.

    Behind them the places of membership changes among the entries.
    """
    runs: list[int] = []
    for entry in entries:
        if runs and runs[-2] == entry[0]:
            runs[-1] += 1
        else:
            runs += (entry[0], 1)
    changes = [place for place, entry in enumerate(entries) if entry[3]]
    return runs, [entry[2] for entry in entries], changes


def _unpack(packed: bytes) -> Any:
    try:
        return msgpack.unpackb(packed, strict_map_key=True)
    except (msgpack.UnpackException, ValueError, RecursionError) as error:
        raise MalformedMessage(f"not msgpack ({error})") from error


class _Fields:
    """The fields of one array, taken in order and checked."""

    def __init__(self, fields: object) -> None:
        if not isinstance(fields, list):
            raise MalformedMessage("not an array")
        self._fields = fields
        self._next = 0

    def _take(self) -> object:
        place = self._next
        if place >= len(self._fields):
            raise MalformedMessage("too short")
        self._next = place + 1
        return self._fields[place]

    def integer(self) -> int:
        place = self._next  # written out, for frames are made of little else
        self._next = place + 1
        value = self._fields[place] if place < len(self._fields) else None
        if type(value) is not int or not 0 <= value < INTEGER_BOUND:
            raise MalformedMessage("no natural number where one must be")
        return value

    def claim(self) -> bool:
        value = self._take()
        if type(value) is not bool:
            raise MalformedMessage("no true or false where one must be")
        return value

    def checkpoint(self) -> Checkpoint | None:
        index, digest = self.integer(), self._take()
        if type(digest) is not bytes or len(digest) > DIGEST_BYTES_MAX:
            raise MalformedMessage("no digest where one must be")
        return Checkpoint(index, digest) if digest else None

    @property
    def has_more(self) -> bool:
        return self._next < len(self._fields)

    def optional_integer(self) -> int:
        """A field that older versions do not write: 0."""
        return self.integer() if self._next < len(self._fields) else 0

    def integers(self) -> tuple[int, ...]:
        value = self._take()
        if not isinstance(value, list):
            raise MalformedMessage("no list of numbers where one must be")
        fields = _Fields(value)
        return tuple([fields.integer() for _ in value])

    def snapshot(self) -> Snapshot:
        return Snapshot(self.entry_id(), self.integers(), self.integers())

    def entry_id(self) -> EntryId:
        return EntryId(self.integer(), self.integer())

    def entries(self, first: int) -> list[Entry]:
        """Entries from index `first` on, as `_columns` wrote them; terms never fall along a log."""
        runs, data = self._take(), self._take()
        if not isinstance(runs, list) or not isinstance(data, list) or len(runs) % 2:
            raise MalformedMessage("entries that are no columns")
        found: list[Entry] = []
        newest = 0
        for term, count in zip(runs[::2], runs[1::2], strict=True):
            if type(term) is not int or type(count) is not int:
                raise MalformedMessage("no natural number where one must be")
            start = len(found)
            if not newest <= term < INTEGER_BOUND or not 0 <= count <= len(data) - start:
                raise MalformedMessage("terms of entries do not fit")
            newest = term
            found += [
                Entry(term, index, datum)
                for index, datum in enumerate(data[start : start + count], first + start)
            ]
        if len(found) != len(data) or not all(type(datum) is bytes for datum in data):
            raise MalformedMessage("entries without a term, or that are no bytes")
        for place in self.integers() if self.has_more else ():
            if place >= len(found):
                raise MalformedMessage("a membership change behind the last entry")
            found[place] = found[place]._replace(is_change=True)
        return found


def _decode_append(fields: _Fields, sender: int, to: int, term: int) -> Append:
    previous, commit = fields.entry_id(), fields.integer()
    entries = fields.entries(previous.index + 1)
    if entries and not previous.term <= entries[0].term <= entries[-1].term <= term:
        raise MalformedMessage("an append with terms out of order")
    return Append(sender=sender, to=to, term=term, previous=previous, commit=commit, entries=entries)


Decoder = Callable[[_Fields, int, int, int], Message]
DECODERS: dict[int, Decoder] = {
    1: lambda f, sender, to, term: PreVote(sender=sender, to=to, term=term, last=f.entry_id()),
    2: lambda f, sender, to, term: PreVoteResponse(
        sender=sender,
        to=to,
        term=term,
        reject=f.claim(),
        commit=EntryId(f.optional_integer(), f.optional_integer()),
    ),
    3: lambda f, sender, to, term: Vote(
        sender=sender, to=to, term=term, last=f.entry_id(), transfer=f.claim()
    ),
    4: lambda f, sender, to, term: VoteResponse(sender=sender, to=to, term=term, reject=f.claim()),
    5: _decode_append,
    6: lambda f, sender, to, term: AppendResponse(sender=sender, to=to, term=term, index=f.integer()),
    7: lambda f, sender, to, term: AppendRejected(
        sender=sender, to=to, term=term, index=f.integer(), hint=f.entry_id()
    ),
    8: lambda f, sender, to, term: Heartbeat(
        sender=sender, to=to, term=term, commit=f.integer(), read_round=f.optional_integer()
    ),
    9: lambda f, sender, to, term: HeartbeatResponse(
        sender=sender, to=to, term=term, read_round=f.optional_integer()
    ),
    10: lambda f, sender, to, term: TimeoutNow(sender=sender, to=to, term=term),
    11: lambda f, sender, to, term: InstallSnapshot(sender=sender, to=to, term=term, snapshot=f.snapshot()),
}
