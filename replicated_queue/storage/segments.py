"""Segments of the log as files: full-size and zeroed before a byte of them is used."""

from .disk import Disk, DiskFile
from .errors import NoRoom

ZEROS_BYTES = 256 * 1024
SUFFIX = ".wal"
DRAFT_NAME = "segment.new"  # not a segment yet


def segment_name(number: int) -> str:
    """File name of a segment; the first is 1."""
    return f"{number:016x}{SUFFIX}"


def number_of(name: str) -> int:
    """The number in the name of a segment."""
    return int(name.removesuffix(SUFFIX), 16)


def make_segment(disk: Disk, number: int, *, size_bytes: int) -> DiskFile:
    """A segment of zeros; it and its name are on the disk when this returns. Raises `NoRoom`, with no trace.

    Real zeros: with blocks only reserved, each first write would change metadata as well.
    """
    draft = disk.create(DRAFT_NAME)
    try:
        draft.reserve(size_bytes)
        write_zeros(draft, 0, size_bytes)
    except NoRoom:
        draft.close()
        disk.remove(DRAFT_NAME)
        raise
    return _publish(disk, draft, number)


def write_zeros(file: DiskFile, start: int, stop: int) -> None:
    """Zeros from `start` to `stop`, not synced."""
    zeros = bytes(min(max(stop - start, 0), ZEROS_BYTES))
    for offset in range(start, stop, ZEROS_BYTES):
        file.write_at(offset, zeros[: stop - offset])


def _publish(disk: Disk, draft: DiskFile, number: int) -> DiskFile:
    draft.sync()
    draft.close()
    disk.rename(DRAFT_NAME, segment_name(number))
    disk.sync_names()
    return disk.open(segment_name(number))
