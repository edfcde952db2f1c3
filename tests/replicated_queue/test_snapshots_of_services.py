"""Snapshots by running services: taken, restarted from, and sent to who was away (checklist 1.28 to 1.31)."""

import asyncio
from pathlib import Path

import pytest

from replicated_queue.errors import QueueError
from replicated_queue.service import ReplicaService
from replicated_queue.storage.disk import Disk
from tests.replicated_queue.service_group import ServiceGroup, proposed
from tests.replicated_queue.simulated_disk import SimulatedDisk
from tests.waiting import eventually

FAST = {
    "heartbeat_seconds": 0.05,
    "election_timeout_seconds": 0.3,
    "segment_bytes": 64 * 1024,
    "snapshot_floor_bytes": 100_000,
    "snapshot_factor": 1,
    "kept_log_bytes": 10_000,
}


async def fill(group: ServiceGroup, leader: ReplicaService, count: int, *, start: int = 0) -> list[bytes]:
    data = [b"%d " % number * 200 for number in range(start, start + count)]
    for begin in range(0, count, 100):
        await asyncio.gather(*(proposed(leader, one) for one in data[begin : begin + 100]))
    return data


def snapshots_of(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*.snapshot"))


async def test_a_log_that_grew_becomes_a_snapshot_and_a_restart_begins_there(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, **FAST) as group:
        leader = await group.elected()
        data = await fill(group, leader, 1_500)
        await eventually(
            lambda: all(len(snapshots_of(tmp_path / str(peer))) == 2 for peer in group.voters),
            within_seconds=20,
        )
        commands = list(group.journals[group.id_of(leader)].commands)
        assert "0000000000000001.wal" not in [path.name for path in (tmp_path / "1").glob("*.wal")]
        for peer in group.voters:
            await group.stop(peer)

        for peer in group.voters:
            group.start(peer)
        leader = await group.elected()
        await eventually(
            lambda: all(journal.commands[: len(commands)] == commands for journal in group.journals.values())
        )
        data += await fill(group, leader, 10, start=1_500)

        await eventually(lambda: all(journal.data == data for journal in group.journals.values()))
        stamps = [now for _, now, _ in group.journals[1].commands]
        assert stamps == sorted(stamps)


async def test_cluster_time_goes_on_from_a_snapshot_with_an_empty_log_behind_it(tmp_path: Path) -> None:
    disk = SimulatedDisk()
    async with ServiceGroup(tmp_path, voters=(1,), open_disk=lambda _: disk, **FAST) as group:
        leader = await group.elected()
        leader._replica._time.at_least(5_000_000)  # type: ignore[union-attr]
        await fill(group, leader, 400)
        await eventually(lambda: any(name.endswith(".snapshot") for name in disk.names()))
        await group.stop(1)
        for name in [name for name in disk.names() if name.endswith(".wal")]:
            disk.remove(name)

        leader = group.start(1)
        await group.elected()
        await proposed(leader, b"after")

        assert group.journals[1].commands[-1][1] >= 5_000_000


async def behind(group: ServiceGroup) -> tuple[ReplicaService, int, list[bytes]]:
    """A follower is away while the others forget what it needs."""
    leader = await group.elected()
    away = next(peer for peer in group.voters if peer != group.id_of(leader))
    await group.stop(away)
    data = await fill(group, leader, 800)
    await eventually(
        lambda: leader._replica is not None and leader._replica.raft.log.base.index > 100, within_seconds=20
    )
    return leader, away, data


async def test_who_was_away_for_too_long_gets_the_snapshot_and_then_the_log(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, **FAST) as group:
        leader, away, data = await behind(group)

        group.start(away)
        data += await fill(group, leader, 20, start=800)

        await eventually(lambda: group.journals[away].data == data, within_seconds=20)
        assert group.fetched > 0
        await group.stop(away)
        group.start(away)
        await eventually(lambda: group.journals[away].data == data, within_seconds=20)


async def test_a_snapshot_that_breaks_off_is_fetched_again(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, **FAST) as group:
        _, away, data = await behind(group)
        group.breaks_after = 1_000

        group.start(away)
        await eventually(lambda: group.fetched > 1_000, within_seconds=20)
        assert [path.name for path in (tmp_path / str(away)).glob("*.new")] in ([], ["incoming.new"])
        group.breaks_after = None

        await eventually(lambda: group.journals[away].data == data, within_seconds=30)


@pytest.mark.parametrize("is_of_now", [False, True])
async def test_a_leader_whose_snapshot_rots_on_the_disk_takes_another_for_who_needs_one(
    tmp_path: Path, is_of_now: bool
) -> None:
    """Checklist 1.28: nobody would install it, and the next one may not be due for days."""
    async with ServiceGroup(tmp_path, **{**FAST, "election_timeout_seconds": 3.0}) as group:  # it leads on
        leader, away, data = await behind(group)
        await eventually(lambda: not leader._snapshots._is_busy, within_seconds=20)
        if is_of_now:
            await have_snapshot_of_now(leader)
        newest = max((tmp_path / str(group.id_of(leader))).glob("*.snapshot"))
        damaged = bytearray(newest.read_bytes())
        damaged[len(damaged) // 2] ^= 4
        newest.write_bytes(damaged)

        group.start(away)

        await eventually(lambda: group.journals[away].data == data, within_seconds=40)
        assert damaged not in [path.read_bytes() for path in newest.parent.glob("*.snapshot")]


async def have_snapshot_of_now(leader: ReplicaService) -> None:
    """Then the next one will have its name."""
    leader._snapshots._take_soon()
    index = leader.applied_index
    await eventually(
        lambda: leader._replica.raft.log.snapshot.last.index == index,  # type: ignore[union-attr]
        within_seconds=20,
    )


async def test_who_goes_while_it_fetches_a_snapshot_is_offered_one_anew(tmp_path: Path) -> None:
    """Checklist 1.30: else its leader would wait for a minute, and an entry that needs its vote as well."""
    async with ServiceGroup(tmp_path, **FAST) as group:
        leader, away, _ = await behind(group)
        group.holds_fetches.clear()
        group.start(away)
        await eventually(lambda: group.is_fetching, within_seconds=20)
        assert away in leader._snapshots._offers

        await group.stop(away, resets_links=True)

        assert away not in leader._snapshots._offers
        group.holds_fetches.set()


async def test_votes_and_heartbeats_go_on_while_a_snapshot_is_fetched(tmp_path: Path) -> None:
    """Checklist 1.14."""
    async with ServiceGroup(tmp_path, **FAST) as group:
        leader, away, data = await behind(group)
        term = leader.term
        group.holds_fetches.clear()

        follower = group.start(away)
        await eventually(lambda: group.is_fetching, within_seconds=20)
        sent = group.sent
        await eventually(lambda: group.sent > sent + 60, within_seconds=20)

        assert leader.is_leader and leader.term == term and follower.leader_id == group.id_of(leader)
        group.holds_fetches.set()
        await eventually(lambda: group.journals[away].data == data, within_seconds=20)


async def test_a_leader_that_changes_in_the_middle_of_a_snapshot_does_no_harm(tmp_path: Path) -> None:
    """Checklist 1.30."""
    async with ServiceGroup(tmp_path, **FAST) as group:
        leader, away, data = await behind(group)
        group.holds_fetches.clear()
        group.start(away)
        await eventually(lambda: group.is_fetching, within_seconds=20)

        await leader.transfer_leadership()
        group.holds_fetches.set()
        successor = await group.elected()
        data += await fill(group, successor, 5, start=800)

        await eventually(lambda: group.journals[away].data == data, within_seconds=30)


async def test_a_full_disk_keeps_the_old_snapshot_and_the_log(tmp_path: Path) -> None:
    """Checklist 1.35."""
    disks: dict[Path, SimulatedDisk] = {}

    def open_disk(path: Path) -> Disk:
        return disks.setdefault(path, SimulatedDisk())

    async with ServiceGroup(tmp_path, voters=(1,), open_disk=open_disk, **FAST) as group:
        leader = await group.elected()
        disk = disks[tmp_path / "1"]
        await fill(group, leader, 100)
        segments = {f"{number:016x}.wal" for number in (1, 2)}  # the second is prepared beside the writing
        await eventually(lambda: segments <= disk.files.keys())
        disk.capacity_bytes = sum(file.size_bytes for file in disk.files.values()) + 70_000
        data = group.journals[1].data[:]
        await fill(group, leader, 60, start=100)
        await eventually(lambda: not leader._snapshots._wanted.is_set())
        disk.capacity_bytes = None
        await group.stop(1)

        group.start(1)
        await eventually(lambda: group.journals[1].data[: len(data)] == data)


@pytest.mark.parametrize("request_", [b"", b"\xc1", b"\x92\x01\x63"])
async def test_a_request_for_no_snapshot_is_refused(tmp_path: Path, request_: bytes) -> None:
    async with ServiceGroup(tmp_path, voters=(1,), **FAST) as group:
        leader = await group.elected()

        with pytest.raises(QueueError):
            async for _ in leader.serve_snapshot(2, request_):
                pass
