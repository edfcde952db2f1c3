"""Full and read-only disks: no changes, leadership goes, and votes go on (checklist 1.35, 1.36)."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from threading import Condition

import pytest

from replicated_queue.errors import Busy, DiskFull
from replicated_queue.persistence import Persistence, PersistenceCallbacks
from replicated_queue.raft.messages import Entry, HardState, Ready
from replicated_queue.storage.ballot import COPY_BYTES, Ballot
from replicated_queue.storage.disk import Disk, RealDisk
from replicated_queue.storage.errors import CorruptLog, NoRoom
from replicated_queue.storage.segments import DRAFT_NAME, make_segment
from replicated_queue.storage.store import ReplicaStore
from replicated_queue.storage.writer import StoreWriter, Write, WriterCallbacks
from tests.replicated_queue.service_group import ServiceGroup, proposed
from tests.replicated_queue.simulated_disk import PowerCut, SimulatedDisk
from tests.waiting import eventually

SEGMENT_BYTES = 4096


def entry(index: int, *, size: int = 100) -> Entry:
    return Entry(1, index, b"%d" % index * size)


# The ballot


@pytest.mark.parametrize("operation", range(20))
def test_a_power_cut_at_any_step_of_a_vote_leaves_the_vote_before_or_the_new_one(operation: int) -> None:
    """Checklist 1.1."""
    for seed in range(400):
        random, disk = Random(seed), SimulatedDisk()
        disk.cut_after = operation
        promised = (0, 0)
        attempted = [(0, 0), (3, 0), (3, 2), (4, 1)]

        try:
            ballot = Ballot(disk)
            for term, vote in attempted[1:]:
                ballot.cast(HardState(term, vote))
                promised = (term, vote)
        except PowerCut:
            pass
        disk.lose_power(random)
        found = Ballot(disk)

        assert (found.term, found.vote) in attempted[attempted.index(promised) :][:2]


def test_a_copy_of_the_vote_that_rots_is_made_good_from_the_other() -> None:
    disk = SimulatedDisk()
    Ballot(disk).cast(HardState(7, 2))

    for offset in (10, COPY_BYTES + 10, 10):
        disk.files["ballot"].flip_bit(offset)
        healed = Ballot(disk)
        assert (healed.term, healed.vote) == (7, 2)


def test_a_vote_of_which_no_copy_can_be_read_is_refused_not_guessed() -> None:
    disk = SimulatedDisk()
    Ballot(disk).cast(HardState(7, 2))
    disk.files["ballot"].flip_bit(10)
    disk.files["ballot"].flip_bit(COPY_BYTES + 10)

    with pytest.raises(CorruptLog, match="must not vote"):
        Ballot(disk)


def store_with_entries(disk: SimulatedDisk) -> None:
    store = ReplicaStore(disk, segment_bytes=SEGMENT_BYTES)
    writer = StoreWriter(store, Told().callbacks())
    writer.start()
    writer.submit(Write(1, HardState(5, 1), [entry(1)]))
    writer.stop()


def test_a_log_without_its_ballot_or_with_an_older_one_is_refused() -> None:
    """Checklist 1.25: term and vote come before any entry of that term, so somebody changed the files."""
    disk = SimulatedDisk()
    store_with_entries(disk)
    ballot = disk.files.pop("ballot")
    with pytest.raises(CorruptLog, match="ballot is missing"):
        ReplicaStore(disk, segment_bytes=SEGMENT_BYTES)

    disk.files["ballot"] = ballot
    Ballot(disk).cast(HardState(4, 1))

    with pytest.raises(CorruptLog, match="term 4"):
        ReplicaStore(disk, segment_bytes=SEGMENT_BYTES)


# The writer


class Told:
    """What a writer told, and waiting for it."""

    def __init__(self) -> None:
        self.cast = self.durable = 0
        self.lacking: NoRoom | None = None
        self.failures: list[BaseException] = []
        self._changed = Condition()

    def callbacks(self) -> WriterCallbacks:
        return WriterCallbacks(
            on_cast=lambda number: self._note("cast", number),
            on_durable=lambda number: self._note("durable", number),
            on_room=lambda lacking: self._note("lacking", lacking),
            on_failure=self.failures.append,
        )

    def until(self, holds: Callable[["Told"], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: holds(self), timeout=10), vars(self)

    def _note(self, name: str, value: object) -> None:
        with self._changed:
            setattr(self, name, value)
            self._changed.notify_all()


def test_on_a_full_disk_votes_go_on_and_entries_wait_until_there_is_room() -> None:
    """Checklist 1.35."""
    disk, told = SimulatedDisk(), Told()
    writer = StoreWriter(ReplicaStore(disk, segment_bytes=SEGMENT_BYTES), told.callbacks())
    disk.fill()
    writer.start()

    entries = [entry(index, size=400) for index in range(1, 20)]  # more than one segment
    for number, one in enumerate(entries, 1):
        writer.submit(Write(number, HardState(1, 1), [one]))
    told.until(lambda told: told.lacking is not None)
    writer.submit(Write(20, HardState(2, 3), is_vote_awaited=True))

    told.until(lambda told: told.cast == 20)
    assert told.durable < 19
    voted = Ballot(disk)
    assert (voted.term, voted.vote) == (2, 3)
    disk.capacity_bytes = None
    told.until(lambda told: told.durable == 20 and told.lacking is None)
    writer.stop()
    assert told.failures == []
    assert ReplicaStore(disk, segment_bytes=SEGMENT_BYTES).take_recovered().entries == entries


def test_a_full_disk_is_told_while_there_is_still_room_for_what_is_under_way() -> None:
    """Checklist 1.35."""
    disk, told = SimulatedDisk(), Told()
    writer = StoreWriter(ReplicaStore(disk, segment_bytes=SEGMENT_BYTES), told.callbacks())
    disk.fill()
    writer.start()

    writer.submit(Write(1, HardState(1, 1), [entry(1, size=2200)]))

    told.until(lambda told: told.durable == 1 and told.lacking is not None)
    writer.submit(Write(2, HardState(1, 1), [entry(2)]))
    told.until(lambda told: told.durable == 2)
    writer.stop()


def test_a_disk_that_became_read_only_takes_no_vote_ends_nothing_and_goes_on_later() -> None:
    """Checklist 1.36."""
    disk, told = SimulatedDisk(), Told()
    writer = StoreWriter(ReplicaStore(disk, segment_bytes=SEGMENT_BYTES), told.callbacks())
    writer.start()
    disk.is_read_only = True

    writer.submit(Write(1, HardState(2, 3), is_vote_awaited=True))
    told.until(lambda told: told.lacking is not None)

    assert (told.cast, told.durable, told.failures) == (0, 0, [])
    disk.is_read_only = False
    told.until(lambda told: told.cast == 1 and told.durable == 1 and told.lacking is None)
    writer.stop()


def test_a_segment_that_finds_no_room_leaves_nothing_behind(tmp_path: Path) -> None:
    simulated = SimulatedDisk()
    simulated.capacity_bytes = 2 * SEGMENT_BYTES

    with pytest.raises(NoRoom):
        make_segment(simulated, 1, size_bytes=3 * SEGMENT_BYTES)

    assert simulated.names() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 3 MiB."""
    directory = tmp_path / "small"
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", directory], check=False)
    if mounted.returncode != 0:
        pytest.skip("needs root, to mount a small file system")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


