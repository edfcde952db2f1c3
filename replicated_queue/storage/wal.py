"""The write-ahead log: batches appended to segments of full size, each synced before the next is written."""

from collections import deque
from contextlib import suppress

from .batch import HEADER_BYTES, encode_batch
from .disk import Disk, DiskFile
from .errors import NoRoom
from .recovery import Recovered, Recovery
from .segments import ASIDE_MAX, lay_aside, lying_aside, make_segment, segment_name, use_again

SPARE_AT = 0.5  # of a segment written: time to prepare the next


class Wal:
    """The log of one replica, after recovery. Blocking: it lives on a thread of its own."""

    def __init__(self, disk: Disk, *, segment_bytes: int) -> None:
        recovery = Recovery(disk, segment_bytes=segment_bytes)
        recovery.run()
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._number = recovery.number
        self._file = recovery.segments[self._number - recovery.first]
        self._spare: DiskFile | None = None
        self._first = recovery.first
        self._last_index = recovery.recovered.last_index
        self._ends = recovery.ends[: self._number - recovery.first]  # of the segments before this one
        for number, file in enumerate(recovery.segments, recovery.first):
            if number == self._number + 1:
                self._spare = file
            elif number != self._number:
                file.close()
        self._aside: deque[str] = deque()  # segments to be used again; taken by the thread that prepares
        with suppress(NoRoom):
            self._aside.extend(lying_aside(disk, size_bytes=segment_bytes))
        self._position = recovery.position
        self._chain = recovery.chain
        if not recovery.ends_with_mark:
            with suppress(NoRoom):  # then the last batch can be mistaken for a torn tail until the next one
                self.append(b"")
        self._recovered = recovery.recovered

    def take_recovered(self) -> Recovered:
        """What the log said at start. Only once: it is as large as the log, and nothing of it stays here."""
        recovered, self._recovered = self._recovered, Recovered()
        return recovered

    @property
    def largest_payload_bytes(self) -> int:
        """The most that `append` takes at once."""
        return self._segment_bytes - HEADER_BYTES

    @property
    def has_spare(self) -> bool:
        """Whether the next segment is ready."""
        return self._spare is not None

    @property
    def wants_spare(self) -> bool:
        """Whether the next segment should be prepared now, so that no append has to wait for its zeros."""
        return self._spare is None and self._offset > self._segment_bytes * SPARE_AT

    @property
    def _offset(self) -> int:
        return self._position - (self._number - 1) * self._segment_bytes

    def must_roll(self, payload_bytes: int) -> bool:
        """Whether a batch of that size begins the next segment."""
        return self._offset + HEADER_BYTES + payload_bytes > self._segment_bytes

    def prepare_spare(self) -> None:
        """Have the next segment ready, one that lies aside if there is any.

        May run beside `append`, on another thread, but not twice at a time. Raises `NoRoom`, with no trace.
        """
        if self._spare is not None:
            return
        if self._aside:
            self._spare = use_again(self._disk, self._aside[0], self._number + 1)
            self._aside.popleft()
        else:
            self._spare = make_segment(self._disk, self._number + 1, size_bytes=self._segment_bytes)

    def append(self, payload: bytes, *, last_index: int | None = None) -> None:
        """Append one batch; when this returns it is on the disk. `last_index`: of the log with it.

        An empty batch proves that all before it was synced, so that later damage there is seen as damage.
        Raises `DiskFailed`, and is unusable then; or `NoRoom`, after which the same may be tried again.
        """
        assert len(payload) <= self.largest_payload_bytes, f"a batch of {len(payload)} bytes"
        synced = self._position
        offset = self._offset
        if self.must_roll(len(payload)):
            self._next_segment()
            offset = 0
        batch, chain = encode_batch(payload, chain_before=self._chain, position=self._position, synced=synced)
        self._file.write_at(offset, batch)
        self._file.sync()
        self._chain = chain
        self._position += len(batch)
        if last_index is not None:
            self._last_index = last_index

    def forget_upto(self, index: int) -> None:
        """Entries up to `index` are in two snapshots: lay aside the segments that hold nothing else.

        Oldest first, and each on the disk before the next, so that none is ever missing in between.
        """
        while self._ends and self._ends[0] <= index:
            if len(self._aside) < ASIDE_MAX:
                self._aside.append(lay_aside(self._disk, self._first))
            else:
                self._disk.remove(segment_name(self._first))
                self._disk.sync_names()
            self._first += 1
            del self._ends[0]

    def close(self) -> None:
        """Give the files back."""
        self._file.close()
        if self._spare is not None:
            self._spare.close()

    def _next_segment(self) -> None:
        self.prepare_spare()
        assert self._spare is not None
        self._file.close()
        self._ends.append(self._last_index)
        self._file, self._spare = self._spare, None
        self._position = self._number * self._segment_bytes
        self._number += 1
