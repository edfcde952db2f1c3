"""Snapshots as files: written beside the log, proven whole before one is believed, the two newest kept.

A file is frames: length, CRC-32 chained over all frames before, content. The first says what this is, the
last says of which place in the log it is, so a file without its last frame is no snapshot. Blocking.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from zlib import crc32

import msgpack

from ..raft.messages import EntryId, Snapshot
from .disk import Disk, DiskFile
from .errors import DamagedSnapshot, NewerLogFormat

MAGIC = b"\xf1qS"
VERSION = 1
FRAME = Struct("<II")  # length, CRC
NAME = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})\.snapshot")
DRAFT_NAMES = {"own": "snapshot.new", "incoming": "incoming.new"}
READ_BYTES = 256 * 1024
MAX_FRAME_BYTES = 64 * 1024 * 1024
KEPT = 2


@dataclass(frozen=True, slots=True)
class SnapshotMark:
    """Which place in the log a snapshot is of, and cluster time (ms) there."""

    snapshot: Snapshot
    cluster_time: int


def name_of(last: EntryId) -> str:
    """The file of a snapshot; names sort by index."""
    return f"{last.index:016x}-{last.term:016x}.snapshot"


class SnapshotDraft:
    """A snapshot that is being written; nobody takes it for one until it is published."""

    def __init__(self, disk: Disk, kind: str) -> None:
        self._disk = disk
        self._name = DRAFT_NAMES[kind]
        self._file = disk.create(self._name)
        self._crc = 0
        self.size_bytes = 0

    def begin(self) -> None:
        """The first frame of an own snapshot."""
        self.append(MAGIC + bytes((VERSION,)))

    def append(self, chunk: bytes) -> None:
        """The next frame. Raises `NoRoom`."""
        self._crc = crc32(chunk, self._crc)
        self.append_raw(FRAME.pack(len(chunk), self._crc) + chunk)

    def append_raw(self, data: bytes) -> None:
        """Bytes of another node's file, as they are. Raises `NoRoom`."""
        self._file.write_at(self.size_bytes, data)
        self.size_bytes += len(data)

    def end(self, mark: SnapshotMark) -> None:
        """The last frame of an own snapshot."""
        snapshot = mark.snapshot
        fields = (*snapshot.last, list(snapshot.voters), list(snapshot.learners), mark.cluster_time)
        self.append(msgpack.packb(fields))

    def reader(self) -> "SnapshotReader":
        """What was written so far."""
        return SnapshotReader(self._file)

    def publish(self, last: EntryId) -> None:
        """Make it the snapshot of `last`: first its bytes are on the disk, then its name."""
        self._file.sync()
        self._disk.rename(self._name, name_of(last))
        self._disk.sync_names()
        self._file.close()

    def discard(self) -> None:
        """Nobody wants it."""
        self._file.close()
        self._disk.remove(self._name)


class SnapshotReader:
    """One file, read from its beginning."""

    def __init__(self, file: DiskFile) -> None:
        self._file = file

    @property
    def size_bytes(self) -> int:
        return self._file.size_bytes

    def check(self) -> SnapshotMark:
        """Read all of it, and say what it is of. Raises `DamagedSnapshot`, `NewerLogFormat`."""
        first, last = b"", b""
        for count, frame in enumerate(self._frames()):
            first, last = (frame, b"") if count == 0 else (first, frame)
        if not first.startswith(MAGIC):
            raise DamagedSnapshot(self._file.name, "it does not begin as one")
        if first[len(MAGIC) :] != bytes((VERSION,)):
            raise NewerLogFormat(self._file.name, version=first[len(MAGIC)])
        try:
            term, index, voters, learners, cluster_time = msgpack.unpackb(last)[:5]
            return SnapshotMark(
                Snapshot(EntryId(term, index), tuple(voters), tuple(learners)), int(cluster_time)
            )
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise DamagedSnapshot(self._file.name, "its end is missing") from error

    def chunks(self) -> Iterator[bytes]:
        """Its content, without the first and the last frame."""
        held: bytes | None = None
        for count, frame in enumerate(self._frames()):
            if count:
                if held is not None:
                    yield held
                held = frame

    def raw(self, offset: int) -> bytes:
        """Some of its bytes, to be sent; b"" at the end."""
        return self._file.read(offset, READ_BYTES)

    def close(self) -> None:
        self._file.close()

    def _frames(self) -> Iterator[bytes]:
        offset, crc = 0, 0
        while offset < self._file.size_bytes:
            head = self._file.read(offset, FRAME.size)
            if len(head) < FRAME.size:
                raise DamagedSnapshot(self._file.name, "it ends in the middle")
            length, expected = FRAME.unpack(head)
            frame = self._file.read(offset + FRAME.size, min(length, MAX_FRAME_BYTES))
            crc = crc32(frame, crc)
            if len(frame) != length or crc != expected:
                raise DamagedSnapshot(self._file.name, f"byte {offset}")
            yield frame
            offset += FRAME.size + length


class SnapshotFiles:
    """All snapshots of one replica."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._damaged: list[str] = []

    def forget_drafts(self) -> None:
        """Remove those of a process that ended in the middle."""
        for name in DRAFT_NAMES.values():
            if name in self._disk.names():
                self._disk.remove(name)

    def names(self) -> list[str]:
        """Newest first."""
        return sorted((name for name in self._disk.names() if NAME.fullmatch(name)), reverse=True)

    def draft(self, kind: str) -> SnapshotDraft:
        """Begin one: an "own" or an "incoming" one. Raises `NoRoom`."""
        return SnapshotDraft(self._disk, kind)

    def open(self, last: EntryId) -> SnapshotReader | None:
        """The snapshot of that place, if it is there."""
        name = name_of(last)
        return SnapshotReader(self._disk.open(name)) if name in self._disk.names() else None

    def whole_ones(self) -> Iterator[tuple[SnapshotMark, SnapshotReader]]:
        """Those that can be read, newest first. Raises `NewerLogFormat`."""
        for name in self.names():
            reader = SnapshotReader(self._disk.open(name))
            try:
                yield reader.check(), reader
            except DamagedSnapshot:
                reader.close()
                self._damaged.append(name)

    def found_damaged(self, last: EntryId) -> None:
        """The snapshot of that place could not be read."""
        self._damaged.append(name_of(last))

    def forget_damaged(self, whole: EntryId) -> None:
        """Remove those that could not be read, once `whole` can: else they would count as kept ones."""
        damaged = sorted(({*self._damaged} & {*self._disk.names()}) - {name_of(whole)})
        self._damaged = []
        for name in damaged:
            self._disk.remove(name)
        if damaged:
            self._disk.sync_names()

    def forget_old(self) -> int:
        """Remove all but the newest two; return the index of the older one, up to which no log is needed."""
        names = self.names()
        for name in names[KEPT:]:
            self._disk.remove(name)
        if len(names) > KEPT:
            self._disk.sync_names()
        return int(names[KEPT - 1][:16], 16) if len(names) >= KEPT else 0

    def forget_before(self, last: EntryId) -> None:
        """A leader's snapshot begins a new log: with an older one that log cannot be read."""
        older = [name for name in self.names() if name < name_of(last)]
        for name in older:
            self._disk.remove(name)
        if older:
            self._disk.sync_names()
