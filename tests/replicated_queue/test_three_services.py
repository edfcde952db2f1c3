"""Replica services on a real event loop and real disks: what only the shell can get wrong."""

import asyncio
from pathlib import Path

import pytest

from replicated_queue.codec import encode_frame
from replicated_queue.errors import Busy, JobTooLarge, NotLeader, OutcomeUnknown
from replicated_queue.raft.messages import EntryId, PreVote
from replicated_queue.storage.errors import CorruptLog, DirectoryLocked, DiskFailed
from tests.replicated_queue.service_group import ServiceGroup, proposed
from tests.replicated_queue.simulated_disk import SimulatedDisk
from tests.waiting import eventually

FAST = {"heartbeat_seconds": 0.05, "election_timeout_seconds": 0.2, "segment_bytes": 256 * 1024}


async def test_a_proposal_is_answered_with_the_result_and_applied_on_all_three(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, **FAST) as group:
        leader = await group.elected()

        results = await asyncio.gather(*(proposed(leader, b"%d" % number) for number in range(100)))

        assert [result.split(b":")[1] for result in results] == [b"%d" % number for number in range(100)]
        await eventually(lambda: all(len(journal.data) == 100 for journal in group.journals.values()))
        assert group.journals[1].commands == group.journals[2].commands == group.journals[3].commands


async def test_all_three_restarted_have_everything_that_was_answered(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, **FAST) as group:
        leader = await group.elected()
        for start in range(0, 600, 100):
            await asyncio.gather(*(proposed(leader, b"%d" % (start + number) * 500) for number in range(100)))
        before = list(group.journals[group.id_of(leader)].commands)
        assert len(list((tmp_path / "1").glob("*.wal"))) > 1  # so that reading crosses segments
        for peer in group.voters:
            await group.stop(peer)

        for peer in group.voters:
            group.start(peer)

        await group.elected()
        await eventually(lambda: all(journal.commands == before for journal in group.journals.values()))


async def test_when_the_leader_goes_another_takes_over_and_time_runs_forwards(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, **FAST) as group:
        leader = await group.elected()
        await proposed(leader, b"before")
        lost = group.id_of(leader)
        await group.stop(lost, resets_links=True)

        successor = await group.elected()
        await proposed(successor, b"after")
        group.start(lost)

        await eventually(lambda: group.journals[lost].data == [b"before", b"after"])
        stamps = [now for _, now, _ in group.journals[lost].commands]
        assert stamps == sorted(stamps)


async def test_a_follower_refuses_proposals_and_names_the_leader(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, **FAST) as group:
        leader = await group.elected()
        leader_id = group.id_of(leader)
        follower = next(service for service in group.services.values() if service is not leader)
        await eventually(lambda: follower.leader_id == leader_id)

        with pytest.raises(NotLeader) as refusal:
            proposed(follower, b"data")

        assert refusal.value.leader == leader_id


async def test_a_cut_off_leader_steps_down_and_its_waiters_hear_unknown_not_failed(tmp_path: Path) -> None:
    """Checklist 1.12; thesis §6.2."""
    async with ServiceGroup(tmp_path, **FAST) as group:
        leader = await group.elected()
        group.cut_off.add(group.id_of(leader))

        waiting = proposed(leader, b"data")

        with pytest.raises(OutcomeUnknown):
            await asyncio.wait_for(waiting, 5)
        assert not leader.is_leader
        assert not leader.has_quorum


async def test_a_node_that_comes_back_from_a_cut_does_not_disturb_the_leader(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, **FAST) as group:
        leader = await group.elected()
        term = leader.term
        follower = next(peer for peer, service in group.services.items() if service is not leader)
        group.cut_off.add(follower)
        await eventually(lambda: group.services[follower].leader_id is None)

        group.cut_off.clear()

        await eventually(lambda: group.services[follower].leader_id == group.id_of(leader))
        assert leader.is_leader and leader.term == term


async def test_leadership_is_handed_over_on_request(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, **FAST) as group:
        leader = await group.elected()
        await proposed(leader, b"data")

        await leader.transfer_leadership()

        assert not leader.is_leader
        successor = await group.elected(within_seconds=1)
        assert successor is not leader


async def test_leadership_is_announced_after_the_no_op_is_applied_and_its_end_too(tmp_path: Path) -> None:
    """Checklist 1.4."""
    async with ServiceGroup(tmp_path, voters=(1,), **FAST) as group:
        service = group.services[1]
        heard: list[tuple[bool, int, int]] = []
        service.on_leadership(lambda leads, term: heard.append((leads, term, service.applied_index)))

        await eventually(lambda: heard)
        await group.stop(1)

        assert heard == [(True, 1, 1), (False, 1, 0)]


