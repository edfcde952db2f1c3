"""The lock of a data directory: one process at a time works with it."""

import fcntl
import os
from pathlib import Path

from pinode.errors import Conflict

LOCK = "lock"  # its file; a folder that has one is a node's


def lock_data_dir(data_dir: Path) -> int:
    """Hold the data directory for this process: two nodes on one would vote twice with one voice.

    Returns the open file that holds it. Raises `Conflict`.
    """
    handle = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise Conflict(
            f"another pinode runs with the data directory {data_dir}",
            hint="`pinode status` talks to it; give this one its own with --data-dir",
        ) from error
    return handle
