"""How much memory dynos take, looked at from outside now and then."""

import os
from collections.abc import Collection

MIB = 1024**2
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def taken_bytes(pids: Collection[int], *, most: int) -> int:
    """What these processes take; exact only where that is more than `most`.

    Pages that several of them share are counted with each, which is quick; only if that is too much, once
    among them, where the kernel tells it.
    """
    taken = sum(map(_resident_bytes, pids))
    return taken if taken <= most else sum(map(_share_bytes, pids))


def too_much(taken: int, most: int) -> str:
    """What to say of it, after "it"."""
    return f"took {taken // MIB} MiB of memory; {most // MIB} MiB are allowed ([limits] dyno_memory_bytes)"


def _resident_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read(256).split()[1]) * PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0  # it has ended


def _share_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            return int(file.read(1024).partition(b"Pss:")[2].split(None, 1)[0]) * 1024
    except (OSError, IndexError, ValueError):
        return _resident_bytes(pid)
