"""What a sandboxed child may take of the kernel's per-process resources, and under which user it runs."""

from dataclasses import dataclass
from zlib import crc32

FIRST_UID = 300_000  # beyond Debian's ranges, beyond systemd's dynamic users, below those of containers
UIDS = 200_000
BUILD_UID = FIRST_UID + UIDS  # all builds: they share a cache, and see nothing of each other


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Resource limits of every process inside; None: as the caller's.

    Memory is not among them: RLIMIT_AS kills programs that merely reserve addresses, as Go and Node.js do.
    """

    open_files: int | None = 4_096
    processes: int | None = None  # of the uid; only where the child has one of its own
    file_bytes: int | None = None  # of the largest single file
    niceness: int = 0


def uid_of_app(app: str) -> int:
    """The user an app's dynos run as on every node whose pinode is root; also its group."""
    return FIRST_UID + crc32(app.encode()) % UIDS


def limit_arguments(limits: Limits, *, own_uid: bool) -> list[str]:
    """Options of prlimit(1)."""
    arguments = ["--core=0"]
    if limits.open_files is not None:
        arguments.append(f"--nofile={limits.open_files}")
    if limits.file_bytes is not None:
        arguments.append(f"--fsize={limits.file_bytes}")
    if limits.processes is not None and own_uid:
        arguments.append(f"--nproc={limits.processes}")
    return arguments
