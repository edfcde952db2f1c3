"""The thread that writes: when the disk is free, all that queued meanwhile becomes one batch and one sync."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, pairwise
from queue import Empty, SimpleQueue
from threading import Thread
from typing import NamedTuple

from ..codec import encode_record
from ..raft.messages import Entry, EntryId, HardState
from .errors import NoRoom
from .store import ReplicaStore

LARGEST_RECORD_SHARE = 8  # a record is cut at this share of a segment, a batch at twice that
RETRY_SECONDS = 1.0  # between two looks whether a full disk has room again


class Write(NamedTuple):
    """One `Ready`'s state and entries; `number` comes back when it is on the disk."""

    number: int
    hard_state: HardState
    entries: Sequence[Entry] = ()
    is_vote_awaited: bool = False  # whether somebody wants to hear of term and vote before the entries
    base: EntryId | None = None  # a snapshot, safe already, takes the place of the whole log before


class _Record(NamedTuple):
    """A piece of the log that is not written yet; with its last piece a write is complete."""

    data: bytes
    completes: int  # number of that write; 0 if more follows
    last_index: int | None  # of the log with it


class _Look:
    """Queued to have the writer look around."""


@dataclass(frozen=True, slots=True)
class _Forget:
    """Queued to have the segments up to an index laid aside."""

    index: int


class _End:
    """Queued behind the last write."""


@dataclass(frozen=True, slots=True)
class WriterCallbacks:
    """Whom the writer tells. All of them are called on its thread."""

    on_cast: Callable[[int], None]  # term and vote of awaited writes up to this number are safe
    on_durable: Callable[[int], None]  # all writes up to this number are safe, votes and entries
    on_room: Callable[[NoRoom | None], None]  # the disk takes no more, and why; None: it does again
    on_failure: Callable[[BaseException], None]  # nothing is written any more


