"""A leader whose disk stalls gives leadership away, or stays and says so (checklist 1.13, 1.14)."""

from pathlib import Path
from threading import Event

from replicated_queue.raft.messages import Append
from replicated_queue.raft.raft import Raft
from replicated_queue.slow_disk import DiskTrouble, DiskWatch, Unsynced
from replicated_queue.storage.disk import Disk, RealDisk, RealFile
from tests.replicated_queue.raft_group import RaftGroup
from tests.replicated_queue.service_group import ServiceGroup, proposed
from tests.waiting import eventually


def leader_with_slow_disk(*deaf: int) -> tuple[Raft, Unsynced]:
    """1 leads and its disk takes the newest entry at time 10 and does not let go; the deaf never get it."""
    group = RaftGroup()
    leader = group.elect(1)
    group.slow_disks = {1}
    index = leader.propose([b"waits"])
    group.settle(lose=lambda message: isinstance(message, Append) and message.to in deaf)
    return leader, Unsynced(10.0, index)


def judged(
    watch: DiskWatch, leader: Raft, oldest: Unsynced | None, now: float, *, is_full: bool = False
) -> DiskTrouble | None:
    assert leader.replication is not None
    return watch.judge(leader.replication, oldest, is_full=is_full, now=now)


def test_a_write_that_waits_for_a_second_costs_the_leader_its_place() -> None:
    leader, oldest = leader_with_slow_disk()

    verdicts = [judged(DiskWatch(), leader, oldest, now) for now in (10.9, 11.0, 11.1)]

    assert verdicts[:2] == [None, None]
    assert verdicts[2] is not None and verdicts[2].successor == 3


def test_only_a_voter_whose_disk_has_taken_what_ours_has_not_is_fit_to_lead() -> None:
    leader, oldest = leader_with_slow_disk(3)

    verdict = judged(DiskWatch(), leader, oldest, 12.0)

    assert verdict is not None and verdict.successor == 2


def test_a_voter_that_has_taken_no_more_than_we_have_is_not_fit_to_lead() -> None:
    """Its disk may stand still as well: all of them may be one machine's."""
    leader, oldest = leader_with_slow_disk(2, 3)

    verdict = judged(DiskWatch(), leader, oldest, 12.0)

    assert verdict is not None and verdict.successor == 0


def test_a_leader_with_nobody_fit_to_follow_it_stays_and_says_so_once() -> None:
    lone = RaftGroup(9)
    leader, watch = lone.elect(9), DiskWatch()

    first = judged(watch, leader, Unsynced(10.0, 5), 12.0)
    again = judged(watch, leader, Unsynced(10.0, 5), 13.0)

    assert first is not None and first.successor == 0
    assert again is None


def test_leadership_is_not_given_away_twice_within_thirty_seconds() -> None:
    leader, oldest = leader_with_slow_disk()
    watch = DiskWatch()

    verdicts = [judged(watch, leader, oldest, now) for now in (12.0, 41.9, 42.1)]

    assert [verdict is not None for verdict in verdicts] == [True, False, True]


def test_a_disk_that_owes_nothing_is_well() -> None:
    leader, _ = leader_with_slow_disk()

    assert judged(DiskWatch(), leader, None, 1000.0) is None


def test_a_leader_whose_disk_is_full_hands_over_and_tries_again_after_a_while() -> None:
    leader, _ = leader_with_slow_disk()
    watch = DiskWatch()

    verdicts = [judged(watch, leader, None, now, is_full=True) for now in (0.0, 4.9, 5.1)]

    assert [verdict is not None and verdict.successor == 3 for verdict in verdicts] == [True, False, True]


class StallingDisk(RealDisk):
    """Its files' syncs wait while `go` is not set."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.go = Event()
        self.go.set()

    def open(self, name: str) -> RealFile:
        file = super().open(name)
        wait_and_sync = file.sync

        def sync() -> None:
            assert self.go.wait(30)
            wait_and_sync()

        file.sync = sync  # type: ignore[method-assign]
        return file


async def test_services_move_leadership_off_a_disk_that_stands_still_and_lose_nothing(tmp_path: Path) -> None:
    """Checklist 1.13: commits go on meanwhile, for two other disks are enough."""
    disks: dict[Path, StallingDisk] = {}

    def open_disk(directory: Path) -> Disk:
        disks[directory] = StallingDisk(directory)
        return disks[directory]

    async with ServiceGroup(tmp_path, open_disk=open_disk) as group:
        old = await group.elected()
        stalled = disks[tmp_path / str(group.id_of(old))]
        await eventually(lambda: all(service.commit_index == 1 for service in group.services.values()))
        stalled.go.clear()

        result = await proposed(old, b"while it stands still")
        await eventually(lambda: not old.is_leader, within_seconds=10)
        stalled.go.set()
        new = await group.elected()

        assert result.endswith(b"while it stands still")
        assert new is not old
