"""One machine of a simulated group: what its disk holds outlives its processes, and its clock is its own."""

from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from random import Random

from replicated_queue.codec import Frame, encode_record
from replicated_queue.raft.messages import Entry, HardState, Ready
from replicated_queue.replica import Replica
from replicated_queue.settings import ReplicaSettings
from replicated_queue.slow_disk import DiskWatch
from replicated_queue.storage.batch import HEADER_BYTES, read_header
from replicated_queue.storage.segments import SUFFIX, number_of
from replicated_queue.storage.snapshots import SnapshotMark
from replicated_queue.storage.store import ReplicaStore
from tests.replicated_queue.service_group import Journal
from tests.replicated_queue.simulated_disk import PowerCut, SimulatedDisk, SimulatedFile

SETTINGS = ReplicaSettings(
    max_append_bytes=2000,
    max_inflight_appends=4,
    max_uncommitted_bytes=20_000,
    max_apply_bytes=2000,
    segment_bytes=8 * 1024,
    snapshot_floor_bytes=300,
    snapshot_factor=1,
    kept_log_bytes=400,
)
Walk = Generator[float, None, None]  # work in steps, with the seconds between them


@dataclass
class Machine:
    """What is below `life` belongs to the process that runs now."""

    me: int
    disk: SimulatedDisk = field(default_factory=SimulatedDisk)
    clock: tuple[float, float, float] = (0.0, 0.0, 1.0)  # what it showed, when, and how fast it runs
    paused_until: float = 0.0
    disk_free_at: float = 0.0  # stalled until then
    is_rotten: bool = False  # bits of its disk have flipped
    must_refuse: tuple[str, SimulatedFile] | None = None  # a segment with a flipped bit before its end
    is_ruined: bool = False  # it found that out, and will never vote again

    life: int = 0  # counts starts; what belonged to an earlier one is void
    store: ReplicaStore | None = None
    replica: Replica | None = None  # None: off
    journal: Journal = field(default_factory=Journal)
    hard_state: HardState = field(default_factory=HardState)
    queued: list[tuple[HardState, Ready]] = field(default_factory=list)  # wait for the disk to be free
    writing: list[tuple[HardState, Ready]] = field(default_factory=list)
    records: deque[tuple[bytes, int | None]] = field(
        default_factory=deque
    )  # what is not written of `writing`
    unsynced_since: float = 0.0  # of the first Ready in `writing`
    wakes_at: float = 0.0
    disk_watch: DiskWatch = field(default_factory=DiskWatch)
    is_full: bool = False  # and it knows
    log_bytes: int = 0  # since the newest snapshot
    snapshot_bytes: int = 0
    must_take: bool = False  # for the newest snapshot was found damaged
    errand: Walk | None = None  # a snapshot is taken or received
    offered: Frame | None = None  # a leader's snapshot that was not fetched yet
    prepared: tuple[SnapshotMark, object] | None = None
    offers: dict[int, int] = field(default_factory=dict)  # to peers, each with its number

    @property
    def is_on(self) -> bool:
        return self.replica is not None

    def begin_life(self, journal: Journal) -> None:
        """A new process: nothing in memory."""
        self.life += 1
        self.journal = journal
        self.queued, self.writing, self.records = [], [], deque()
        self.disk_watch, self.is_full, self.must_take = DiskWatch(), False, False
        self.errand = self.offered = self.prepared = None
        self.offers, self.wakes_at = {}, 0.0

    def begin_writing(self) -> None:
        """All that queued goes to the disk as one."""
        self.writing, self.queued = self.queued, []
        assert self.store is not None
        most = self.store.wal.largest_payload_bytes // 4
        self.records = deque(record for written in self.writing for record in records_of(*written, most))

    def put_on_disk(self) -> None:
        """Write what is being written as the writer's thread would. Raises `NoRoom`: go on later."""
        assert self.store is not None
        newest, _ = self.writing[-1]
        if not self.store.ballot.holds(newest):
            self.store.ballot.cast(newest)
        while self.records:
            size, batch, last_index = 0, [], None
            for data, last in self.records:
                if size and size + len(data) > self.store.wal.largest_payload_bytes:
                    break
                size += len(data)
                batch.append(data)
                last_index = last if last is not None else last_index
            self.store.wal.append(b"".join(batch), last_index=last_index)
            for _ in batch:
                self.records.popleft()

    def lose_power(self, random: Random) -> None:
        """A write that was under way, or a step of a snapshot, may be there in part."""
        self.disk.cut_after = self.disk.operations + random.randrange(6)
        try:
            if self.errand is not None and random.random() < 0.5:
                next(self.errand, 0.0)
            if self.writing:
                self.put_on_disk()
        except Exception as error:
            if not isinstance(error, PowerCut) and not self.disk.capacity_bytes == 0:
                raise
        self.end_life()
        self.disk.lose_power(random, flips=0.05)

    def end_life(self) -> None:
        """The process is gone; what the system has cached is there."""
        self.replica = self.store = None
        errand, self.errand = self.errand, None
        if errand is not None:
            self.disk.cut_after = self.disk.operations  # nothing that it does on its way out counts
            try:
                errand.close()
            except PowerCut:
                pass
            self.disk.cut_after = None

    def rot(self, random: Random) -> None:
        """One bit that was synced flips. Not in the last batch: that one may pass for a torn tail (storage.md)."""
        if not self.disk.files:
            return
        self.is_rotten = True
        file = random.choice([file for _, file in sorted(self.disk.files.items())])
        if file.name.endswith(SUFFIX):
            last, start = self._last_batch(), (number_of(file.name) - 1) * SETTINGS.segment_bytes
            written = [range(at, at + length) for at, length in batches_of(file) if start + at < last]
            if written:
                file.flip_bit(random.choice(random.choice(written)))
                self.must_refuse = file.name, file
        elif file.durable:
            file.flip_bit(random.randrange(len(file.durable)))

    def _last_batch(self) -> int:
        """Position in the log of the last batch that is on the platter."""
        logs = [file for name, file in sorted(self.disk.files.items()) if name.endswith(SUFFIX)]
        starts = [
            (number_of(file.name) - 1) * SETTINGS.segment_bytes + start
            for file in logs
            for start, _ in batches_of(file)
        ]
        return max(starts, default=0)


def batches_of(file: SimulatedFile) -> Iterator[tuple[int, int]]:
    """Offset and length of each batch of a segment, as the platter has them."""
    data, offset = bytes(file.durable), 0
    first = (number_of(file.name) - 1) * SETTINGS.segment_bytes
    while (header := read_header(data, offset, position=first + offset, name=file.name)) is not None:
        yield offset, HEADER_BYTES + header.payload_bytes
        offset += HEADER_BYTES + header.payload_bytes


def records_of(hard: HardState, ready: Ready, most_bytes: int) -> Iterator[tuple[bytes, int | None]]:
    """What the log says of one `Ready`, each piece with its last index, as `StoreWriter` divides it."""
    base = ready.snapshot.last if ready.snapshot is not None else None
    if base is not None and not ready.entries:
        yield encode_record(hard, (), base=base), base.index
    for piece in pieces_of(ready.entries, most_bytes):
        last = piece[-1].index
        yield encode_record(hard._replace(commit=min(hard.commit, last)), piece, base=base), last
        base = None


def pieces_of(entries: list[Entry], most_bytes: int) -> Iterator[list[Entry]]:
    piece: list[Entry] = []
    size = 0
    for entry in entries:
        if piece and size + len(entry.data) > most_bytes:
            yield piece
            piece, size = [], 0
        piece.append(entry)
        size += len(entry.data)
    if piece:
        yield piece
