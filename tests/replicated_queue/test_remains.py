"""What a replica that does not run remembers, and a group of one made of it (checklist 1.33, 1.43)."""

import asyncio
from pathlib import Path
from random import Random

import pytest

from replicated_queue.codec import encode_command, encode_record
from replicated_queue.raft.membership import Change, ChangeKind, Membership, encode_changes
from replicated_queue.raft.messages import Entry, EntryId, HardState
from replicated_queue.storage.disk import RealDisk
from replicated_queue.storage.errors import NoRoom
from replicated_queue.storage.remains import Remains, membership_after, read_remains
from replicated_queue.storage.snapshots import name_of
from replicated_queue.storage.store import ReplicaStore
from replicated_queue.storage.survivor import entries_of_survivor, write_survivor
from tests.replicated_queue.service_group import ServiceGroup, proposed
from tests.replicated_queue.simulated_disk import SimulatedDisk
from tests.replicated_queue.test_snapshot_files import live, open_store, take
from tests.waiting import eventually

SEGMENT_BYTES = 4096
THREE = Membership.of((1, 2, 3))


def remains_of(disk: SimulatedDisk, *, founders: Membership = THREE, me: int = 1) -> Remains:
    return read_remains(disk, me=me, founders=founders, segment_bytes=SEGMENT_BYTES)


def change(index: int, kind: ChangeKind, node: int, *, term: int = 1) -> Entry:
    return Entry(term, index, encode_changes((Change(kind, node),)), True)


def command(term: int) -> Entry:
    return Entry(term, 1, encode_command(b"put", now=1_000))


def written(*entries: Entry, term: int = 1) -> SimulatedDisk:
    disk = SimulatedDisk()
    store = open_store(disk)
    store.ballot.cast(HardState(term, 0))
    for entry in entries:
        store.wal.append(encode_record(HardState(term, 0, 0), [entry]), last_index=entry.index)
    return disk


def contents(disk: SimulatedDisk) -> dict[str, bytes]:
    return {name: disk.open(name).read() for name in disk.names()}


def test_what_a_stopped_replica_remembers_is_read_and_nothing_is_written() -> None:
    disk = SimulatedDisk()
    live(disk, [], until=50)
    disk.create("snapshot.new").write_at(0, b"half a snapshot")
    before = contents(disk)

    remains = remains_of(disk)

    assert (remains.last, remains.term, remains.vote, remains.damage) == (EntryId(1, 50), 1, 1, "")
    assert remains.mark is not None and remains.mark.snapshot.last == EntryId(1, 40)
    assert [entry.index for entry in remains.entries] == list(range(41, 51))
    assert remains.membership == Membership.of((1, 2, 3), (4,))  # of the snapshot
    assert contents(disk) == before


def test_members_are_those_that_the_log_names_last() -> None:
    disk = written(change(1, ChangeKind.ADD_LEARNER, 4), change(2, ChangeKind.REMOVE, 2))

    remains = remains_of(disk)

    assert remains.membership == Membership.of((1, 3), (4,))
    assert remains.other_voters == (3,) and not remains.is_only_voter
    assert remains_of(disk, founders=Membership.of((1, 2))).is_only_voter


def test_cluster_time_is_that_of_the_newest_command() -> None:
    disk = written(
        Entry(1, 1, b""),
        Entry(1, 2, encode_command(b"put", now=5_000)),
        change(3, ChangeKind.ADD_LEARNER, 4),
    )

    assert remains_of(disk).cluster_time == 5_000


def test_of_a_damaged_log_what_stands_before_the_damage_is_left_and_the_rest_is_named() -> None:
    disk = SimulatedDisk()
    live(disk, [], until=30)
    disk.files["0000000000000001.wal"].flip_bit(300)

    remains = remains_of(disk)

    assert "0000000000000001.wal is damaged at byte" in remains.damage
    assert remains.last == EntryId(1, 20)  # the snapshot's: it needs nothing of the log before it


def test_a_log_with_a_missing_segment_is_read_as_far_as_it_goes() -> None:
    disk = SimulatedDisk()
    store = open_store(disk)
    for index in range(1, 100):
        record = encode_record(HardState(1, 0, 0), [Entry(1, index, bytes(100))])
        store.wal.append(record, last_index=index)
    del disk.files["0000000000000002.wal"]

    remains = remains_of(disk)

    assert "some are missing" in remains.damage
    assert 20 < remains.last.index < 40


