"""Reading the log at start: to where it ends, cut there or refused as damaged, and its tail written again."""

from dataclasses import dataclass, field

from ..codec import decode_records
from ..errors import QueueError
from ..raft.messages import Entry, HardState
from .batch import HEADER_BYTES, MAGIC, Header, payload_of, read_header
from .disk import Disk, DiskFile
from .errors import CorruptLog
from .segments import SUFFIX, make_segment, segment_name, write_zeros


@dataclass(slots=True)
class Recovered:
    """What a replica knew when it stopped."""

    hard_state: HardState = field(default_factory=HardState)
    entries: list[Entry] = field(default_factory=list)

    def replay(self, payload: bytes) -> None:
        """Do what one batch says, on top of all earlier ones."""
        for record in decode_records(payload):
            if record.entries:
                first = record.entries[0].index
                if not self.hard_state.commit < first <= len(self.entries) + 1:
                    raise QueueError(f"entry {first} does not follow on entry {len(self.entries)}")
                del self.entries[first - 1 :]
                self.entries.extend(record.entries)
            self.hard_state = record.hard_state

    def give_vote(self, term: int, vote: int) -> None:
        """What the ballot says. Raises `CorruptLog` if it is older than the log."""
        if term < self.hard_state.term:
            reason = f"it ends in term {term}, the log knows term {self.hard_state.term}"
            raise CorruptLog("the ballot", offset=0, reason=reason)
        self.hard_state = HardState(term, vote, self.hard_state.commit)


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
        self._end = _End()

    def run(self) -> None:
        """Read, judge, repair. Raises `CorruptLog`, `NewerLogFormat`, `DiskFailed`."""
        names = [name for name in self._disk.names() if name.endswith(SUFFIX)]
        wanted = [segment_name(number) for number in range(1, len(names) + 1)]
        if names != wanted:
            raise CorruptLog(
                names[0], offset=0, reason=f"the segments are {', '.join(names)}, some are missing"
            )
        self.segments = [self._disk.open(name) for name in names]
        if not self.segments:
            self.segments = [make_segment(self._disk, 1, size_bytes=self._segment_bytes)]
        self._read()
        self._refuse_damage()
        self._rewrite_tail()
        # The newest entries may be lost with a torn tail, and the commit index was never synced for itself.
        known = self.recovered.hard_state
        commit = min(known.commit, len(self.recovered.entries))
        self.recovered.hard_state = HardState(known.term, known.vote, commit)

    @property
    def number(self) -> int:
        """The segment that is written to next."""
        return self._end.segment + 1

    @property
    def position(self) -> int:
        """Where the log ends."""
        return self._position(self._end.segment, self._end.offset)

    @property
    def ends_with_mark(self) -> bool:
        """Whether the last batch is an empty one, which proves all before it to be synced."""
        return self._end.last is None or self._end.last.payload_bytes == 0

    def _position(self, segment: int, offset: int) -> int:
        return segment * self._segment_bytes + offset

    def _read(self) -> None:
        for segment, file in enumerate(self.segments):
            data = file.read()
            if len(data) != self._segment_bytes:
                raise CorruptLog(file.name, offset=len(data), reason=f"not {self._segment_bytes} bytes long")
            offset = self._read_segment(segment, data, file.name)
            if segment and not offset:
                return  # nothing here continues what came before
            self._end.segment, self._end.offset = segment, offset

    def _read_segment(self, segment: int, data: bytes, name: str) -> int:
        offset = 0
        while True:
            header = read_header(data, offset, position=self._position(segment, offset), name=name)
            if header is None or header.chain_before != self.chain:
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
        """A later batch may have recorded that what we cannot read was synced: then it is no torn tail."""
        for segment in range(self._end.segment, len(self.segments)):
            file = self.segments[segment]
            data = file.read()
            offset = data.find(MAGIC, self._end.offset if segment == self._end.segment else 0)
            while offset >= 0:
                header = read_header(data, offset, position=self._position(segment, offset), name=file.name)
                if header is not None and header.synced > self.position:
                    damaged = self.segments[self._end.segment].name
                    reason = f"a batch at byte {header.position} of the log came after it"
                    raise CorruptLog(damaged, offset=self._end.offset, reason=reason)
                offset = data.find(MAGIC, offset + 1)

    def _rewrite_tail(self) -> None:
        """Write what was read after the newest mark once more, and zeros behind it, and sync.

        It may have been in the system's cache only, and a cache may lie after an error of the disk.
        """
        synced = self._end.last.synced if self._end.last is not None else 0
        for segment, file in enumerate(self.segments):
            if segment < synced // self._segment_bytes:
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
            if data.count(0, stop) != len(data) - stop:
                write_zeros(file, stop, len(data))
                changed = True
            if changed:
                file.sync()
