"""Term and vote of a replica, in a file that never grows: a vote finds its place also on a full disk.

Two copies, one after the other, each synced before the next is touched: a power cut spoils at most one, and
a copy that rots later is made good from the other. Of two good copies the later one counts: within a term a
vote is given once, so the later one has the higher term, or the vote.
"""

from struct import Struct
from zlib import crc32

from ..raft.messages import HardState
from .disk import Disk, DiskFile
from .errors import CorruptLog, NewerLogFormat, NoRoom

NAME = "ballot"
DRAFT_NAME = "ballot.new"
MAGIC = b"\xf1qB"
VERSION = 1
FIELDS = Struct("<3sBQQ")  # magic, version, term, vote
CHECK = Struct("<I")  # CRC-32 of the fields
COPY_BYTES = 4096  # apart by what a disk writes at once, so that no write touches both
OFFSETS = (0, COPY_BYTES)


def kept_ballot(disk: Disk) -> tuple[int, int] | None:
    """Term and vote as the file has them, without a write; None when none or neither copy can be read."""
    if NAME not in disk.names():
        return None
    file = disk.open(NAME)
    copies = [copy for offset in OFFSETS if (copy := _read(file, offset)) is not None]
    file.close()
    return max(copies, key=_order, default=None)


class Ballot:
    """The file, open. Blocking, as the rest of the storage."""

    def __init__(self, disk: Disk) -> None:
        """Open it, or make it where there is none. Raises `CorruptLog` when neither copy can be read."""
        self.is_new = NAME not in disk.names()
        self._file = _make(disk) if self.is_new else disk.open(NAME)
        copies = [_read(self._file, offset) for offset in OFFSETS]
        good = [copy for copy in copies if copy is not None]
        if not good:
            raise CorruptLog(self._file.name, offset=0, reason="neither copy of the vote can be read")
        self.term, self.vote = max(good, key=_order)
        # The later copy may be the one that a cut kept from having its twin, or may be in the cache only.
        if copies != [(self.term, self.vote)] * len(OFFSETS):
            self._write()

    def holds(self, hard_state: HardState) -> bool:
        """Whether this term and vote are on the disk already."""
        return (self.term, self.vote) == (hard_state.term, hard_state.vote)

    def cast(self, hard_state: HardState) -> None:
        """When this returns, term and vote are on the disk. Raises `NoRoom` where the disk takes nothing."""
        before = self.term, self.vote
        self.term, self.vote = hard_state.term, hard_state.vote
        try:
            self._write()
        except NoRoom:
            self.term, self.vote = before
            raise

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def _write(self) -> None:
        copy = _encode(self.term, self.vote)
        for offset in OFFSETS:
            self._file.write_at(offset, copy)
            self._file.sync()


def _order(copy: tuple[int, int]) -> tuple[int, bool]:
    return copy[0], copy[1] != 0


def _encode(term: int, vote: int) -> bytes:
    fields = FIELDS.pack(MAGIC, VERSION, term, vote)
    return fields + CHECK.pack(crc32(fields))


def _read(file: DiskFile, offset: int) -> tuple[int, int] | None:
    data = file.read(offset, FIELDS.size + CHECK.size)
    if len(data) != FIELDS.size + CHECK.size:
        return None
    magic, version, term, vote = FIELDS.unpack_from(data)
    if magic != MAGIC or CHECK.unpack_from(data, FIELDS.size)[0] != crc32(data[: FIELDS.size]):
        return None
    if version != VERSION:
        raise NewerLogFormat(file.name, version=version)
    return term, vote


def _make(disk: Disk) -> DiskFile:
    draft = disk.create(DRAFT_NAME)
    draft.reserve(COPY_BYTES * len(OFFSETS))
    for offset in OFFSETS:
        draft.write_at(offset, _encode(0, 0).ljust(COPY_BYTES, b"\0"))
    draft.sync()
    draft.close()
    disk.rename(DRAFT_NAME, NAME)
    disk.sync_names()
    return disk.open(NAME)
