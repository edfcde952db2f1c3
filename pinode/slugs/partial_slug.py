"""A slug that arrives in chunks, in any order, and whose chunks are still there after a crash.

Beside the file with the chunks lies its *record*: the slug's size, then for each chunk written its number and
CRC. The record is never synced: whoever opens them again believes a chunk only when its bytes have that CRC,
so that after a power cut those are missing that were not on the disk. The CRC is against accidents; that the
whole is the right one is said by the sha256 of its name.
"""

import hashlib
import os
import struct
import threading
import zlib
from pathlib import Path

CHUNK_BYTES = 1024 * 1024
SYNC_BYTES = 4 * CHUNK_BYTES  # more of it unwritten would hold up the log on the same card
PARTIAL = ".partial"
RECORD = ".record"
HEADER = struct.Struct(">4sQ")
MAGIC = b"slg1"
ROW = struct.Struct(">II")  # a chunk's number, its CRC


class PartialSlug:
    """Blocking; may be used from several threads."""

    def __init__(self, path: Path, *, slug_bytes: int) -> None:
        """Go on with what lies at `path`, if it is of a slug of this size; else begin."""
        self.path = path
        self.slug_bytes = slug_bytes
        self._lock = threading.Lock()
        self._unsynced = 0
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            said = self._read_record()
            self._record = record_of(path).open("wb", buffering=0)
        except BaseException:  # whatever it was, the file is not left open
            os.close(self._file)
            raise
        self._record.write(HEADER.pack(MAGIC, slug_bytes) + b"".join(ROW.pack(*row) for row in said.items()))
        self.from_before = frozenset(said)  # chunks
        self._is_open = True

    @property
    def chunks(self) -> int:
        """Of the whole slug."""
        return -(-self.slug_bytes // CHUNK_BYTES)

    def chunk_bytes(self, chunk: int) -> int:
        """The size of one chunk; the last is shorter."""
        return min(CHUNK_BYTES, self.slug_bytes - chunk * CHUNK_BYTES)

    def write(self, chunk: int, content: bytes | bytearray) -> None:
        """Put one whole chunk in its place; after `close`, nothing happens."""
        assert len(content) == self.chunk_bytes(chunk)
        with self._lock:
            if not self._is_open:
                return
            written = 0
            while written < len(content):
                written += os.pwrite(self._file, memoryview(content)[written:], chunk * CHUNK_BYTES + written)
            self._record.write(ROW.pack(chunk, zlib.crc32(content)))
            self._unsynced += len(content)
            if self._unsynced >= SYNC_BYTES:
                os.fdatasync(self._file)
                self._unsynced = 0

    def has_digest(self, digest: str) -> bool:
        """Whether all of it has this sha256; then it is on the disk."""
        with self.path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != digest:
            return False
        os.fsync(self._file)
        return True

    def close(self) -> None:
        """Let go of the files; they stay."""
        with self._lock:
            if self._is_open:
                self._is_open = False
                os.close(self._file)
                self._record.close()

    def _read_record(self) -> dict[int, int]:
        """The chunks that lie here whole, with their CRCs; the newest row of a chunk counts."""
        try:
            content = record_of(self.path).read_bytes()
        except FileNotFoundError:
            return {}
        if len(content) < HEADER.size or HEADER.unpack_from(content) != (MAGIC, self.slug_bytes):
            return {}
        rows = content[HEADER.size :]
        said = dict(ROW.iter_unpack(rows[: len(rows) - len(rows) % ROW.size]))
        return {chunk: crc for chunk, crc in said.items() if chunk < self.chunks and self._crc(chunk) == crc}

    def _crc(self, chunk: int) -> int:
        return zlib.crc32(os.pread(self._file, self.chunk_bytes(chunk), chunk * CHUNK_BYTES))


def record_of(path: Path) -> Path:
    """The record beside a partial slug."""
    return path.with_name(path.name + RECORD)


def remove_partial(path: Path) -> None:
    """Forget a partial slug that nobody has open."""
    path.unlink(missing_ok=True)
    record_of(path).unlink(missing_ok=True)
