"""The disk as the log sees it, small enough to be simulated: files of fixed size, written in place, synced.

Everything raises `DiskFailed` where the system refuses: after a failed sync nobody knows what the disk holds.
"""

import fcntl
import os
from pathlib import Path
from typing import Protocol

from .errors import DirectoryLocked, DiskFailed

ZEROS_BYTES = 256 * 1024


class DiskFile(Protocol):
    """One file of fixed size."""

    @property
    def name(self) -> str:
        """What an error message calls it."""
        ...

    def read(self) -> bytes:
        """All of it."""
        ...

    def write_at(self, offset: int, data: bytes) -> None:
        """Write; it may reach the disk at any time, in any order, in part, or never, until `sync` returns."""
        ...

    def sync(self) -> None:
        """Return when everything written is on the disk."""
        ...

    def close(self) -> None:
        """Give the file back; syncs nothing."""
        ...


class Disk(Protocol):
    """One directory of such files, held by one process."""

    def names(self) -> list[str]:
        """The files that are there, sorted."""
        ...

    def open(self, name: str) -> DiskFile:
        """An existing file."""
        ...

    def create(self, name: str, *, size_bytes: int) -> DiskFile:
        """A file of zeros. Its bytes and its name are on the disk when this returns."""
        ...

    def close(self) -> None:
        """Let another process have the directory."""
        ...


class RealFile:
    """A file of the operating system."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @property
    def name(self) -> str:
        return str(self._path)

    def read(self) -> bytes:
        try:
            return self._path.read_bytes()
        except OSError as error:
            raise DiskFailed(self._path, error) from error

    def write_at(self, offset: int, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                written = os.pwrite(self._descriptor, rest, offset)
                rest, offset = rest[written:], offset + written
        except OSError as error:
            raise DiskFailed(self._path, error) from error

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
        try:
            is_new = not directory.exists()
            directory.mkdir(parents=True, exist_ok=True)
            if is_new:
                _sync_directory(directory.parent)
            self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DiskFailed(directory, error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise DirectoryLocked(directory) from error

    def names(self) -> list[str]:
        try:
            return sorted(path.name for path in self._directory.iterdir() if path.suffix == ".wal")
        except OSError as error:
            raise DiskFailed(self._directory, error) from error

    def open(self, name: str) -> RealFile:
        path = self._directory / name
        try:
            return RealFile(path, os.open(path, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            raise DiskFailed(path, error) from error

    def create(self, name: str, *, size_bytes: int) -> RealFile:
        path = self._directory / name
        temporary = path.with_suffix(".new")
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            file = RealFile(path, os.open(temporary, flags, 0o600))
            # Real zeros: with blocks only reserved, each first write would change metadata as well.
            zeros = bytes(min(size_bytes, ZEROS_BYTES))
            for offset in range(0, size_bytes, len(zeros)):
                file.write_at(offset, zeros[: size_bytes - offset])
            file.sync()
            os.rename(temporary, path)
            _sync_directory(self._directory)
        except OSError as error:
            raise DiskFailed(path, error) from error
        return file

    def close(self) -> None:
        os.close(self._lock)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
