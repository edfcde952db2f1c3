"""What the system says of files and folders, in words of what to do about it."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from pinode.errors import PinodeError

WHAT_TO_DO = {
    errno.EROFS: "Make it writable: sudo mount -o remount,rw / (or where its disk is mounted). A card that "
    "became read-only by itself may be failing: dmesg says so.",
    errno.ENOSPC: "Make room: `df -h` shows which disk is full.",
    errno.EDQUOT: "Make room: `df -h` shows which disk is full.",
    errno.EIO: "The card or disk may be failing: dmesg says so.",
    errno.EBUSY: "Something is mounted there, or uses it: `findmnt` shows mounts.",
    errno.ENOTEMPTY: "Something still writes there, perhaps dynos that run until this Pi is off.",
}
OTHERWISE = "Look at it: `ls -la` shows whose it is, `lsattr` what protects it."


class DiskTrouble(PinodeError):
    """A file or folder could not be read, written or deleted."""

    def __init__(self, what: str, error: OSError) -> None:
        where = str(error.filename or "")
        told = f"{reason(error)} ({where})" if where and where not in what else reason(error)
        super().__init__(f"{what}: {told}", hint=what_to_do(error))


@contextmanager
def disk_trouble(what: str) -> Iterator[None]:
    """Raises `DiskTrouble` of what the system refuses inside; a pipe that nobody reads is none."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise DiskTrouble(what, error) from error


def reason(error: OSError) -> str:
    """In the system's words."""
    return error.strerror or str(error)


def what_to_do(error: OSError) -> str:
    """A sentence."""
    return WHAT_TO_DO.get(error.errno or 0, OTHERWISE)