async def test_a_follower_is_told_of_each_leader(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, **FAST) as group:
        leader = await group.elected()
        follower = next(service for service in group.services.values() if service is not leader)
        await eventually(lambda: follower.leader_id == group.id_of(leader))
        told: list[int | None] = []
        follower.on_leader(lambda: told.append(follower.leader_id))

        await leader.transfer_leadership()
        successor = await group.elected()
        await eventually(lambda: follower.leader_id == group.id_of(successor))
        await eventually(lambda: told)

        assert told[-1] == group.id_of(successor)


async def test_a_leader_with_too_much_in_flight_is_busy_and_did_nothing(tmp_path: Path) -> None:
    """Checklist 1.45."""
    async with ServiceGroup(tmp_path, max_uncommitted_proposals=10, **FAST) as group:
        leader = await group.elected()
        accepted = [proposed(leader, b"data") for _ in range(10)]

        with pytest.raises(Busy):
            proposed(leader, b"one more")

        await asyncio.gather(*accepted)
        await proposed(leader, b"now there is room")
        with pytest.raises(JobTooLarge):
            proposed(leader, bytes(300 * 1024))


async def test_a_second_service_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, voters=(1,), **FAST) as group:
        await group.elected()
        second = group.service_of(1)

        with pytest.raises(DirectoryLocked, match="in use by another running node"):
            await asyncio.wait_for(second.run(), 5)


async def test_a_failed_sync_ends_the_service_and_answers_nobody_with_success(tmp_path: Path) -> None:
    """Checklist 1.34."""
    disk = SimulatedDisk()
    async with ServiceGroup(tmp_path, voters=(1,), open_disk=lambda _: disk, **FAST) as group:
        leader = await group.elected()
        await proposed(leader, b"data")
        disk.is_sync_failing = True

        answer = proposed(leader, b"more")

        with pytest.raises(DiskFailed, match="can no longer keep its promises"):
            await asyncio.wait_for(group.runs[1], 5)
        with pytest.raises(OutcomeUnknown):
            await answer
        assert not leader.is_leader


async def test_a_damaged_log_stops_the_service_before_it_votes(tmp_path: Path) -> None:
    """Checklist 1.33."""
    async with ServiceGroup(tmp_path, **FAST) as group:
        leader = await group.elected()
        for count in (1, 2):  # what damages the last write is taken for a torn end
            await proposed(leader, b"data")
            await eventually(lambda count=count: len(group.journals[3].data) == count)  # type: ignore[misc]
        await group.stop(3)
        log = next((tmp_path / "3").glob("*.wal"))
        log.write_bytes(bytes([log.read_bytes()[0] ^ 1]) + log.read_bytes()[1:])

        group.start(3)

        with pytest.raises(CorruptLog, match="must not vote"):
            await asyncio.wait_for(group.runs[3], 5)


async def test_with_nothing_to_do_nothing_is_written(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, **FAST) as group:
        leader = await group.elected()
        await proposed(leader, b"data")
        await eventually(lambda: all(service.commit_index == 2 for service in group.services.values()))

        async def is_quiet() -> bool:
            """Whether nothing was written during twenty heartbeats."""
            before = {path: path.read_bytes() for path in tmp_path.rglob("*.wal")}
            sent = group.sent
            await eventually(lambda: group.sent > sent + 20)
            return {path: path.read_bytes() for path in tmp_path.rglob("*.wal")} == before

        # On a slow disk one replica still writes what the others have agreed on; a slow machine elects anew.
        assert any([await is_quiet() for _ in range(5)])


async def test_malformed_frames_are_counted_and_votes_of_strangers_not_answered(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, **FAST) as group:
        leader = await group.elected()
        peer = next(peer for peer in group.voters if group.services[peer] is not leader)

        leader.receive(peer, b"\xc1 no message")
        sent, term = group.sent, leader.term
        last = EntryId(term, leader.last_index)
        leader.receive(99, encode_frame(PreVote(sender=99, to=peer, term=term + 1, last=last), now=0))

        assert leader.malformed_frames == 1
        assert (leader.is_leader, leader.term, group.sent) == (True, term, sent)
        assert await proposed(leader, b"data") == b"2:data"
