"""How much a build takes: bytes and files it has written, memory and processes of its tree; looked at from
outside, now and then.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from builders.errors import BoundHit
from builders.request import MIB, Bounds

NOISE_BYTES = 64 * MIB  # what others on this disk may write before we look at the large cache again
LOOKS = 5  # and at every so many looks anyway


class BuildUsage:
    """The bounds of one build, and what it was found to take."""

    def __init__(self, *, folder: Path, own_cache: Path, shared_cache: Path, bounds: Bounds) -> None:
        self._folders = (folder, own_cache)
        self._shared_cache = shared_cache
        self._bounds = bounds
        self._before = usage(own_cache)[0]
        self._shared_before = usage(shared_cache)[0]
        self._shared_grown = 0
        self._free = _free_bytes(folder)
        self._looks = 0

    def exceeded(self, pid: int) -> BoundHit | None:
        """The bound that the tree below `pid` is found beyond; blocking."""
        return tree_exceeded(pid, self._bounds) or self.disk_exceeded()  # the quicker look first

    def disk_exceeded(self) -> BoundHit | None:
        """Has it written too much, or too many files? Blocking."""
        bounds = self._bounds
        written, files = -self._before, 0
        for folder in self._folders:
            more_bytes, more_files = usage(folder, most_files=bounds.files)
            written, files = written + more_bytes, files + more_files
        if files > bounds.files:
            return BoundHit(
                "files",
                f"it made more than {bounds.files} files",
                hint="Install less, or make fewer files while building",
            )
        if written <= bounds.disk_bytes:  # else the large cache need not be looked at
            written += self._shared()
        if written > bounds.disk_bytes:
            return BoundHit(
                "disk",
                f"it wrote {written // MIB} MiB; {bounds.disk_bytes // MIB} MiB are allowed",
                hint="Install less, or raise [limits] build_disk_bytes",
            )
        return None

    def _shared(self) -> int:
        """How much the shared cache has grown. It is large and only our tools write it: looked at when the
        disk has got fuller, and now and then.
        """
        self._looks += 1
        free = _free_bytes(self._folders[0])
        if self._free - free > NOISE_BYTES or self._looks % LOOKS == 0:
            self._free = free
            self._shared_grown = max(0, usage(self._shared_cache)[0] - self._shared_before)
        return self._shared_grown


def tree_exceeded(pid: int, bounds: Bounds) -> BoundHit | None:
    """The bound that memory or processes of the tree below `pid` are found beyond; blocking."""
    memory, processes = _tree(pid, most=bounds.processes)
    if processes > bounds.processes:
        return BoundHit(
            "processes",
            f"it ran more than {bounds.processes} processes at once",
            hint="Start fewer, or raise [limits] build_processes",
        )
    if memory > bounds.memory_bytes:
        return BoundHit(
            "memory",
            f"it used {memory // MIB} MiB of memory; {bounds.memory_bytes // MIB} MiB are allowed",
            hint="Build less at once, or raise [limits] build_memory_bytes",
        )
    return None


def usage(folder: Path, *, most_files: int | None = None) -> tuple[int, int]:
    """Bytes on the disk and files below a folder that somebody is changing; it stops past `most_files`."""
    total, files, folders = 0, 0, [str(folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    files += 1
                    if most_files is not None and files > most_files:
                        return total, files  # a folder that is being filled may never come to its end
                    found = entry.stat(follow_symlinks=False)
                    total += found.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        except OSError:
            continue
    return total, files


def _free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _tree(pid: int, *, most: int) -> tuple[int, int]:
    """Memory and number of the processes below `pid`; no memory where they are too many."""
    children = _children_below(pid)
    if len(children) > most:
        return 0, len(children)
    return sum(_memory_bytes(child) for child in children), len(children)


def _children_below(pid: int) -> Sequence[int]:
    parents: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                with open(f"{entry.path}/stat", "rb") as file:
                    fields = file.read(1_024).rpartition(b")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
            except (OSError, IndexError):
                continue
    found, waiting = [], [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def _memory_bytes(pid: int) -> int:
    """The process's part of the memory: what several have in common is counted once among them, where the
    system tells it.
    """
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            return int(file.read(1_024).partition(b"Pss:")[2].split(None, 1)[0]) * 1_024
    except (OSError, IndexError, ValueError):
        pass
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read(256).split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0  # it has ended
