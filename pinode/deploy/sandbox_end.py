"""The end of a sandboxed child: what the killed processes had started is gone too; only then is it over."""

import logging
import os
import select
import signal
import time
from pathlib import Path

END_SECONDS = 15

logger = logging.getLogger(__name__)


def await_end_of_namespace(status_file: Path) -> None:
    """bubblewrap has told the first process of the sandbox; when that one is gone, so are all others in
    it.
    """
    match = status_file.read_bytes().partition(b'"child-pid":')[2].partition(b",")[0].strip()
    if not match.isdigit():
        return
    pid = int(match)
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        inner = Path(f"/proc/{pid}/status").read_text().partition("NSpid:")[2].splitlines()[0].split()
        if inner[-1] == "1" and len(inner) > 1:  # else the number is another process's by now
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            waiting = select.poll()
            waiting.register(pidfd, select.POLLIN)
            if not waiting.poll(END_SECONDS * 1000):
                logger.error("build does not end pid=%d", pid)
    except (OSError, IndexError):
        pass
    finally:
        os.close(pidfd)


def kill_marked(mark: bytes) -> None:
    """Without a sandbox: end every process that inherited this build's mark, until there is none."""
    deadline = time.monotonic() + END_SECONDS
    while time.monotonic() < deadline:
        found = [
            int(entry.name)
            for entry in os.scandir("/proc")
            if entry.name.isdigit() and _has(entry.path, mark)
        ]
        if not found:
            return
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    logger.error("build does not end mark=%s", mark.decode(errors="replace"))


def _has(process: str, mark: bytes) -> bool:
    try:
        return mark in Path(process, "environ").read_bytes().split(b"\0")
    except OSError:
        return False
