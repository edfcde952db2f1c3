"""The process of a dyno: made inside its walls, watched, signalled; found again after the node's restart."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pinode.dynos.dyno_record import ProcessRecord
from pinode.dynos.proc import boot_id, is_running, processes_in_session, processes_under, start_time
from pinode.sandbox.sandbox import Isolation, prepared
from pinode.sandbox.spec import SandboxSpec

STATUS_NAME = "status"
FIRST_SIGNAL_STATUS = 128
LOOKS_UNTIL_STOPPED = 200  # some milliseconds


class DynoProcess:
    """The outermost process, which waits for those inside; held by a pidfd, so that no other is meant."""

    def __init__(self, pid: int, status: Path, child: "subprocess.Popen[bytes] | None") -> None:
        """Raises `ProcessLookupError`."""
        self.pid = pid
        self._status = status
        self._child = child  # if this node process made it: then it has to be waited for, too
        self._handle = os.pidfd_open(pid)

    @classmethod
    def start(cls, spec: SandboxSpec, isolation: Isolation, *, output: int, status: Path) -> "DynoProcess":
        """Make it, with its output going to the descriptor `output`. Blocks for some milliseconds."""
        with prepared(spec, isolation) as ready:
            child = subprocess.Popen(
                ready.argv,
                env=dict(ready.env),
                cwd=ready.cwd,
                pass_fds=ready.pass_fds,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                user=ready.user,
                group=ready.user,
                extra_groups=None if ready.user is None else [],
            )
        return cls(child.pid, status, child)

    @classmethod
    def find(cls, record: ProcessRecord, status: Path) -> "DynoProcess | None":
        """The process that was noted, if it is that one and still runs."""
        if record.boot_id != boot_id() or start_time(record.pid) != record.start_time:
            return None
        try:
            found = cls(record.pid, status, None)
        except ProcessLookupError:
            return None
        # The id may have gone to another process between the look and the hold.
        if start_time(record.pid) == record.start_time:
            return found
        found.close()
        return None

    def record(self) -> ProcessRecord:
        """What names this process for ever."""
        return ProcessRecord(pid=self.pid, start_time=start_time(self.pid) or 0, boot_id=boot_id())

    def watch(self, on_exit: Callable[[], None]) -> None:
        """Have `on_exit()` called once, when it has ended."""
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(self._handle)
            on_exit()

        loop.add_reader(self._handle, ended)

    def exit_code(self) -> int | None:
        """Its status, 128 + n after signal n; None if nobody knows any more."""
        told = exit_code_in(self._status)
        code = self._child.poll() if self._child is not None else None
        if told is not None or code is None:
            return told
        return code if code >= 0 else FIRST_SIGNAL_STATUS - code

    def pids(self) -> set[int]:
        """All processes inside."""
        inner = _told(self._status, "child-pid")
        if inner is not None:
            return processes_under(inner)
        return processes_under(self.pid) | processes_in_session(self.pid)

    def pids_among(self, children: Mapping[int, Sequence[int]]) -> set[int]:
        """Those below its first one, of what was looked up for several."""
        return processes_under(_told(self._status, "child-pid") or self.pid, children)

    def terminate(self) -> None:
        """SIGTERM to the group of the app's own first process."""
        inner = _told(self._status, "child-pid")
        inside = self.pids()
        if inner is None:
            _signal_group(self.pid, signal.SIGTERM)
            return
        # Process 1 inside is bubblewrap's; the app is its child, in a session and group of its own.
        groups = {group for pid in inside - {inner} if (group := _group_of(pid)) in inside}
        for group in groups or {inner}:
            _signal_group(group, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to everything inside: with process 1 of a namespace the kernel ends all others in it."""
        inner = _told(self._status, "child-pid")
        for pid in {inner} if inner is not None else self._held_still():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _held_still(self) -> set[int]:
        """All there is of a process that only begins, stopped so that it makes no other while we look."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, signal.SIGSTOP)
        for _ in range(LOOKS_UNTIL_STOPPED):  # the signal takes effect when the kernel gets to it
            if not is_running(self.pid):
                break
        return processes_under(self.pid) | processes_in_session(self.pid)

    def close(self) -> None:
        """Let go of it, whether it runs or not."""
        if self._handle >= 0:
            with contextlib.suppress(RuntimeError):  # no loop runs: nothing is watched
                asyncio.get_running_loop().remove_reader(self._handle)
            os.close(self._handle)
            self._handle = -1


def exit_code_in(status: Path) -> int | None:
    """What bubblewrap wrote at the end, even if the node process was not there."""
    return _told(status, "exit-code")


def end_leftovers(status: Path) -> None:
    """SIGKILL what still runs inside although the outermost process is gone, or was never noted.

    bubblewrap names the namespace it made: a process that got the same id later is in another one.
    """
    inner, namespace = _told(status, "child-pid"), _told(status, "pid-namespace")
    if inner is None or namespace is None:
        return
    with contextlib.suppress(OSError):
        if os.stat(f"/proc/{inner}/ns/pid").st_ino == namespace:
            os.kill(inner, signal.SIGKILL)


def _told(status: Path, key: str) -> int | None:
    """A number from bubblewrap's status: one JSON object a line."""
    try:
        lines = status.read_text(errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        try:
            value: Any = json.loads(line).get(key)
        except (ValueError, AttributeError):
            continue  # being written
        if isinstance(value, int):
            return value
    return None


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
