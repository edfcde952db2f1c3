"""The thread that writes: when the disk is free, all that queued meanwhile becomes one batch and one sync."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread

from ..codec import encode_record
from ..raft.messages import Entry, HardState
from .errors import StorageError
from .wal import Wal

LARGEST_RECORD_SHARE = 8  # a record is cut at this share of a segment, a batch at twice that


@dataclass(frozen=True, slots=True)
class Write:
    """One `Ready`'s state and entries; `number` comes back when it is on the disk."""

    number: int
    hard_state: HardState
    entries: Sequence[Entry]


class WalWriter:
    """Writes in the order of `submit`. The callbacks run on the writer's thread."""

    def __init__(
        self, wal: Wal, *, on_durable: Callable[[int], None], on_failure: Callable[[BaseException], None]
    ) -> None:
        self._wal = wal
        self._on_durable = on_durable
        self._on_failure = on_failure
        self._queue: SimpleQueue[Write | None] = SimpleQueue()
        self._record_bytes = wal.largest_payload_bytes // LARGEST_RECORD_SHARE
        self._preparation: Thread | None = None
        self._thread = Thread(target=self._run, name="wal-writer", daemon=True)

    def start(self) -> None:
        """Begin; until then `submit` only queues."""
        self._thread.start()

    def submit(self, write: Write) -> None:
        """Queue one write and return at once. `on_durable(n)`: all writes up to number n are safe."""
        self._queue.put(write)

    def stop(self) -> None:
        """Finish what is queued, then end. Blocks for as long as the disk takes."""
        self._queue.put(None)
        self._thread.join()
        if self._preparation is not None:
            self._preparation.join()
        self._wal.close()

    def _run(self) -> None:
        try:
            while (write := self._queue.get()) is not None:
                is_last = self._write_all_queued(write)
                if is_last:
                    return
        except (
            BaseException
        ) as error:  # whatever it is: nothing is written any more, and the node must hear of it
            self._on_failure(error)

    def _write_all_queued(self, write: Write) -> bool:
        """Write `write` and what is queued behind it; return whether the end was among it."""
        payload: list[bytes] = []
        size = 0
        while True:
            for record in self._records_of(write):
                if payload and size + len(record) > 2 * self._record_bytes:
                    self._append(payload)
                    payload, size = [], 0
                payload.append(record)
                size += len(record)
            following, is_last = self._next_queued() if size < self._record_bytes else (None, False)
            if following is None:
                break
            write = following
        self._append(payload)
        self._on_durable(write.number)
        return is_last

    def _next_queued(self) -> tuple[Write | None, bool]:
        """What is queued, without waiting; and whether that was the end."""
        try:
            write = self._queue.get_nowait()
        except Empty:
            return None, False
        return write, write is None

    def _records_of(self, write: Write) -> list[bytes]:
        """Records of one write, each far smaller than a segment."""
        records: list[bytes] = []
        start = size = 0
        for position, entry in enumerate(write.entries):
            if size and size + len(entry.data) > self._record_bytes:
                records.append(encode_record(write.hard_state, write.entries[start:position]))
                start, size = position, 0
            size += len(entry.data)
        records.append(encode_record(write.hard_state, write.entries[start:]))
        return records

    def _append(self, payload: list[bytes]) -> None:
        joined = b"".join(payload)
        preparation = self._preparation
        if preparation is not None and (self._wal.must_roll(len(joined)) or not preparation.is_alive()):
            preparation.join()
            self._preparation = None
        self._wal.append(joined)
        if self._wal.wants_spare and self._preparation is None:
            self._preparation = Thread(target=self._prepare, name="wal-spare", daemon=True)
            self._preparation.start()

    def _prepare(self) -> None:
        try:
            self._wal.prepare_spare()
        except StorageError as error:
            self._on_failure(error)
