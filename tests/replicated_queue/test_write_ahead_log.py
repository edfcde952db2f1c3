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
from replicated_queue.storage.segments import ASIDE_MAX, segment_name
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


def aside(disk: SimulatedDisk) -> list[str]:
    return [name for name in disk.names() if name.endswith(".old")]


def compacted(count: int, *, upto: int) -> tuple[SimulatedDisk, Wal]:
    """A log of `count` entries, of which two snapshots cover those up to `upto`."""
    disk = SimulatedDisk()
    wal = open_wal(disk)
    for index in range(1, count + 1):
        wal.append(record(entry(index)), last_index=index)
    wal.forget_upto(upto)
    return disk, wal


def test_a_segment_that_is_needed_no_more_becomes_the_next_one_and_is_not_zeroed_again() -> None:
    disk, wal = compacted(40, upto=25)
    (oldest, *_) = aside(disk)
    file, newest = disk.files[oldest], max(name for name in disk.names() if name.endswith(".wal"))
    writes = len(file.unsynced)

    wal.prepare_spare()

    following = segment_name(int(newest.removesuffix(".wal"), 16) + 1)
    assert disk.files[following] is file and oldest not in disk.names()
    assert len(file.unsynced) == writes and file.cached.count(0) < SEGMENT_BYTES


def test_no_more_segments_lie_aside_than_are_soon_needed() -> None:
    disk, _ = compacted(200, upto=190)

    assert len(aside(disk)) == ASIDE_MAX


def test_what_a_segment_held_before_is_neither_read_nor_taken_for_damage() -> None:
    disk, wal = compacted(40, upto=38)
    for index in range(41, 61):
        wal.append(record(entry(index)), last_index=index)
    newest = disk.files[max(name for name in disk.names() if name.endswith(".wal"))]

    recovered = open_wal(disk).take_recovered()

    assert any(entry(old).data in newest.cached for old in range(1, 39))
    assert recovered.entries[-20:] == [entry(index) for index in range(41, 61)]
    assert recovered.last_index == 60


@pytest.mark.parametrize("operation", range(0, 240, 2))
def test_a_power_cut_at_any_step_of_a_log_that_uses_segments_again_loses_nothing(operation: int) -> None:
    for seed in range(4):
        live_and_die(Random(seed), SimulatedDisk(), lives=1, cut_after=operation)


@pytest.mark.parametrize("seed", range(150))
def test_power_cuts_over_and_over_lose_nothing_where_segments_are_used_again(seed: int) -> None:
    live_and_die(Random(seed), SimulatedDisk(), lives=8)


def live_and_die(random: Random, disk: SimulatedDisk, *, lives: int, cut_after: int | None = None) -> None:
    """Append, forget what snapshots would cover, prepare and lose the power, and look what is there."""
    acknowledged = forgotten = 0
    sizes: dict[int, int] = {}
    for _ in range(lives):
        disk.cut_after = disk.operations + (random.randrange(120) if cut_after is None else cut_after)
        try:
            wal = open_wal(disk)
            acknowledged = check(wal, acknowledged, forgotten, sizes)
            while True:
                index = acknowledged + 1
                sizes[index] = random.randrange(1, 800)
                wal.append(record(entry(index, size=sizes[index])), last_index=index)
                acknowledged = index
                if random.random() < 0.2:
                    forgotten = random.randrange(forgotten, acknowledged + 1)
                    wal.forget_upto(forgotten)
                if random.random() < 0.3 and wal.wants_spare:
                    wal.prepare_spare()
        except PowerCut:
            disk.lose_power(random)
    check(open_wal(disk), acknowledged, forgotten, sizes)


def check(wal: Wal, acknowledged: int, forgotten: int, sizes: dict[int, int]) -> int:
    """All that was acknowledged and not forgotten is there, and nothing else; the last index."""
    recovered = wal.take_recovered()
    first = recovered.last_index - len(recovered.entries) + 1
    assert first <= forgotten + 1 and acknowledged <= recovered.last_index <= acknowledged + 1
    assert recovered.entries == [
        entry(index, size=sizes[index]) for index in range(first, recovered.last_index + 1)
    ]
    return recovered.last_index


def test_damage_is_refused_also_where_a_segment_is_used_again() -> None:
    disk, wal = compacted(40, upto=38)
    for index in range(41, 71):
        wal.append(record(entry(index)), last_index=index)
    segments = [name for name in disk.names() if name.endswith(".wal")]

    disk.files[segments[-2]].flip_bit(300)

    with pytest.raises(CorruptLog):
        open_wal(disk)


def test_a_tail_is_cut_also_where_a_segment_is_used_again() -> None:
    for seed in range(20):
        disk, wal = compacted(40, upto=38)
        for index in range(41, 61):
            wal.append(record(entry(index)), last_index=index)
        disk.cut_after = disk.operations + 1
        with pytest.raises(PowerCut):
            wal.append(record(entry(61, size=700)), last_index=61)
        disk.lose_power(Random(seed))

        wal = open_wal(disk)
        last = wal.take_recovered().last_index
        wal.append(record(entry(last + 1)), last_index=last + 1)

        assert last in (60, 61)
        assert open_wal(disk).take_recovered().last_index == last + 1


def test_what_was_aside_is_used_after_a_restart_too_unless_it_has_another_size() -> None:
    disk, _ = compacted(40, upto=38)
    other = disk.create("00000000000000ff.old")
    other.reserve(SEGMENT_BYTES // 2)
    kept = [name for name in aside(disk) if name != other.name]

    wal = open_wal(disk)
    wal.prepare_spare()

    assert kept and aside(disk) == kept[1:]


def test_a_full_disk_has_room_for_the_next_segment_where_one_lies_aside() -> None:
    disk, wal = compacted(40, upto=38)
    disk.fill()

    wal.prepare_spare()

    assert wal.has_spare


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
