"""Reading the log at start: to where it ends, cut there or refused as damaged, and its tail written again."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..codec import decode_records
from ..errors import QueueError
from ..raft.messages import Entry, HardState
from .batch import HEADER_BYTES, MAGIC, Header, payload_of, read_header
from .disk import Disk, DiskFile
from .errors import CorruptLog
from .segments import SUFFIX, make_segment, number_of, segment_name, write_zeros
from .snapshots import SnapshotMark, SnapshotReader


@dataclass(slots=True)
class Recovered:
    """What a replica knew when it stopped."""

    hard_state: HardState = field(default_factory=HardState)
    base_index: int | None = 0  # of the entry before the first; None: not known before there is a first
    is_base_learned: bool = False  # from the first record that is kept, for want of a better knowledge
    entries: list[Entry] = field(default_factory=list)
    mark: SnapshotMark | None = None  # what is not in the log any more
    reader: SnapshotReader | None = None
    snapshot_bytes: int = 0
    begins_anew: bool = (
        False  # whether the log on the disk does not reach to the snapshot, or conflicts with it
    )

    @property
    def last_index(self) -> int:
        return (self.base_index or 0) + len(self.entries)

    def replay(self, payload: bytes) -> None:
        """Do what one batch says, on top of all earlier ones."""
        for record in decode_records(payload):
            if record.base is not None:
                self.entries, self.base_index = [], record.base.index
                self.is_base_learned = False
            if record.entries:
                self._replace_from(record.entries)
            self.hard_state = record.hard_state

    def _replace_from(self, entries: Sequence[Entry]) -> None:
        first = entries[0].index
        if self.base_index is None:
            self.base_index, self.is_base_learned = first - 1, True
        if self.is_base_learned and self.hard_state.commit < first <= self.base_index:
            # A new leader replaced entries that began before what is kept: the segment of the first is gone.
            self.entries, self.base_index = [], first - 1
        if not max(self.hard_state.commit, self.base_index) < first <= self.last_index + 1:
            raise QueueError(f"entry {first} does not follow on entry {self.last_index}")
        del self.entries[first - 1 - self.base_index :]
        self.entries.extend(entries)

    def stand_on(self, mark: SnapshotMark, reader: SnapshotReader) -> bool:
        """Begin behind this snapshot, if the log goes on from there; what conflicts with it is dropped."""
        last = mark.snapshot.last
        if (self.base_index or 0) > last.index:
            return False
        place = last.index - (self.base_index or 0)
        fits = place <= len(self.entries) and (place == 0 or self.entries[place - 1].term == last.term)
        self.begins_anew = not fits
        self.entries = self.entries[place:] if fits else []
        self.base_index = last.index
        self.mark, self.reader = mark, reader
        return True

    def give_vote(self, term: int, vote: int) -> None:
        """What the ballot says. Raises `CorruptLog` if it is older than the log."""
        if term < self.hard_state.term:
            reason = f"it ends in term {term}, the log knows term {self.hard_state.term}"
            raise CorruptLog("the ballot", offset=0, reason=reason)
        # The newest entries may be lost with a torn tail, and the commit index was never synced for itself.
        commit = max(min(self.hard_state.commit, self.last_index), self.base_index or 0 if self.mark else 0)
        self.hard_state = HardState(term, vote, commit)


@dataclass(slots=True)
class _End:
    """Where the valid log ends, and the batch before it."""

    segment: int = 0  # position in the list of segments
    offset: int = 0
    last: Header | None = None


class Recovery:
    """One reading of all segments. Afterwards the log on the disk is exactly what was read, synced."""

    def __init__(self, disk: Disk, *, segment_bytes: int) -> None:
        self._disk = disk
        self._segment_bytes = segment_bytes
        self.recovered = Recovered()
        self.segments: list[DiskFile] = []
        self.chain = 0
        self.first = 1  # number of the first segment that is there
        self.ends: list[int] = []  # last index of the log at the end of each segment
        self._end = _End()
        self._torn: dict[int, int] = {}  # segment → where the last header behind the end ends in it

    def run(self) -> None:
        """Read, judge, repair. Raises `CorruptLog`, `NewerLogFormat`, `DiskFailed`."""
        self.read()
        if not self.segments:
            self.segments = [make_segment(self._disk, 1, size_bytes=self._segment_bytes)]
            self.ends = [0]
        self._rewrite_tail()

    def read(self) -> None:
        """Read and judge; nothing is written. What can be read before a damage is there when this raises."""
        names = [name for name in self._disk.names() if name.endswith(SUFFIX)]
        self.first = number_of(names[0]) if names else 1
        if self.first > 1:
            self.recovered.base_index = None
        wanted = [segment_name(number) for number in range(self.first, self.first + len(names))]
        there = [name for name, number in zip(names, wanted, strict=True) if name == number]
        self.segments = [self._disk.open(name) for name in there]
        self._read()
        if names != wanted:
            raise CorruptLog(
                names[0], offset=0, reason=f"the segments are {', '.join(names)}, some are missing"
            )
        self._refuse_damage()

    @property
    def number(self) -> int:
        """The segment that is written to next."""
        return self.first + self._end.segment

    @property
    def position(self) -> int:
        """Where the log ends."""
        return self._position(self._end.segment, self._end.offset)

    @property
    def ends_with_mark(self) -> bool:
        """Whether the last batch is an empty one, which proves all before it to be synced."""
        return self._end.last is None or self._end.last.payload_bytes == 0

    def _position(self, segment: int, offset: int) -> int:
        return (self.first - 1 + segment) * self._segment_bytes + offset

    def _read(self) -> None:
        for segment, file in enumerate(self.segments):
            data = file.read()
            if len(data) != self._segment_bytes:
                raise CorruptLog(file.name, offset=len(data), reason=f"not {self._segment_bytes} bytes long")
            offset = self._read_segment(segment, data, file.name)
            if not offset:
                return  # nothing here continues what came before, or the first batch that is kept is damaged
            self.ends.append(self.recovered.last_index)
            self._end.segment, self._end.offset = segment, offset

    def _read_segment(self, segment: int, data: bytes, name: str) -> int:
        offset = 0
        while True:
            header = read_header(data, offset, position=self._position(segment, offset), name=name)
            begins_here = self.first > 1 and self._end.last is None  # what came before is not kept
            if header is None or (header.chain_before != self.chain and not begins_here):
                return offset
            payload = payload_of(data, offset, header)
            if payload is None:
                return offset
            try:
                self.recovered.replay(payload)
            except QueueError as error:
                raise CorruptLog(name, offset=offset, reason=str(error)) from error
            self.chain, self._end.last = header.chain, header
            offset += HEADER_BYTES + header.payload_bytes

    def _refuse_damage(self) -> None:
        """A later batch may have recorded that what we cannot read was synced: then it is no torn tail.

        What lies behind the end and does not say that it belongs there is from an earlier use of the segment.
        """
        for segment in range(self._end.segment, len(self.segments)):
            file = self.segments[segment]
            data = file.read()
            offset = data.find(MAGIC, self._end.offset if segment == self._end.segment else 0)
            while offset >= 0:
                header = read_header(data, offset, position=self._position(segment, offset), name=file.name)
                if header is not None:
                    self._torn[segment] = offset + HEADER_BYTES
                if header is not None and header.synced > self.position:
                    damaged = self.segments[self._end.segment].name
                    reason = f"a batch at byte {header.position} of the log came after it"
                    raise CorruptLog(damaged, offset=self._end.offset, reason=reason)
                offset = data.find(MAGIC, offset + 1)

    def _rewrite_tail(self) -> None:
        """Write what was read after the newest mark once more, zeros over what is torn behind it, and sync.

        It may have been in the system's cache only, and a cache may lie after an error of the disk. A whole
        batch of a torn tail must go: a batch like its lost predecessor would bring it back.
        """
        synced = self._end.last.synced if self._end.last is not None else 0
        for segment, file in enumerate(self.segments):
            if self.first - 1 + segment < synced // self._segment_bytes:
                continue
            data = file.read()
            start = max(0, synced - self._position(segment, 0))
            if segment > self._end.segment:
                stop = 0
            elif segment == self._end.segment:
                stop = self._end.offset
            else:
                stop = len(data)
            changed = start < stop
            if changed:
                file.write_at(start, data[start:stop])
            if segment in self._torn:
                write_zeros(file, stop, self._torn[segment])
                changed = True
            if changed:
                file.sync()
