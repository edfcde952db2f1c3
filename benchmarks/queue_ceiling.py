"""The ceiling: the least that three Python processes can do to keep a queue, with `fdatasync` on each.

No elections, no terms, no TLS, no leases, no retries, nothing is checked: a fixed leader collects what comes in
while its disk is busy, writes it and sends it to two followers, and answers when it and one of them have synced.
What pinode costs beyond this is what its promises cost.

    python -m benchmarks.queue_ceiling DIRECTORY PORT [FOLLOWER_PORT …]
"""

import asyncio
import contextlib
import os
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import cast

from benchmarks.queue_load import JOB, cpu_of

PUT, RESERVE, ACK = b"p", b"r", b"a"
HEAD = struct.Struct(">IQ")  # length of what follows the head, number
SEGMENT_BYTES = 64 * 1024 * 1024


class Frames:
    """Cuts a stream into (number, content)."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        buffer = self._rest + data
        at = 0
        while len(buffer) - at >= HEAD.size:
            length, number = HEAD.unpack_from(buffer, at)
            end = at + HEAD.size + length
            if end > len(buffer):
                break
            yield number, buffer[at + HEAD.size : end]
            at = end
        self._rest = buffer[at:]


class Link(asyncio.Protocol):
    """Frames either way; writes of one turn of the loop are joined."""

    def __init__(self, on_frame: Callable[["Link", int, bytes], None]) -> None:
        self._frames = Frames()
        self._on_frame = on_frame
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        for number, content in self._frames.feed(data):
            self._on_frame(self, number, content)

    def send(self, number: int, content: bytes) -> None:
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out += (HEAD.pack(len(content), number), content)

    def _flush(self) -> None:
        data = b"".join(self._out)
        self._out.clear()
        if self._transport is not None:
            self._transport.write(data)


class Journal:
    """One thread that appends and syncs; `done(number)` is called on the loop."""

    def __init__(self, directory: Path, done: Callable[[int], None]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = os.open(directory / "journal", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.write(self._file, bytes(SEGMENT_BYTES))
        os.fsync(self._file)
        self._at = 0
        self._queue: SimpleQueue[tuple[int, bytes]] = SimpleQueue()
        self._done = done
        self._loop = asyncio.get_running_loop()
        Thread(target=self._run, daemon=True).start()

    def append(self, number: int, data: bytes) -> None:
        self._queue.put((number, data))

    def _run(self) -> None:
        while True:
            number, data = self._queue.get()
            if self._at + len(data) > SEGMENT_BYTES:
                self._at = 0
            self._at += os.pwrite(self._file, data, self._at)
            os.fdatasync(self._file)
            self._loop.call_soon_threadsafe(self._done, number)


class Jobs:
    """What every process knows of the queue."""

    def __init__(self) -> None:
        self._ids = count(1)
        self._ready: deque[tuple[int, bytes]] = deque()
        self._held: dict[int, bytes] = {}

    def apply(self, command: bytes) -> bytes:
        kind = command[:1]
        if kind == PUT:
            job = next(self._ids)
            self._ready.append((job, command[1:]))
            return job.to_bytes(8, "big")
        if kind == RESERVE:
            if not self._ready:
                return b""
            job, data = self._ready.popleft()
            self._held[job] = data
            return job.to_bytes(8, "big") + data
        self._held.pop(int.from_bytes(command[1:], "big"), None)
        return b""


class Follower:
    """Writes what the leader sends, applies it, and says so."""

    def __init__(self, directory: Path) -> None:
        self._jobs = Jobs()
        self._leader: Link | None = None
        self._journal = Journal(directory, self._synced)

    def frame(self, link: Link, number: int, batch: bytes) -> None:
        self._leader = link
        self._journal.append(number, batch)
        for _, command in Frames().feed(batch):
            self._jobs.apply(command)

    def _synced(self, number: int) -> None:
        assert self._leader is not None
        self._leader.send(number, b"")


class Leader:
    """Collects, writes, sends, answers."""

    def __init__(self, directory: Path) -> None:
        self._jobs = Jobs()
        self._journal = Journal(directory, self._synced)
        self.followers: list[Link] = []
        self._new: list[tuple[Link, int, bytes]] = []
        self._open: dict[int, list[tuple[Link, int, bytes]]] = {}
        self._own = self._others = self._answered = self._number = 0
        self._is_disk_busy = False

    def frame(self, link: Link, number: int, command: bytes) -> None:
        if not self._new and not self._is_disk_busy:
            asyncio.get_running_loop().call_soon(self._write)
        self._new.append((link, number, command))

    def _write(self) -> None:
        if not self._new or self._is_disk_busy:
            return
        self._number += 1
        batch, self._new = self._new, []
        self._open[self._number] = batch
        data = b"".join(HEAD.pack(len(command), 0) + command for _, _, command in batch)
        self._is_disk_busy = True
        self._journal.append(self._number, data)
        for follower in self.followers:
            follower.send(self._number, data)

    def _synced(self, number: int) -> None:
        self._own = number
        self._is_disk_busy = False
        self._answer()
        self._write()

    def follower_synced(self, link: Link, number: int, _: bytes) -> None:
        self._others = max(self._others, number)
        self._answer()

    def _answer(self) -> None:
        while self._answered < min(self._own, self._others):
            self._answered += 1
            for link, number, command in self._open.pop(self._answered):
                link.send(number, self._jobs.apply(command))


async def serve(directory: Path, port: int, followers: list[int]) -> None:
    """Run one process of the pipeline."""
    loop = asyncio.get_running_loop()
    part: Leader | Follower = Leader(directory) if followers else Follower(directory)
    for follower in followers:
        assert isinstance(part, Leader)
        link = Link(part.follower_synced)
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                await loop.create_connection(lambda link=link: link, "127.0.0.1", follower)
                break
            await asyncio.sleep(0.05)
        part.followers.append(link)
    server = await loop.create_server(lambda: Link(part.frame), "127.0.0.1", port)
    await server.serve_forever()


class CeilingQueue:
    """`MeasuredQueue` of the pipeline."""

    name = "ceiling"

    def __init__(self, pids: list[int], port: int) -> None:
        self._pids = pids
        self._port = port
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._link = Link(self._answered)

    async def connect(self) -> None:
        """Find the leader; it listens when it has found its followers."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                await loop.create_connection(lambda: self._link, "127.0.0.1", self._port)
                return
            await asyncio.sleep(0.05)

    async def put(self) -> object:
        return await self._ask(PUT + JOB)

    async def cycle(self) -> object:
        await self._ask(PUT + JOB)
        job = await self._ask(RESERVE)
        return await self._ask(ACK + job[:8])

    async def drain(self) -> None:
        while job := await self._ask(RESERVE):
            await self._ask(ACK + job[:8])

    def cpu_seconds(self) -> tuple[float, float]:
        return cpu_of(self._pids), cpu_of([os.getpid()])

    def _ask(self, command: bytes) -> "asyncio.Future[bytes]":
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._link.send(number, command)
        return answer

    def _answered(self, _: Link, number: int, content: bytes) -> None:
        self._waiting.pop(number).set_result(content)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2]), [int(port) for port in sys.argv[3:]]))