def test_a_lost_ballot_is_named() -> None:
    disk = written(command(3), term=3)
    del disk.files["ballot"]

    remains = remains_of(disk)

    assert "ballot" in remains.damage
    assert remains.term == 3


def test_with_nothing_left_nothing_is_claimed() -> None:
    remains = remains_of(SimulatedDisk())

    assert (remains.last, remains.cluster_time, remains.membership) == (EntryId(0, 0), 0, THREE)


@pytest.mark.parametrize(
    "founders", [THREE, Membership.of((2, 3), (1, 4)), Membership.of((1,)), Membership.of((1, 2, 3, 4, 5))]
)
def test_a_survivor_is_alone_after_its_changes_one_voter_at_a_time(founders: Membership) -> None:
    remains = remains_of(written(command(2), term=4), founders=founders)

    membership = founders
    entries = entries_of_survivor(remains)

    for index, entry in enumerate(entries, 2):
        assert (entry.index, entry.term) == (index, 5)
        before, membership = membership, membership_after(membership, entry)
        assert len(set(before.voters.ids) ^ set(membership.voters.ids)) <= 1
    assert membership == Membership.of((1,))


@pytest.mark.parametrize("until", [7, 50, 130])
def test_a_survivor_keeps_snapshot_and_entries_and_counts_all_as_agreed(until: int) -> None:
    source, target = SimulatedDisk(), SimulatedDisk()
    live(source, [], until=until)
    remains = remains_of(source)

    last = write_survivor(remains, source, target, segment_bytes=SEGMENT_BYTES)
    target.lose_power(Random(until))
    store = ReplicaStore(target, segment_bytes=SEGMENT_BYTES)
    recovered = store.take_recovered()

    assert recovered.mark == remains.mark
    assert recovered.entries[: len(remains.entries)] == list(remains.entries)
    assert (recovered.last_index, recovered.hard_state.commit) == (last.index, last.index)
    assert (store.ballot.term, store.ballot.vote) == (remains.term + 1, 0)
    assert remains_of(target).membership == Membership.of((1,))


def test_a_survivor_for_which_there_is_no_room_is_refused() -> None:
    source, target = SimulatedDisk(), SimulatedDisk()
    live(source, [], until=130)
    remains = remains_of(source)
    target.capacity_bytes = 3 * SEGMENT_BYTES

    with pytest.raises(NoRoom):
        write_survivor(remains, source, target, segment_bytes=SEGMENT_BYTES)


async def test_one_of_three_goes_on_alone_with_all_that_it_had_and_takes_changes_again(
    tmp_path: Path,
) -> None:
    async with ServiceGroup(tmp_path) as group:
        leader = await group.elected()
        for number in range(20):
            await proposed(leader, b"%d" % number)
        survivor = next(peer for peer in group.voters if peer != group.id_of(leader))
        await eventually(lambda: len(group.journals[survivor].data) == 20)
        for peer in group.voters:
            await group.stop(peer)
        _become_survivor(tmp_path / str(survivor), survivor)

        alone = group.start(survivor)
        await group.elected()
        await asyncio.wait_for(proposed(alone, b"after"), 5)

        assert group.journals[survivor].data == [b"%d" % number for number in range(20)] + [b"after"]


def _become_survivor(directory: Path, me: int) -> None:
    segment_bytes = 4 * 1024 * 1024
    source = RealDisk(directory)
    remains = read_remains(source, me=me, founders=THREE, segment_bytes=segment_bytes)
    target = RealDisk(directory.with_name("recovered"))
    write_survivor(remains, source, target, segment_bytes=segment_bytes)
    source.close()
    directory.rename(directory.with_name("before"))
    directory.with_name("recovered").rename(directory)


def test_a_snapshot_that_the_log_does_not_reach_is_still_better_than_nothing() -> None:
    disk = SimulatedDisk()
    live(disk, [], until=60)
    store = open_store(disk)
    take(store, 60)
    disk.files["0000000000000002.wal"].flip_bit(100)
    for name in disk.names():
        if name.endswith(".snapshot") and name != name_of(EntryId(1, 40)):
            disk.files[name].flip_bit(60)

    remains = remains_of(disk)

    assert remains.last.index >= 40
    assert remains.damage