def test_a_real_full_disk_and_a_real_read_only_one_refuse_and_leave_nothing_behind(small_disk: Path) -> None:
    """Checklist 1.35, 1.36."""
    disk = RealDisk(small_disk / "log")
    store = ReplicaStore(disk, segment_bytes=1024 * 1024)

    with pytest.raises(NoRoom, match="No space left"):
        make_segment(disk, 2, size_bytes=4 * 1024 * 1024)
    store.ballot.cast(HardState(3, 1))
    assert DRAFT_NAME not in disk.names()

    store.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(NoRoom, match="Read-only"):
        RealDisk(small_disk / "log")


# What the shell makes of it


def persistence_on(disk: Disk, path: Path, callbacks: PersistenceCallbacks | None = None) -> Persistence:
    def ignore(_: object) -> None:
        pass

    return Persistence(
        path,
        segment_bytes=SEGMENT_BYTES,
        open_disk=lambda _: disk,
        callbacks=callbacks or PersistenceCallbacks(ignore, ignore, ignore, ignore),
        make_writer=StoreWriter,
    )


async def test_entries_are_kept_with_the_newest_commit_index_also_one_that_was_not_worth_a_write(
    tmp_path: Path,
) -> None:
    """Checklist 1.21: a log that names a change must know, after a restart, that the one before is committed.

    Else two nodes that both forgot several changes could elect each other by an old membership.
    """
    disk = SimulatedDisk()
    persistence = persistence_on(disk, tmp_path)
    await persistence.open()
    both = [entry(1), entry(2)]
    persistence.write(
        Ready(term=1, last_index=2, hard_state=HardState(1, 1, 0), entries=both, must_sync=True), now=0
    )
    persistence.write(Ready(term=1, last_index=2, hard_state=HardState(1, 1, 2)), now=0)
    persistence.write(Ready(term=1, last_index=3, entries=[entry(3)], must_sync=True), now=0)
    await persistence.close()

    recovered = await persistence_on(disk, tmp_path).open()

    assert recovered.hard_state.commit == 2


