"""What the write-ahead log costs a card: bytes written for each MiB of it, and how many batches a second.

    python -m benchmarks.wal [--mib 64] [--batch 4096] [--directory DIR]

One writer on a real disk with real `fdatasync`; two snapshots' worth of log is kept, as a replica does. Counted
are the blocks of 4 KiB that are handed to the system, for these are what reaches the disk at each sync. (The
system's own count, in `/proc/self/io`, is of what it keeps in memory, up to 64 times as much.) Snapshots, and
what the file system writes for itself, are not among them.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from replicated_queue.codec import encode_record
from replicated_queue.raft.messages import Entry, HardState
from replicated_queue.storage.disk import RealDisk, RealFile
from replicated_queue.storage.wal import Wal

MIB = 1024 * 1024
BLOCK_BYTES = 4096
SEGMENT_BYTES = 4 * MIB
SNAPSHOT_BYTES = 8 * MIB  # of log, after which a snapshot is taken


class CountedFile(RealFile):
    """A file that counts the blocks it writes."""

    written_bytes = 0

    def write_at(self, offset: int, data: bytes) -> None:
        """Write, and count."""
        first, last = offset // BLOCK_BYTES, (offset + len(data) - 1) // BLOCK_BYTES
        CountedFile.written_bytes += (last - first + 1) * BLOCK_BYTES
        super().write_at(offset, data)


class CountedDisk(RealDisk):
    """A directory of counted files."""

    def open(self, name: str) -> CountedFile:
        """An existing file."""
        return CountedFile(self._directory / name, os.open(self._directory / name, os.O_RDWR))

    def create(self, name: str) -> CountedFile:
        """An empty one."""
        super().create(name).close()
        return self.open(name)


def main() -> None:
    """Write, and print what it took."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--mib", type=int, default=64)
    arguments.add_argument("--batch", type=int, default=4096)
    arguments.add_argument("--directory", type=Path, default=None)
    wanted = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=wanted.directory) as directory:
        disk = CountedDisk(Path(directory) / "log")
        wal = Wal(disk, segment_bytes=SEGMENT_BYTES)
        before, began, index, snapshots = CountedFile.written_bytes, time.monotonic(), 0, [0, 0]
        logged = since = 0
        while logged < wanted.mib * MIB:
            index += 1
            payload = encode_record(HardState(1, 1, index - 1), [Entry(1, index, bytes(wanted.batch))])
            wal.append(payload, last_index=index)
            logged, since = logged + len(payload), since + len(payload)
            if wal.wants_spare:
                wal.prepare_spare()
            if since >= SNAPSHOT_BYTES:
                since = 0
                wal.forget_upto(snapshots.pop(0))
                snapshots.append(index)
        seconds = time.monotonic() - began
        written = CountedFile.written_bytes - before
        wal.close()
        disk.close()
    print(
        f"{logged / MIB:.0f} MiB of log in {index} batches: {written / logged:.2f} MiB written for each MiB, "
        f"{index / seconds:.0f} batches/s"
    )


if __name__ == "__main__":
    main()
