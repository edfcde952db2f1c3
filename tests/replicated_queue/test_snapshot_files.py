"""Snapshots on the disk: whole or not there, in order with the log, through power cuts (checklist 1.28, 1.32)."""

from random import Random

import pytest

from replicated_queue.codec import encode_record
from replicated_queue.errors import QueueError
from replicated_queue.raft.messages import Entry, EntryId, HardState, Snapshot
from replicated_queue.storage.errors import CorruptLog, DamagedSnapshot
from replicated_queue.storage.recovery import Recovered
from replicated_queue.storage.segments import segment_name
from replicated_queue.storage.snapshots import SnapshotFiles, SnapshotMark, name_of
from replicated_queue.storage.store import ReplicaStore
from tests.replicated_queue.simulated_disk import PowerCut, SimulatedDisk

SEGMENT_BYTES = 4096


def entry(index: int, *, term: int = 1, size: int = 150) -> Entry:
    return Entry(term, index, b"%d." % index * (size // 4))


def open_store(disk: SimulatedDisk) -> ReplicaStore:
    return ReplicaStore(disk, segment_bytes=SEGMENT_BYTES)


def append(store: ReplicaStore, *entries: Entry, commit: int = 0) -> None:
    record = encode_record(HardState(store.ballot.term, store.ballot.vote, commit), entries)
    store.wal.append(record, last_index=entries[-1].index)


def mark_at(index: int, *, term: int = 1) -> SnapshotMark:
    return SnapshotMark(Snapshot(EntryId(term, index), (1, 2, 3), (4,)), cluster_time=10 * index)


def take(store: ReplicaStore, index: int, *, term: int = 1) -> None:
    """What the shell does, in its order."""
    draft = store.snapshots.draft("own")
    draft.begin()
    for number in range(1, index + 1):
        draft.append(b"%d" % number)
    draft.end(mark_at(index, term=term))
    draft.publish(EntryId(term, index))
    needless = store.snapshots.forget_old()
    if needless:
        store.wal.forget_upto(needless)


def state_of(recovered: Recovered) -> list[int]:
    """The indexes that snapshot and log have together."""
    covered = [int(chunk) for chunk in recovered.reader.chunks()] if recovered.reader is not None else []
    return covered + [one.index for one in recovered.entries]


def live(disk: SimulatedDisk, acknowledged: list[int], *, until: int = 120) -> None:
    """Append entries and take a snapshot after every twenty of them."""
    store = open_store(disk)
    store.ballot.cast(HardState(1, 1))
    for index in range(len(acknowledged) + 1, until + 1):
        append(store, entry(index), commit=index - 1)
        acknowledged.append(index)
        if index % 20 == 0:
            take(store, index)


@pytest.mark.parametrize("operation", range(0, 420, 3))
def test_a_power_cut_at_any_step_of_snapshots_and_compaction_loses_nothing(operation: int) -> None:
    """Checklist 1.28: temporary file, sync, rename, sync of the directory, then the log."""
    for seed in range(3):
        random, disk = Random(seed), SimulatedDisk()
        disk.cut_after = operation + seed
        acknowledged: list[int] = []
        try:
            live(disk, acknowledged)
        except PowerCut:
            pass
        disk.lose_power(random)

        recovered = open_store(disk).take_recovered()

        found = state_of(recovered)
        assert found[: len(acknowledged)] == acknowledged
        assert found == list(range(1, len(found) + 1))


@pytest.mark.parametrize("seed", range(40))
def test_power_cuts_over_and_over_lose_nothing_and_the_log_stays_short(seed: int) -> None:
    random, disk = Random(seed), SimulatedDisk()
    acknowledged: list[int] = []
    for _ in range(10):
        disk.cut_after = disk.operations + random.randrange(150)
        try:
            recovered = open_store(disk).take_recovered()
            acknowledged = state_of(recovered)
            disk.files.copy()
            live(disk, acknowledged, until=400)
        except PowerCut:
            disk.lose_power(random)

    disk.cut_after = None
    assert state_of(open_store(disk).take_recovered())[: len(acknowledged)] == acknowledged


def test_two_snapshots_are_kept_and_the_log_back_to_the_older_one() -> None:
    disk = SimulatedDisk()
    live(disk, [], until=200)

    names = disk.names()

    assert [name for name in names if name.endswith(".snapshot")] == [
        name_of(EntryId(1, 180)),
        name_of(EntryId(1, 200)),
    ]
    segments = [name for name in names if name.endswith(".wal")]
    assert len(segments) < 5 and segments[0] != "0000000000000001.wal"


def test_a_damaged_snapshot_gives_way_to_the_older_one_and_the_log_behind_it() -> None:
    disk = SimulatedDisk()
    live(disk, [], until=150)
    disk.files[name_of(EntryId(1, 140))].flip_bit(60)

    recovered = open_store(disk).take_recovered()

    assert recovered.mark == mark_at(120)
    assert state_of(recovered) == list(range(1, 151))
    assert recovered.hard_state.commit >= 120


def test_a_damaged_snapshot_does_not_count_as_one_of_the_two_that_are_kept() -> None:
    disk = SimulatedDisk()
    live(disk, [], until=150)
    disk.files[name_of(EntryId(1, 140))].flip_bit(60)

    store = open_store(disk)
    store.take_recovered()
    take(store, 150)

    kept = [name for name in disk.names() if name.endswith(".snapshot")]
    assert kept == [name_of(EntryId(1, 120)), name_of(EntryId(1, 150))]


def test_damage_to_the_first_batch_that_is_kept_is_refused_also_where_the_next_segment_could_begin() -> None:
    """Checklist 1.33: what comes before is not kept, so nothing but its place tells that it is missing."""
    disk = SimulatedDisk()
    store = open_store(disk)
    for index in range(1, 81):
        append(store, entry(index), commit=index)
    take(store, 40)
    take(store, 70)
    kept = [name for name in disk.names() if name.endswith(".wal")]
    assert kept[0] != segment_name(1) and len(kept) > 2

    disk.files[kept[0]].flip_bit(100)

    with pytest.raises(CorruptLog):
        open_store(disk)


def test_with_all_snapshots_damaged_nothing_is_guessed() -> None:
    disk = SimulatedDisk()
    live(disk, [], until=200)
    for index in (180, 200):
        disk.files[name_of(EntryId(1, index))].flip_bit(60)

    with pytest.raises(CorruptLog, match="no snapshot that can be read"):
        open_store(disk)


def test_any_flipped_bit_and_any_missing_end_is_noticed() -> None:
    disk = SimulatedDisk()
    live(disk, [], until=20)
    file = disk.files[name_of(EntryId(1, 20))]
    reader = SnapshotFiles(disk).open(EntryId(1, 20))
    assert reader is not None and reader.check() == mark_at(20)

    for offset in range(file.size_bytes):
        file.flip_bit(offset)
        with pytest.raises(DamagedSnapshot):
            reader.check()
        file.flip_bit(offset)
    whole = bytes(file.cached)
    for size in range(len(whole)):
        file.cached[:] = whole[:size]
        with pytest.raises(DamagedSnapshot):
            reader.check()


def test_a_log_that_ends_before_its_snapshot_goes_on_behind_it_also_after_another_restart() -> None:
    """Checklist 1.32: entries that others committed may be in a snapshot and not in the own log."""
    disk = SimulatedDisk()
    live(disk, [], until=10)
    take(open_store(disk), 30)

    store = open_store(disk)
    recovered = store.take_recovered()
    append(store, entry(31), commit=30)
    again = open_store(disk).take_recovered()

    assert recovered.entries == [] and recovered.hard_state.commit == 30
    assert state_of(again) == list(range(1, 32))


def test_a_log_that_conflicts_with_its_snapshot_is_dropped() -> None:
    """Checklist 1.29: the power went between a leader's snapshot and the new log behind it."""
    disk = SimulatedDisk()
    live(disk, [], until=15)
    take(open_store(disk), 10, term=2)

    store = open_store(disk)
    recovered = store.take_recovered()
    append(store, entry(11, term=2), commit=10)

    assert recovered.entries == []
    assert state_of(open_store(disk).take_recovered()) == list(range(1, 12))


def test_a_snapshot_inside_a_matching_log_keeps_what_follows_it() -> None:
    """Checklist 1.29."""
    disk = SimulatedDisk()
    live(disk, [], until=15)
    take(open_store(disk), 10)

    recovered = open_store(disk).take_recovered()

    assert [one.index for one in recovered.entries] == [11, 12, 13, 14, 15]


def test_what_was_left_of_an_unfinished_snapshot_is_removed() -> None:
    disk = SimulatedDisk()
    store = open_store(disk)
    store.snapshots.draft("own").begin()
    store.snapshots.draft("incoming").append_raw(b"half")

    open_store(disk)

    assert [name for name in disk.names() if name.endswith(".new")] == []


def test_a_log_whose_first_kept_entries_were_replaced_from_before_them_is_read() -> None:
    """The segment in which the replaced entries began is covered by snapshots and gone."""
    recovered = Recovered(base_index=None)
    replaced = [entry(index, term=1) for index in (30, 31)]
    instead = [entry(index, term=2) for index in (26, 27)]

    recovered.replay(encode_record(HardState(term=1, vote=1, commit=25), replaced))
    recovered.replay(encode_record(HardState(term=2, vote=2, commit=25), instead))
    recovered.replay(encode_record(HardState(term=2, vote=2, commit=27), [entry(28, term=2)]))

    assert [(kept.index, kept.term) for kept in recovered.entries] == [(26, 2), (27, 2), (28, 2)]
    assert (recovered.base_index, recovered.last_index) == (25, 28)


@pytest.mark.parametrize("first", [25, 32])
def test_what_replaces_committed_entries_or_leaves_a_gap_is_refused(first: int) -> None:
    recovered = Recovered(base_index=None)
    recovered.replay(encode_record(HardState(term=1, vote=1, commit=25), [entry(30)]))

    with pytest.raises(QueueError, match=f"entry {first} does not follow"):
        recovered.replay(encode_record(HardState(term=2, vote=2, commit=25), [entry(first, term=2)]))
