"""Segments of the log as files: full-size before a byte of them is used, of zeros or of what was once a log.

A segment that is needed no more lies aside under another name until it becomes the next one. What it holds is
never taken for new: each batch names its position in the whole log, and no position comes twice.
"""

from .disk import Disk, DiskFile
from .errors import NoRoom

ZEROS_BYTES = 256 * 1024
SUFFIX = ".wal"
DRAFT_NAME = "segment.new"  # not a segment yet
ASIDE_SUFFIX = ".old"  # not a segment any more
ASIDE_MAX = 4  # as many as are needed between two snapshots, or nearly


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


def lay_aside(disk: Disk, number: int) -> str:
    """Make a segment none any more, on the disk too; the name it has now. Raises `NoRoom`."""
    aside = segment_name(number).removesuffix(SUFFIX) + ASIDE_SUFFIX
    disk.rename(segment_name(number), aside)
    disk.sync_names()
    return aside


def use_again(disk: Disk, aside: str, number: int) -> DiskFile:
    """Make what lies aside the segment of that number, on the disk too. Raises `NoRoom`."""
    disk.rename(aside, segment_name(number))
    disk.sync_names()
    return disk.open(segment_name(number))


def lying_aside(disk: Disk, *, size_bytes: int) -> list[str]:
    """What can be used again; of another size, or beyond the bound, it is removed."""
    found: list[str] = []
    for name in disk.names():
        if name.endswith(ASIDE_SUFFIX):
            file = disk.open(name)
            is_fit = file.size_bytes == size_bytes and len(found) < ASIDE_MAX
            file.close()
            if is_fit:
                found.append(name)
            else:
                disk.remove(name)
    return found


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