FAST = {"heartbeat_seconds": 0.05, "election_timeout_seconds": 0.3, "segment_bytes": 64 * 1024}


def simulated_disks(directory: Path, disks: dict[Path, SimulatedDisk]) -> SimulatedDisk:
    return disks.setdefault(directory, SimulatedDisk())


async def test_a_leader_whose_disk_is_full_hands_over_and_nothing_is_lost(tmp_path: Path) -> None:
    """Checklist 1.35."""
    disks: dict[Path, SimulatedDisk] = {}
    async with ServiceGroup(tmp_path, open_disk=lambda path: simulated_disks(path, disks), **FAST) as group:
        old = await group.elected()
        me = group.id_of(old)
        disks[tmp_path / str(me)].fill()

        accepted: list[bytes] = []
        while old.is_leader:
            try:
                accepted.append((await proposed(old, b"%d " % len(accepted) * 2000)).split(b":", 1)[1])
            except Busy:  # its disk is full, or it already hands over
                await eventually(lambda: not old.is_leader, within_seconds=10)
        new = await group.elected()
        accepted.append((await proposed(new, b"after")).split(b":", 1)[1])

        assert new is not old and len(accepted) > 2
        await eventually(lambda: group.journals[me].data == accepted)


async def test_a_node_with_a_full_disk_still_votes(tmp_path: Path) -> None:
    """Checklist 1.35."""
    disks: dict[Path, SimulatedDisk] = {}
    async with ServiceGroup(tmp_path, open_disk=lambda path: simulated_disks(path, disks), **FAST) as group:
        leader = await group.elected()
        first, second = (peer for peer in group.voters if peer != group.id_of(leader))
        disks[tmp_path / str(first)].fill()
        term = leader.term

        await group.stop(group.id_of(leader), resets_links=True)

        successor = await group.elected()
        assert successor.term > term
        assert {first, second} == set(group.services)


async def test_a_full_disk_refuses_with_advice_and_takes_changes_again_by_itself(tmp_path: Path) -> None:
    """Checklist 1.35: there is nobody to hand over to."""
    disk = SimulatedDisk()
    async with ServiceGroup(tmp_path, voters=(1,), open_disk=lambda _: disk, **FAST) as group:
        leader = await group.elected()
        await proposed(leader, b"x" * 40_000)
        disk.fill()

        with pytest.raises(DiskFull, match="Free space there"):
            for _ in range(100):
                await proposed(leader, b"more" * 1000)
        assert leader.is_leader and not group.runs[1].done()
        assert "no room" in leader.warnings[0]
        disk.capacity_bytes = None

        async def is_taken() -> bool:
            try:
                await proposed(leader, b"again")
            except DiskFull:
                return False
            return True

        await eventually(is_taken)
