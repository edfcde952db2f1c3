"""The disk as a replica sees it, small enough to be simulated: one directory, and each operation by itself.

What is built of these operations (`segments.py`, `ballot.py`, `wal.py`) says in which order they must be on
the disk; the simulated disk of the tests cuts the power between any two.

`NoRoom` says that the system refused an operation as a whole: nothing was written, and nothing is in doubt.
Everything else raises `DiskFailed`: after a failed sync nobody knows what the disk holds.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC, EROFS
from pathlib import Path
from typing import Protocol

from .errors import DirectoryLocked, DiskFailed, NoRoom

LOCK_NAME = "lock"
NO_ROOM = {ENOSPC, EDQUOT, EROFS}


class DiskFile(Protocol):
    """One open file."""

    @property
    def name(self) -> str:
        """What an error message calls it."""
        ...

    @property
    def size_bytes(self) -> int:
        """How long it is now."""
        ...

    def read(self, offset: int = 0, size_bytes: int | None = None) -> bytes:
        """Its bytes from `offset` on, fewer at its end."""
        ...

    def reserve(self, size_bytes: int) -> None:
        """Make it that long, of zeros. Raises `NoRoom`."""
        ...

    def write_at(self, offset: int, data: bytes) -> None:
        """Write; it may reach the disk at any time, in any order, in part, or never, until `sync` returns.

        Raises `NoRoom`; some of the bytes may be written then, and must be written again.
        """
        ...

    def sync(self) -> None:
        """Return when everything written is on the disk."""
        ...

    def close(self) -> None:
        """Give the file back; syncs nothing."""
        ...


class Disk(Protocol):
    """One directory, held by one process. Names that were made, changed or removed are on the disk only
    after `sync_names`."""

    def names(self) -> list[str]:
        """The files that are there, sorted."""
        ...

    def open(self, name: str) -> DiskFile:
        """An existing file."""
        ...

    def create(self, name: str) -> DiskFile:
        """An empty file, in place of what had that name. Raises `NoRoom`."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in place of what had that one. Raises `NoRoom` on a read-only disk."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is removed already. Raises `NoRoom` on a read-only disk."""
        ...

    def sync_names(self) -> None:
        """Return when the names are on the disk."""
        ...

    def close(self) -> None:
        """Let another process have the directory."""
        ...


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """What the system answers, in the words of this package."""
    try:
        yield
    except OSError as error:
        raise _refusal(path, error) from error


def _refusal(path: Path, error: OSError) -> NoRoom | DiskFailed:
    return (NoRoom if error.errno in NO_ROOM else DiskFailed)(path, error)


@contextmanager
def _failures(path: Path) -> Iterator[None]:
    """The same where even a full disk leaves in doubt what is written: a sync that failed."""
    try:
        yield
    except OSError as error:
        raise DiskFailed(path, error) from error


class RealFile:
    """A file of the operating system."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @property
    def name(self) -> str:
        return str(self._path)

    @property
    def size_bytes(self) -> int:
        with _failures(self._path):
            return os.fstat(self._descriptor).st_size

    def read(self, offset: int = 0, size_bytes: int | None = None) -> bytes:
        wanted = self.size_bytes - offset if size_bytes is None else size_bytes
        parts: list[bytes] = []
        with _failures(self._path):
            while wanted > 0 and (part := os.pread(self._descriptor, wanted, offset)):
                parts.append(part)
                offset, wanted = offset + len(part), wanted - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def reserve(self, size_bytes: int) -> None:
        with _refusals(self._path):
            os.posix_fallocate(self._descriptor, 0, size_bytes)

    def write_at(self, offset: int, data: bytes) -> None:
        try:  # here and in `sync` written out, for both are called for each entry of the log
            written = os.pwrite(self._descriptor, data, offset)
            while written < len(data):
                written += os.pwrite(self._descriptor, memoryview(data)[written:], offset + written)
        except OSError as error:
            raise _refusal(self._path, error) from error

    def sync(self) -> None:
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise DiskFailed(self._path, error) from error

    def close(self) -> None:
        os.close(self._descriptor)


class RealDisk:
    """A directory of the operating system, locked for this process. Raises `DirectoryLocked`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with _refusals(directory):
            is_new = not directory.exists()
            directory.mkdir(parents=True, exist_ok=True)
            if is_new:
                _sync_directory(directory.parent)
            self._lock = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise DirectoryLocked(directory) from error

    def names(self) -> list[str]:
        with _failures(self._directory):
            found = [path.name for path in self._directory.iterdir() if path.is_file()]
        return sorted(name for name in found if name != LOCK_NAME)

    def open(self, name: str) -> RealFile:
        path = self._directory / name
        with _refusals(path):
            return RealFile(path, os.open(path, os.O_RDWR | os.O_CLOEXEC))

    def create(self, name: str) -> RealFile:
        path = self._directory / name
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with _refusals(path):
            return RealFile(path, os.open(path, flags, 0o600))

    def rename(self, old: str, new: str) -> None:
        with _refusals(self._directory / new):
            os.rename(self._directory / old, self._directory / new)

    def remove(self, name: str) -> None:
        with _refusals(self._directory / name):
            (self._directory / name).unlink(missing_ok=True)

    def sync_names(self) -> None:
        with _failures(self._directory):
            _sync_directory(self._directory)

    def close(self) -> None:
        os.close(self._lock)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