class StoreWriter:
    """Writes in the order of `submit`. While the disk is full, votes go on and entries wait."""

    def __init__(
        self,
        store: ReplicaStore,
        callbacks: WriterCallbacks,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._tell = callbacks
        self._clock = clock
        self._queue: SimpleQueue[Write | _Look | _Forget | _End] = SimpleQueue()
        self._record_bytes = store.wal.largest_payload_bytes // LARGEST_RECORD_SHARE
        self._hard_state: HardState | None = None  # of the newest write, until it is looked after
        self._vote_awaited = 0  # number of the newest write whose vote is awaited
        self._unlogged: deque[_Record] = deque()
        self._lacking: NoRoom | None = None
        self._retry_at = 0.0  # while something is lacking
        self._preparation: Thread | None = None
        self._prepared_without_room: NoRoom | None = None
        self._thread = Thread(target=self._run, name="replica-writer", daemon=True)

    def start(self) -> None:
        """Begin; until then `submit` only queues."""
        self._thread.start()

    def submit(self, write: Write) -> None:
        """Queue one write and return at once."""
        self._queue.put(write)

    def forget_upto(self, index: int) -> None:
        """Have the segments laid aside that hold no entry above `index`."""
        self._queue.put(_Forget(index))

    def stop(self) -> None:
        """Finish what is queued and finds room, then end. Blocks for as long as the disk takes."""
        self._queue.put(_End())
        self._thread.join()
        if self._preparation is not None:
            self._preparation.join()
        self._store.close()

    def _run(self) -> None:
        try:
            while self._take():
                self._write_all()
            self._write_all()
        except BaseException as error:  # whatever it is: the node must hear that nothing is written any more
            self._tell.on_failure(error)

    def _take(self) -> bool:
        """Wait for something to do, and take what is queued; False at the end."""
        timeout = RETRY_SECONDS if self._lacking is not None else None
        size = 0
        try:
            while size < self._record_bytes:
                queued = self._queue.get(timeout=timeout) if size == 0 else self._queue.get_nowait()
                match queued:
                    case _End():
                        return False
                    case _Look():
                        return True
                    case _Forget(index=index):
                        with suppress(NoRoom):  # on a read-only disk; the next snapshot asks again
                            self._store.wal.forget_upto(index)
                        return True
                    case write:
                        size += self._divide(write) or 1
        except Empty:
            pass
        return True

    def _divide(self, write: Write) -> int:
        """Queue one write as records that are each far smaller than a segment; return their bytes."""
        self._hard_state = write.hard_state
        if write.is_vote_awaited:
            self._vote_awaited = write.number
        cuts = [0]
        size = 0
        for position, entry in enumerate(write.entries):
            if size and size + len(entry.data) > self._record_bytes:
                cuts.append(position)
                size = 0
            size += len(entry.data)
        pieces = [write.entries[start:stop] for start, stop in pairwise((*cuts, len(write.entries)))]
        total = 0
        for place, piece in enumerate(pieces):
            base = write.base if place == 0 else None
            has_content = bool(piece) or base is not None
            hard = write.hard_state
            if piece:  # a record says of its own entries alone that they are committed
                hard = HardState(hard.term, hard.vote, min(hard.commit, piece[-1].index))
            data = encode_record(hard, piece, base=base) if has_content else b""
            last_index = piece[-1].index if piece else base.index if base is not None else None
            completes = write.number if place == len(pieces) - 1 else 0
            self._unlogged.append(_Record(data, completes, last_index))
            total += len(data)
        return total

    def _write_all(self) -> None:
        """Write what was taken, and what found no room before."""
        try:
            self._cast()
            while self._unlogged:
                self._log_some()
            self._see_to_spare()
        except NoRoom as error:
            self._say(error)
        else:
            self._say(None)

    def _say(self, lacking: NoRoom | None) -> None:
        before, self._lacking = self._lacking, lacking
        if lacking is not before:
            self._retry_at = self._clock() + RETRY_SECONDS
        if (before is None) != (lacking is None):
            self._tell.on_room(lacking)

    def _cast(self) -> None:
        """Term and vote first: they need no room, and no entry of a term comes before it."""
        if self._hard_state is not None and not self._store.ballot.holds(self._hard_state):
            self._store.ballot.cast(self._hard_state)
        self._hard_state = None
        awaited, self._vote_awaited = self._vote_awaited, 0
        if awaited:
            self._tell.on_cast(awaited)

    def _log_some(self) -> None:
        """One batch; what it completes is told when it is on the disk."""
        count = size = completed = 0
        last_index: int | None = None
        for record in self._unlogged:
            if size and size + len(record.data) > 2 * self._record_bytes:
                break
            count, size = count + 1, size + len(record.data)
            completed = record.completes or completed
            last_index = last_index if record.last_index is None else record.last_index
        if size:
            joined = b"".join(record.data for record in islice(self._unlogged, count))
            self._append(joined, last_index=last_index)
        for _ in range(count):
            self._unlogged.popleft()
        if completed:
            self._tell.on_durable(completed)

    def _append(self, payload: bytes, *, last_index: int | None) -> None:
        wal = self._store.wal
        if wal.must_roll(len(payload)) and not wal.has_spare:
            self._await_preparation()
            self._look_for_room_only_now_and_then()
        wal.append(payload, last_index=last_index)

    def _see_to_spare(self) -> None:
        """Have the next segment ready in time. Raises `NoRoom`: then this one is the last for now."""
        is_under_way = self._preparation is not None and self._preparation.is_alive()
        if is_under_way and self._prepared_without_room is None:
            return
        self._await_preparation()
        if not self._store.wal.wants_spare:
            return
        if self._lacking is None:
            self._begin_preparation()
            return
        self._look_for_room_only_now_and_then()
        self._store.wal.prepare_spare()

    def _begin_preparation(self) -> None:
        """Have `_prepare` done beside the writing: zeros take their time."""
        self._preparation = Thread(target=self._prepare, name="replica-spare", daemon=True)
        self._preparation.start()

    def _look_for_room_only_now_and_then(self) -> None:
        if self._lacking is not None and self._clock() < self._retry_at:
            raise self._lacking

    def _await_preparation(self) -> None:
        if self._preparation is not None:
            self._preparation.join()
            self._preparation = None
        lacking, self._prepared_without_room = self._prepared_without_room, None
        if lacking is not None:
            raise lacking

    def _prepare(self) -> None:
        """Make the next segment."""
        try:
            self._store.wal.prepare_spare()
        except NoRoom as error:
            self._prepared_without_room = error
            self._queue.put(_Look())
        except BaseException as error:  # as in `_run`
            self._tell.on_failure(error)
