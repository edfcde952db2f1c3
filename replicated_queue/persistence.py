"""Readies on their way to the disk, in order, and what waits for them to arrive there."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .raft.messages import HardState, Ready
from .slow_disk import Unsynced
from .storage.disk import Disk
from .storage.errors import NoRoom
from .storage.recovery import Recovered
from .storage.snapshots import SnapshotFiles
from .storage.store import ReplicaStore
from .storage.writer import StoreWriter, Write, WriterCallbacks

MakeWriter = Callable[[ReplicaStore, WriterCallbacks], StoreWriter]


@dataclass(frozen=True, slots=True)
class PersistenceCallbacks:
    """Whom the log's way to the disk tells, on the event loop."""

    on_cast: Callable[[Sequence[Ready]], None]  # term and vote of these, and of all before them, are safe
    on_durable: Callable[[Sequence[Ready]], None]  # all of these, and of all before them, is safe
    on_room: Callable[[NoRoom | None], None]  # the disk takes no more, and why; None: it does again
    on_failure: Callable[[BaseException], None]


class Waits(NamedTuple):
    """What of a `Ready` must wait for the disk."""

    for_vote: bool
    for_log: bool


class Persistence:
    """The event loop's side of the store: what goes to the writer's thread, and what comes back."""

    def __init__(
        self,
        directory: Path,
        *,
        segment_bytes: int,
        open_disk: Callable[[Path], Disk],
        make_writer: MakeWriter,
        callbacks: PersistenceCallbacks,
    ) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._open_disk = open_disk
        self._make_writer = make_writer
        self._tell = callbacks
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer: StoreWriter | None = None
        self._hard_state = HardState()
        self.snapshots: SnapshotFiles | None = None  # once it is open
        self._newest = 0  # number of the newest write
        # With the number of the write that each waits for; and since when.
        self._uncast: deque[tuple[int, Ready]] = deque()
        self._unsynced: deque[tuple[int, Ready, float]] = deque()

    async def open(self) -> Recovered:
        """Read what is there and begin to write. Raises `StorageError`."""
        self._loop = asyncio.get_running_loop()
        store = await self._opened()
        self.snapshots = store.snapshots
        recovered = store.take_recovered()
        self._hard_state = recovered.hard_state
        callbacks = WriterCallbacks(
            on_cast=lambda number: self._call_in_loop(lambda: self._cast(number)),
            on_durable=lambda number: self._call_in_loop(lambda: self._durable(number)),
            on_room=lambda lacking: self._call_in_loop(lambda: self._tell.on_room(lacking)),
            on_failure=lambda error: self._call_in_loop(lambda: self._tell.on_failure(error)),
        )
        self._writer = self._make_writer(store, callbacks)
        self._writer.start()
        return recovered

    async def _opened(self) -> ReplicaStore:
        """On a thread. Who is cancelled meanwhile leaves nothing open behind: the directory is free again."""
        opening = asyncio.ensure_future(asyncio.to_thread(self._open_store))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            await asyncio.wait((opening,))
            if opening.exception() is None:
                opening.result().close()
            raise

    def _open_store(self) -> ReplicaStore:
        disk = self._open_disk(self._directory)
        try:
            return ReplicaStore(disk, segment_bytes=self._segment_bytes)
        except BaseException:  # whatever it was, the lock must not outlive it
            disk.close()
            raise

    @property
    def oldest_unsynced(self) -> Unsynced | None:
        """The write that waits for the disk for longest."""
        if not self._unsynced:
            return None
        _, ready, since = self._unsynced[0]
        return Unsynced(since, ready.last_index)

    def write(self, ready: Ready, *, now: float) -> Waits:
        """Write what `ready` says; return what of it must wait, for `on_cast` or for `on_durable`.

        A commit index alone is not worth a write: it is known again from the leader.
        """
        before, self._hard_state = self._hard_state, ready.hard_state or self._hard_state
        is_vote = before[:2] != self._hard_state[:2]
        must_write = ready.must_sync or ready.snapshot is not None
        waits = Waits(for_vote=is_vote or bool(self._uncast), for_log=must_write or bool(self._unsynced))
        if must_write:
            assert self._writer is not None
            self._newest += 1
            write = Write(
                self._newest,
                self._hard_state,
                ready.entries,
                is_vote_awaited=waits.for_vote,
                base=ready.snapshot.last if ready.snapshot is not None else None,
            )
            self._writer.submit(write)
        if waits.for_vote:
            self._uncast.append((self._newest, ready))
        if waits.for_log:
            self._unsynced.append((self._newest, ready, now))
        return waits

    def forget_upto(self, index: int) -> None:
        """Entries up to `index` are needed no more: their segments may go."""
        if self._writer is not None:
            self._writer.forget_upto(index)

    async def close(self) -> None:
        """Finish what was submitted, as long as the disk takes, and let go of the directory."""
        writer, self._writer = self._writer, None
        if writer is not None:
            await asyncio.shield(asyncio.to_thread(writer.stop))

    def _cast(self, number: int) -> None:
        cast: list[Ready] = []
        while self._uncast and self._uncast[0][0] <= number:
            cast.append(self._uncast.popleft()[1])
        self._tell.on_cast(cast)

    def _durable(self, number: int) -> None:
        durable: list[Ready] = []
        while self._unsynced and self._unsynced[0][0] <= number:
            durable.append(self._unsynced.popleft()[1])
        self._tell.on_durable(durable)

    def _call_in_loop(self, work: Callable[[], None]) -> None:
        """From the writer's thread."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(work)
        except RuntimeError:
            pass  # the loop is closed: nobody is left to be told
