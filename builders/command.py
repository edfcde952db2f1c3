"""Running a child within bounds: on its time, its silence and its output; and ending all of it, whatever
it started.
"""

import asyncio
import codecs
import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from builders.errors import BoundHit

READ_BYTES = 64 * 1024
LINE_CHARACTERS = 2_000  # a longer line is cut into several
WATCH_SECONDS = 0.5
DRAIN_SECONDS = 1.0  # for output that is still in the pipe when the child has ended
END_SECONDS = 10.0
UNPRINTABLE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandBounds:
    """How long one child may run, how long it may say nothing, how much it may say."""

    wall_seconds: float
    silence_seconds: float
    output_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A child to run. `watch` is called with its process id, in a thread, every `WATCH_SECONDS` or, where
    looking takes longer, half of the time; it returns the bound it found exceeded.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    bounds: CommandBounds
    given: bytes = b""  # its standard input
    pass_fds: tuple[int, ...] = ()
    user: int | None = None  # also its group
    watch: Callable[[int], BoundHit | None] | None = None


async def run(
    command: Command, *, on_line: Callable[[str], None], after_end: Callable[[], None] | None = None
) -> int:
    """Run it to its end and return its exit code; every line it prints goes to `on_line`.

    Raises `BoundHit`, or `OSError` when it cannot be started. However this ends, also when cancelled, the
    child's whole process group is gone before it returns; `after_end` is called then, in a thread, to see to
    whatever left the group.
    """
    return await _Child(command, on_line).run(after_end)


class _Lines:
    """Bytes in, printable lines out."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._on_line = on_line
        self._rest = ""

    def feed(self, data: bytes, *, final: bool = False) -> None:
        *lines, self._rest = re.split(r"\r\n|\n|\r", self._rest + self._decoder.decode(data, final))
        if final or len(self._rest) > LINE_CHARACTERS:
            lines, self._rest = [*lines, self._rest], ""
        for line in lines:
            shown = UNPRINTABLE.sub("", line)
            for start in range(0, len(shown), LINE_CHARACTERS):
                self._on_line(shown[start : start + LINE_CHARACTERS])


class _Child:
    """One run of one command."""

    def __init__(self, command: Command, on_line: Callable[[str], None]) -> None:
        self._command = command
        self._lines = _Lines(on_line)
        self._heard = 0
        self._pid = 0
        self._heard_at = self._started_at = time.monotonic()

    async def run(self, after_end: Callable[[], None] | None) -> int:
        ours, theirs = os.pipe()
        try:
            process = self._start(theirs)
            self._pid = process.pid
        except OSError:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        try:
            with _end_of(process.pid) as ended:
                reading = asyncio.create_task(self._read(ours), name="output of a child")
                giving = asyncio.create_task(_give(process, self._command.given), name="input of a child")
                try:
                    await self._until(ended, reading)
                finally:
                    # Before it is reaped its process id, so its group's, cannot be another's.
                    _kill_group(process.pid)
                    await asyncio.shield(asyncio.wait({ended}, timeout=END_SECONDS))
                    for task in (reading, giving):
                        task.cancel()
                    await asyncio.gather(reading, giving, return_exceptions=True)
        finally:
            process.poll()  # where this does not reap it, it hangs in the kernel; we do not hang with it
            if after_end is not None:
                await asyncio.shield(asyncio.to_thread(after_end))
        return -signal.SIGKILL if process.returncode is None else process.returncode

    def _start(self, output: int) -> "subprocess.Popen[bytes]":
        command = self._command
        return subprocess.Popen(
            list(command.argv),
            env=dict(command.env),
            cwd=command.cwd,
            stdin=subprocess.PIPE if command.given else subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=command.pass_fds,
            start_new_session=True,
            user=command.user,
            group=command.user,
            extra_groups=None if command.user is None else [],
        )

    async def _read(self, descriptor: int) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=READ_BYTES)
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
        )
        try:
            while data := await reader.read(READ_BYTES):
                self._heard += len(data)
                self._heard_at = time.monotonic()
                if self._heard > self._command.bounds.output_bytes:
                    most = self._command.bounds.output_bytes
                    raise BoundHit(
                        "output", f"it printed more than {most} bytes", hint="Print less while building"
                    )
                self._lines.feed(data)
        finally:
            self._lines.feed(b"", final=True)
            transport.close()

    async def _until(self, ended: "asyncio.Future[None]", reading: "asyncio.Task[None]") -> None:
        """Until it has ended. Clock and watch do not wait for each other: to look may take long."""
        watching = asyncio.create_task(self._watch(), name="bounds of a child")
        waiting: set[asyncio.Future[None]] = {ended, reading, watching}
        try:
            while not ended.done():
                done, waiting = await asyncio.wait(
                    waiting, timeout=self._seconds_left(), return_when=asyncio.FIRST_COMPLETED
                )
                for one in done:
                    one.result()
        finally:
            watching.cancel()
        await asyncio.wait({reading}, timeout=DRAIN_SECONDS)
        if reading.done():
            reading.result()

    def _seconds_left(self) -> float:
        """Until the clock is to be looked at again. Raises `BoundHit` when its time is over."""
        bounds, now = self._command.bounds, time.monotonic()
        left = self._started_at + bounds.wall_seconds - now
        quiet = self._heard_at + bounds.silence_seconds - now
        if left <= 0:
            raise BoundHit(
                "wall", f"it took longer than {bounds.wall_seconds:g} s", hint="Make the build shorter"
            )
        if quiet <= 0:
            raise BoundHit(
                "silence", f"it said nothing for {bounds.silence_seconds:g} s", hint="It seems to hang"
            )
        return min(left, quiet)

    async def _watch(self) -> None:
        """Look at what it takes until that is too much, which is raised."""
        while self._command.watch is not None:
            began = time.monotonic()
            hit = await asyncio.to_thread(self._command.watch, self._pid)
            if hit is not None:
                raise hit
            # On a slow machine with many files half of the time is enough to spend on looking.
            await asyncio.sleep(max(WATCH_SECONDS, time.monotonic() - began))


@contextlib.contextmanager
def _end_of(pid: int) -> "Iterator[asyncio.Future[None]]":
    """The end of a process, seen through a pidfd; the process stays a zombie until it is reaped."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    pidfd = os.pidfd_open(pid)

    def seen() -> None:
        loop.remove_reader(pidfd)
        ended.set_result(None)

    loop.add_reader(pidfd, seen)
    try:
        yield ended
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


async def _give(process: "subprocess.Popen[bytes]", data: bytes) -> None:
    if process.stdin is None:
        return
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, process.stdin)
    try:
        transport.write(data)
    finally:
        transport.close()


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
