"""What builds keep for the next ones: packages and objects that all apps of this node share, and what each
app's own code left in a folder that no other app sees. Bounded together; the oldest goes first.
"""

import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from pinode.apps.app import App
from pinode.deploy.build_usage import usage
from pinode.sandbox.leftovers import remove_folder

SHARED, APPS = "shared", "apps"
# What can be taken away alone: a tool that misses it fetches or makes it again.
SHARED_ENTRIES = (
    "uv/archive-v*/*", "uv/sdists-v*/*/*", "uv/wheels-v*/*/*", "uv/simple-v*/*", "go/build/*/*", "go/mod",
    "python/*", "tools/*",
)  # fmt: skip
LARGEST_SHARE = 0.25  # of the disk
LEFT_AFTER_TRIM = 0.8  # of the bound, so that not every build has to trim


@dataclass(frozen=True, slots=True)
class _Entry:
    path: Path
    changed_at: float
    written_bytes: int


class BuildCaches:
    """Folders below one directory. To be trimmed while no build runs here: a tool trusts what it has seen."""

    def __init__(self, directory: Path, *, most_bytes: int) -> None:
        self._directory = directory
        self._most_bytes = most_bytes

    @property
    def shared(self) -> Path:
        """Written only by tools that run nothing of an app."""
        return self._directory / SHARED

    def of_app(self, name: str) -> Path:
        """Written by whatever an app runs while it is built."""
        return self._directory / APPS / name

    def forget(self, kept: Collection[str]) -> None:
        """Remove those of all apps but these; blocking."""
        for path in (self._directory / APPS).glob("*"):
            if path.name not in kept:
                remove_folder(path)

    def trim(self) -> None:
        """Keep to the bound, which is also a quarter of the disk at most; blocking."""
        self._directory.mkdir(parents=True, exist_ok=True)
        disk_bytes = shutil.disk_usage(self._directory).total
        self._trim_to(min(self._most_bytes, int(disk_bytes * LARGEST_SHARE)))

    def free(self, wanted_bytes: int) -> None:
        """Take away so much, because the disk is full; blocking."""
        if self._directory.is_dir():
            self._trim_to(max(0, usage(self._directory)[0] - wanted_bytes), left_after=1)

    def _trim_to(self, most_bytes: int, *, left_after: float = LEFT_AFTER_TRIM) -> None:
        written = usage(self._directory)[0]
        if written <= most_bytes:
            return
        for entry in sorted(self._entries(), key=lambda entry: entry.changed_at):
            if written <= most_bytes * left_after:
                return
            remove_folder(entry.path) if entry.path.is_dir() else entry.path.unlink(missing_ok=True)
            written -= entry.written_bytes

    def _entries(self) -> Iterator[_Entry]:
        patterns = [f"{SHARED}/{pattern}" for pattern in SHARED_ENTRIES]
        for path in (path for pattern in (*patterns, f"{APPS}/*") for path in self._directory.glob(pattern)):
            try:
                found = os.lstat(path)
            except FileNotFoundError:
                continue
            written = found.st_blocks * 512
            if path.is_dir() and not path.is_symlink():
                written += usage(path)[0]
            # Times of reading say nothing here: to look for what is large is to read.
            yield _Entry(path, found.st_mtime, written)


def free_bytes(directory: Path) -> int:
    """What is left of the disk that it lies on."""
    return shutil.disk_usage(directory).free


def cache_name(app: App) -> str:
    """Of this very app: the next one of its name may be another owner's."""
    return f"{app.folder_name}-{app.created_index}"
