"""Readies on their way to the disk, in order, and what waits for them to arrive there."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from .raft.messages import HardState, Ready
from .slow_disk import Unsynced
from .storage.disk import Disk
from .storage.recovery import Recovered
from .storage.wal import Wal
from .storage.writer import WalWriter, Write


class Persistence:
    """The event loop's side of the log: what goes to the writer's thread, and what comes back.

    `on_durable` gets Readies whose writes, and those of all Readies before them, are on the disk.
    """

    def __init__(
        self,
        directory: Path,
        *,
        segment_bytes: int,
        open_disk: Callable[[Path], Disk],
        on_durable: Callable[[Sequence[Ready]], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._open_disk = open_disk
        self._on_durable = on_durable
        self._on_failure = on_failure
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer: WalWriter | None = None
        self._hard_state = HardState()
        self._newest = 0  # number of the newest write
        # With the number of the write that each waits for, and since when.
        self._unsynced: deque[tuple[int, Ready, float]] = deque()

    async def open(self) -> Recovered:
        """Read the log and begin to write. Raises `StorageError`."""
        self._loop = asyncio.get_running_loop()
        wal = await asyncio.to_thread(self._open_log)
        recovered = wal.take_recovered()
        self._hard_state = recovered.hard_state
        self._writer = WalWriter(wal, on_durable=self._durable_soon, on_failure=self._fail_soon)
        self._writer.start()
        return recovered

    def _open_log(self) -> Wal:
        disk = self._open_disk(self._directory)
        try:
            return Wal(disk, segment_bytes=self._segment_bytes)
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

    def write(self, ready: Ready, *, now: float) -> bool:
        """Write what `ready` says; return whether its promises must wait for `on_durable`.

        A commit index alone is not worth a write: it is known again from the leader.
        """
        self._hard_state = ready.hard_state or self._hard_state
        if ready.must_sync:
            assert self._writer is not None
            self._newest += 1
            self._writer.submit(Write(self._newest, self._hard_state, ready.entries))
        if ready.must_sync or self._unsynced:
            self._unsynced.append((self._newest, ready, now))
            return True
        return False

    async def close(self) -> None:
        """Finish what was submitted, as long as the disk takes, and let go of the directory."""
        writer, self._writer = self._writer, None
        if writer is not None:
            await asyncio.shield(asyncio.to_thread(writer.stop))

    def _durable(self, number: int) -> None:
        durable: list[Ready] = []
        while self._unsynced and self._unsynced[0][0] <= number:
            durable.append(self._unsynced.popleft()[1])
        self._on_durable(durable)

    # On the writer's thread

    def _durable_soon(self, number: int) -> None:
        self._call_in_loop(lambda: self._durable(number))

    def _fail_soon(self, error: BaseException) -> None:
        self._call_in_loop(lambda: self._on_failure(error))

    def _call_in_loop(self, work: Callable[[], None]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(work)
        except RuntimeError:
            pass  # the loop is closed: nobody is left to be told
