"""A majority is lost for good: what one replica remembers becomes the whole truth of a group of one.

Its log is written anew, into another directory: the newest snapshot, every entry that can be read, agreed on
or not, and behind them one change for each other member, which removes it. All of it counts as committed.
What the others agreed on and this replica had not heard of is lost, and nobody can tell how much that is.
"""

from collections.abc import Sequence
from itertools import count
from queue import SimpleQueue

from ..codec import encode_command
from ..raft.membership import Change, ChangeKind, Membership, encode_changes
from ..raft.messages import Entry, EntryId, HardState
from .disk import Disk
from .errors import NoRoom
from .remains import Remains
from .snapshots import READ_BYTES, name_of
from .store import ReplicaStore
from .writer import StoreWriter, Write, WriterCallbacks


def entries_of_survivor(remains: Remains, commands: Sequence[bytes] = ()) -> list[Entry]:
    """Changes after which the replica is the only member, then commands to the state machine.

    In a term of their own, and as late as the newest command that is kept.
    """
    me, left = remains.me, remains.membership
    term, indexes = remains.term + 1, count(remains.last.index + 1)
    changes = [] if me in left.voters else [Change(ChangeKind.ADD_VOTER, me)]
    changes += [Change(ChangeKind.REMOVE, other) for other in left.ids if other != me]
    entries = []
    for change in changes:
        left = left.changed((change,))
        entries.append(Entry(term, next(indexes), encode_changes((change,)), True))
    assert left == Membership.of((me,))
    stamp = remains.cluster_time
    return entries + [Entry(term, next(indexes), encode_command(one, now=stamp)) for one in commands]


def write_survivor(
    remains: Remains, source: Disk, target: Disk, *, segment_bytes: int, commands: Sequence[bytes] = ()
) -> EntryId:
    """Write the group of one into `target`, which must be empty; return its newest entry.

    When this returns all of it is on the disk. Raises `NoRoom`, `DiskFailed`.
    """
    if remains.mark is not None:
        _copy(name_of(remains.mark.snapshot.last), source, target)
    entries = [*remains.entries, *entries_of_survivor(remains, commands)]
    last = EntryId(entries[-1].term, entries[-1].index) if entries else remains.last
    hard_state = HardState(remains.term + 1, 0, last.index)
    outcomes: SimpleQueue[BaseException | int] = SimpleQueue()
    store = ReplicaStore(target, segment_bytes=segment_bytes)
    store.ballot.cast(hard_state._replace(commit=0))
    if entries:
        _write(store, Write(1, hard_state, entries), outcomes)
        outcome = outcomes.get()
        if isinstance(outcome, BaseException):
            raise outcome
    else:
        store.close()
    return last


def _write(store: ReplicaStore, write: Write, outcomes: "SimpleQueue[BaseException | int]") -> None:
    """By the writer that replicas have: it knows how much goes into a record and a segment."""

    def on_room(lacking: NoRoom | None) -> None:
        if lacking is not None:
            outcomes.put(lacking)

    callbacks = WriterCallbacks(
        on_cast=outcomes.put, on_durable=outcomes.put, on_room=on_room, on_failure=outcomes.put
    )
    writer = StoreWriter(store, callbacks)
    writer.start()
    writer.submit(write)
    writer.stop()


def _copy(name: str, source: Disk, target: Disk) -> None:
    original, copy, offset = source.open(name), target.create(name), 0
    while data := original.read(offset, READ_BYTES):
        copy.write_at(offset, data)
        offset += len(data)
    copy.sync()
    target.sync_names()
    copy.close()
    original.close()
