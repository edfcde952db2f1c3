"""What the kernel tells under /proc: which processes belong together, and what they listen on."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

PROC = Path("/proc")
LISTENING = "0A"
SOCKET = re.compile(r"socket:\[(\d+)\]")
START_TIME_FIELD = 21  # of /proc/PID/stat, counted from 0
PARENT_FIELD = 3
SESSION_FIELD = 5


def boot_id() -> str:
    """Names the time since the machine was switched on."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """When a process began, in ticks since boot: tells it from others of its id. None: no process."""
    fields = _stat(pid)
    return int(fields[START_TIME_FIELD]) if fields and fields[2] not in "ZX" else None


def is_running(pid: int) -> bool:
    """Whether the process is there and not stopped or ended."""
    fields = _stat(pid)
    return fields is not None and fields[2] not in "TtZX"


def processes_under(pid: int, children: Mapping[int, Sequence[int]] | None = None) -> set[int]:
    """The process and all its descendants, as far as `children` knows them; by default those of now."""
    if children is None:
        children = children_of_all()
    found, left = {pid}, [pid]
    while left:
        for child in children.get(left.pop(), ()):
            if child not in found:
                found.add(child)
                left.append(child)
    return found


def children_of_all() -> dict[int, list[int]]:
    """The children of every process that has some; one look at all there are."""
    children: dict[int, list[int]] = defaultdict(list)
    for pid in _pids():
        fields = _stat(pid)
        if fields:
            children[int(fields[PARENT_FIELD])].append(pid)
    return children


def processes_in_session(session: int) -> set[int]:
    """All processes of a session, whatever became of its leader."""
    return {pid for pid in _pids() if (fields := _stat(pid)) and int(fields[SESSION_FIELD]) == session}


def listening_ports(pids: Iterable[int]) -> set[int]:
    """TCP ports that these processes listen on."""
    found: set[int] = set()
    for pid in pids:
        inodes = _sockets(pid)
        if inodes:
            found |= {port for inode, port in _listeners(pid) if inode in inodes}
    return found


def _pids() -> list[int]:
    return [int(name) for name in os.listdir(PROC) if name.isdigit()]


def _stat(pid: int) -> list[str] | None:
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The name of the program may hold blanks and brackets; what follows it does not.
    before, _, after = text.rpartition(")")
    return [before.partition(" ")[0], "", *after.split()] if after else None


def _sockets(pid: int) -> set[str]:
    try:
        names = os.listdir(PROC / str(pid) / "fd")
    except OSError:
        return set()
    found = set()
    for name in names:
        try:
            match = SOCKET.fullmatch(os.readlink(PROC / str(pid) / "fd" / name))
        except OSError:
            continue
        if match:
            found.add(match[1])
    return found


def _listeners(pid: int) -> list[tuple[str, int]]:
    found = []
    for table in ("tcp", "tcp6"):
        try:
            rows = (PROC / str(pid) / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == LISTENING:
                found.append((fields[9], int(fields[1].rpartition(":")[2], 16)))
    return found
