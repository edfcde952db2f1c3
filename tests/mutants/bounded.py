"""Run a command that may hang, fork, or fill the disk or the memory: a planted bug can do all of these."""

import ctypes
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

SECONDS_BETWEEN_LOOKS = 0.5
PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Past one of them the command is ended with all that it started."""

    seconds: float
    disk_bytes: int = 2_000_000_000  # of its own temporary folder
    memory_bytes: int = 2_000_000_000  # of all its processes together


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended: `past` names the bound it was ended for, and is empty if it ended by itself."""

    code: int
    past: str
    output: str


def adopt_orphans() -> None:
    """Become the parent of whatever a command leaves behind, so that it is found and ended."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot become the parent of orphans")


def run_bounded(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], bounds: Bounds
) -> Ended:
    """Run `command` in `folder` with a temporary folder of its own; nothing of it is left afterwards."""
    others = set(psutil.Process().children(recursive=True))
    with (
        tempfile.TemporaryDirectory(prefix="mutant-", ignore_cleanup_errors=True) as own,
        tempfile.TemporaryFile() as said,
    ):
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**environment, "TMPDIR": own},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            past = _wait(process, Path(own), bounds, others)
        finally:
            _end_all(others)
        code = process.wait()
        said.seek(0)
        return Ended(code=code, past=past, output=said.read().decode(errors="replace"))


def _wait(process: subprocess.Popen[bytes], own: Path, bounds: Bounds, others: set[psutil.Process]) -> str:
    began = time.monotonic()
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_BETWEEN_LOOKS)
            return ""
        if time.monotonic() - began > bounds.seconds:
            return f"{bounds.seconds:.0f} s"
        if bytes_below(own) > bounds.disk_bytes:
            return f"{bounds.disk_bytes} bytes of disk"
        if _memory_bytes(others) > bounds.memory_bytes:
            return f"{bounds.memory_bytes} bytes of memory"


def bytes_below(folder: Path) -> int:
    """Bytes on the disk of all files in `folder`; what vanishes meanwhile counts for nothing."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(root, name)).st_blocks * 512
    return total


def _memory_bytes(others: set[psutil.Process]) -> int:
    total = 0
    for process in set(psutil.Process().children(recursive=True)) - others:
        with suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def _end_all(others: set[psutil.Process]) -> None:
    """Kill until nothing is left: while one is killed another may still fork."""
    while left := set(psutil.Process().children(recursive=True)) - others:
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=SECONDS_BETWEEN_LOOKS)
