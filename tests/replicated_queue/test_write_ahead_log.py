"""What the log keeps through power cuts, and what it refuses to guess (checklist 1.33 to 1.36)."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from threading import Event
from zlib import crc32

import pytest

from replicated_queue.codec import encode_record
from replicated_queue.raft.messages import Entry, HardState
from replicated_queue.storage.ballot import Ballot
from replicated_queue.storage.batch import CHECK, FIELDS, HEADER_BYTES, MAGIC
from replicated_queue.storage.disk import RealDisk
from replicated_queue.storage.errors import (
    CorruptLog,
    DirectoryLocked,
    DiskFailed,
    NewerLogFormat,
    NoRoom,
)
from replicated_queue.storage.segments import segment_name
from replicated_queue.storage.store import ReplicaStore
from replicated_queue.storage.wal import Wal
from replicated_queue.storage.writer import StoreWriter, Write, WriterCallbacks
from tests.replicated_queue.simulated_disk import SECTOR_BYTES, PowerCut, SimulatedDisk

SEGMENT_BYTES = 4096


def open_wal(disk: SimulatedDisk) -> Wal:
    return Wal(disk, segment_bytes=SEGMENT_BYTES)


def entry(index: int, *, term: int = 1, size: int = 100) -> Entry:
    return Entry(term, index, b"%d" % index * size)


def record(*entries: Entry, term: int = 1, vote: int = 2, commit: int = 0) -> bytes:
    return encode_record(HardState(term, vote, commit), entries)


def written(count: int) -> tuple[SimulatedDisk, list[Entry]]:
    """A disk with `count` batches of one entry, stopped without a word."""
    disk, entries = SimulatedDisk(), [entry(index) for index in range(1, count + 1)]
    wal = open_wal(disk)
    for one in entries:
        wal.append(record(one))
    return disk, entries


def test_a_log_that_is_opened_again_has_everything_across_segments() -> None:
    disk, entries = written(30)

    recovered = open_wal(disk).take_recovered()

    assert len(disk.files) > 1
    assert recovered.entries == entries
    assert recovered.hard_state == HardState(1, 2, 0)


def test_later_entries_replace_what_they_conflict_with() -> None:
    disk, entries = written(5)
    open_wal(disk).append(record(entry(3, term=2), term=2, commit=2))

    recovered = open_wal(disk).take_recovered()

    assert recovered.entries == [*entries[:2], entry(3, term=2)]
    assert recovered.hard_state == HardState(2, 2, 2)


@pytest.mark.parametrize("operation", range(60))
def test_a_power_cut_at_any_step_loses_nothing_that_was_acknowledged(operation: int) -> None:
    for seed in range(5):
        random, disk = Random(seed), SimulatedDisk()
        disk.cut_after = operation
        acknowledged: list[Entry] = []
        attempted = [entry(index, size=random.randrange(1, 800)) for index in range(1, 15)]

        try:
            wal = open_wal(disk)
            for one in attempted:
                wal.append(record(one))
                acknowledged.append(one)
        except PowerCut:
            pass
        disk.lose_power(random)
        recovered = open_wal(disk).take_recovered().entries

        assert recovered[: len(acknowledged)] == acknowledged
        assert recovered == attempted[: len(recovered)]


@pytest.mark.parametrize("seed", range(100))
def test_power_cuts_over_and_over_also_during_recovery_lose_nothing(seed: int) -> None:
    random, disk = Random(seed), SimulatedDisk()
    acknowledged: list[Entry] = []
    for _ in range(8):
        disk.cut_after = disk.operations + random.randrange(25)
        try:
            wal = open_wal(disk)
            acknowledged = wal.take_recovered().entries  # whoever reads it may promise it: it must stay
            while True:
                following = entry(len(acknowledged) + 1, size=random.randrange(1, 800))
                wal.append(record(following))
                acknowledged.append(following)
        except PowerCut:
            disk.lose_power(random)

    recovered = open_wal(disk).take_recovered().entries

    assert recovered[: len(acknowledged)] == acknowledged


def test_a_torn_tail_is_cut_and_writing_goes_on() -> None:
    disk, entries = written(3)
    disk.cut_after = disk.operations + 1
    with pytest.raises(PowerCut):
        open_wal(disk).append(record(entry(4)))
    disk.files["0000000000000001.wal"].lose_power(Random(1))
    disk.cut_after = None

    wal = open_wal(disk)
    kept = wal.take_recovered().entries
    wal.append(record(entry(len(kept) + 1)))

    assert kept[:3] == entries
    assert len(open_wal(disk).take_recovered().entries) == len(kept) + 1


def test_a_sector_that_was_lost_while_a_later_one_arrived_is_a_torn_tail() -> None:
    disk, entries = written(2)
    wal = open_wal(disk)
    file = disk.files["0000000000000001.wal"]
    before = bytes(file.durable)
    wal.append(record(entry(3, size=1500)))
    start = next(at for at in range(SEGMENT_BYTES) if before[at] != file.durable[at])
    for content in (file.cached, file.durable):
        content[start : start + SECTOR_BYTES] = bytes(SECTOR_BYTES)

    recovered = open_wal(disk).take_recovered().entries

    assert recovered == entries


@pytest.mark.parametrize("offset", [0, 5, 20, HEADER_BYTES, HEADER_BYTES + 60, 300])
def test_damage_before_a_recorded_sync_is_refused_not_cut(offset: int) -> None:
    disk, _ = written(5)
    disk.files["0000000000000001.wal"].flip_bit(offset)

    with pytest.raises(CorruptLog, match="must not vote"):
        open_wal(disk)


def test_after_a_restart_every_bit_of_the_old_log_is_guarded_the_last_batch_too() -> None:
    disk, _ = written(3)
    file = disk.files["0000000000000001.wal"]
    end = len(bytes(file.durable).rstrip(b"\0"))
    open_wal(disk)

    for offset in range(0, end, 7):
        file.flip_bit(offset)
        with pytest.raises(CorruptLog):
            open_wal(disk)
        file.flip_bit(offset)


def test_damage_in_an_earlier_segment_is_refused() -> None:
    disk, _ = written(30)
    first = disk.files["0000000000000001.wal"]
    first.flip_bit(len(bytes(first.durable).rstrip(b"\0")) - 1)

    with pytest.raises(CorruptLog, match=r"0000000000000001\.wal"):
        open_wal(disk)


@pytest.mark.parametrize("missing", [1, 2])
def test_a_missing_segment_is_refused(missing: int) -> None:
    disk, _ = written(60)
    Ballot(disk).cast(HardState(1, 2))
    del disk.files[segment_name(missing)]

    with pytest.raises(CorruptLog, match=r"missing|no snapshot that can be read"):
        ReplicaStore(disk, segment_bytes=SEGMENT_BYTES)


def test_a_log_of_a_newer_version_is_refused_with_advice() -> None:
    disk, _ = written(1)
    fields = FIELDS.pack(MAGIC, 9, 0, 0, 0, 0, 0)
    header = fields + CHECK.pack(crc32(fields))
    disk.files["0000000000000001.wal"].cached[: len(header)] = header

    with pytest.raises(NewerLogFormat, match="format 9"):
        open_wal(disk)


def test_what_was_only_cached_is_written_again_before_anything_is_promised() -> None:
    disk, entries = written(2)
    disk.cut_after = disk.operations + 1  # the process dies between write and sync, the machine does not
    with pytest.raises(PowerCut):
        open_wal(disk).append(record(entry(3)))
    disk.cut_after = None

    seen = open_wal(disk).take_recovered().entries
    disk.lose_power(Random(0))

    assert open_wal(disk).take_recovered().entries[: len(seen)] == seen
    assert seen[:2] == entries


def test_after_a_failed_sync_the_cache_is_not_believed_the_tail_is_written_again() -> None:
    """Checklist 1.34: the next start reads from a cache that holds what the disk does not."""
    disk, _ = written(2)
    wal = open_wal(disk)
    disk.is_sync_failing = True
    with pytest.raises(DiskFailed):
        wal.append(record(entry(3)))
    disk.is_sync_failing = False

    seen = open_wal(disk).take_recovered().entries
    disk.lose_power(Random(0))

    assert open_wal(disk).take_recovered().entries[: len(seen)] == seen


def test_opening_once_more_changes_nothing() -> None:
    disk, _ = written(3)
    open_wal(disk)
    before = {name: bytes(file.durable) for name, file in disk.files.items()}

    open_wal(disk)

    assert {name: bytes(file.durable) for name, file in disk.files.items()} == before


class SlowDisk(SimulatedDisk):
    """A disk whose syncs wait for `go`."""

    def __init__(self) -> None:
        super().__init__()
        self.go = Event()
        self.go.set()
        self.is_syncing = Event()

    def step(self, kind: str) -> None:
        super().step(kind)
        if kind == "sync":
            self.is_syncing.set()
            assert self.go.wait(10)


def told(
    *,
    on_cast: Callable[[int], None] = lambda number: None,
    on_durable: Callable[[int], None] = lambda number: None,
    on_room: Callable[[NoRoom | None], None] = lambda lacking: None,
    on_failure: Callable[[BaseException], None] = lambda error: None,
) -> WriterCallbacks:
    return WriterCallbacks(on_cast, on_durable, on_room, on_failure)


def test_what_queues_while_the_disk_is_busy_shares_the_next_sync() -> None:
    disk, durable, done = SlowDisk(), [], Event()
    store = ReplicaStore(disk, segment_bytes=SEGMENT_BYTES)

    def on_durable(number: int) -> None:
        durable.append(number)
        if number == 20:
            done.set()

    writer = StoreWriter(store, told(on_durable=on_durable, on_failure=lambda error: done.set()))
    disk.go.clear()
    disk.is_syncing.clear()
    writer.start()
    writer.submit(Write(1, HardState(1, 1, 0), [entry(1, size=1)]))
    assert disk.is_syncing.wait(10)
    for number in range(2, 21):
        writer.submit(Write(number, HardState(1, 1, 0), [entry(number, size=1)]))
    syncs = disk.syncs

    disk.go.set()

    assert done.wait(10)
    writer.stop()
    assert durable[0] == 1 and len(durable) <= 5
    assert disk.syncs - syncs <= 4
    assert len(open_wal(disk).take_recovered().entries) == 20


@pytest.mark.parametrize("commit", [0, 30, 59])
def test_a_write_larger_than_a_segment_goes_as_several_batches(commit: int) -> None:
    """With what is committed of it, as a follower has it that catches up."""
    disk, done = SimulatedDisk(), Event()
    store = ReplicaStore(disk, segment_bytes=SEGMENT_BYTES)
    writer = StoreWriter(store, told(on_durable=lambda number: done.set()))
    entries = [entry(index, size=200) for index in range(1, 60)]

    writer.start()
    writer.submit(Write(1, HardState(3, 1, commit), entries))
    assert done.wait(10)
    writer.stop()

    recovered = ReplicaStore(disk, segment_bytes=SEGMENT_BYTES).take_recovered()
    assert recovered.entries == entries
    assert recovered.hard_state == HardState(3, 1, commit)


def test_a_failed_sync_is_reported_and_nothing_is_acknowledged_after_it() -> None:
    """Checklist 1.34: the cache lies after an error, so there is no second try."""
    disk, failures, durable, failed = SimulatedDisk(), [], [], Event()
    store = ReplicaStore(disk, segment_bytes=SEGMENT_BYTES)
    store.ballot.cast(HardState(1, 1))
    disk.is_sync_failing = True

    def on_failure(error: BaseException) -> None:
        failures.append(error)
        failed.set()

    writer = StoreWriter(store, told(on_durable=durable.append, on_failure=on_failure))
    writer.start()
    writer.submit(Write(1, HardState(1, 1, 0), [entry(1)]))
    assert failed.wait(10)
    disk.is_sync_failing = False
    writer.submit(Write(2, HardState(1, 1, 0), [entry(2)]))
    writer.stop()

    assert isinstance(failures[0], DiskFailed)
    assert durable == []


def test_a_real_directory_is_locked_and_its_segments_are_full_size_from_the_start(tmp_path: Path) -> None:
    store = ReplicaStore(RealDisk(tmp_path / "log"), segment_bytes=SEGMENT_BYTES)
    store.wal.append(record(entry(1), term=0, vote=0))

    with pytest.raises(DirectoryLocked):
        RealDisk(tmp_path / "log")
    store.close()

    assert [path.stat().st_size for path in (tmp_path / "log").glob("*.wal")] == [SEGMENT_BYTES]
    reopened = ReplicaStore(RealDisk(tmp_path / "log"), segment_bytes=SEGMENT_BYTES)
    assert reopened.take_recovered().entries == [entry(1)]
    reopened.close()
