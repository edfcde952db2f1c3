"""Reserves that wait at the leader, and leases in its memory: nothing of it enters the log before it must."""

import asyncio

import pytest

from replicated_queue.errors import Busy, NoQuorum, OutcomeUnknown
from replicated_queue.queue.job import Job
from tests.replicated_queue.fake_group import FakeGroup
from tests.waiting import eventually


async def waiting_at(group: FakeGroup, count: int, *, leader: int = 1) -> None:
    await eventually(lambda: group.brokers[leader]._desk.waiting_count == count)


async def test_nothing_enters_the_log_while_reserves_wait() -> None:
    """Checklist 3.20."""
    async with FakeGroup() as group:
        await group.brokers[1].put("mail", b"far off", delay=3_600)
        waiting = [
            asyncio.create_task(group.brokers[1 + number % 3].reserve("mail", wait=60))
            for number in range(50)
        ]
        await waiting_at(group, 50)

        assert len(group.entries) == 1

        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await waiting_at(group, 0)
        assert len(group.entries) == 1


async def test_a_reserve_that_waited_in_vain_answers_none() -> None:
    async with FakeGroup() as group:
        assert await group.brokers[1].reserve("mail", wait=0.05) is None
        assert await group.brokers[2].reserve("mail", wait=0.05) is None
        assert await group.brokers[2].reserve("mail") is None
        assert group.entries == []


async def test_who_waited_longest_gets_the_next_job() -> None:
    async with FakeGroup() as group:
        got: list[tuple[str, Job | None]] = []

        async def wait(node_id: int, name: str) -> None:
            got.append((name, await group.brokers[node_id].reserve(["mail", "bills"], wait=20, worker=name)))

        async with asyncio.TaskGroup() as waiters:
            for count, (node_id, name) in enumerate(((2, "first"), (1, "second"), (3, "third")), 1):
                waiters.create_task(wait(node_id, name))
                await waiting_at(group, count)
            for count, topic in enumerate(("bills", "mail", "mail"), 1):
                await group.brokers[1].put(topic, b"work")
                await eventually(lambda count=count: len(got) == count)  # type: ignore[misc]

        assert [name for name, _ in got] == ["first", "second", "third"]
        assert all(job is not None for _, job in got)


async def test_a_newcomer_does_not_overtake_those_who_wait() -> None:
    async with FakeGroup() as group:
        patient = asyncio.create_task(group.brokers[2].reserve("mail", wait=20))
        await waiting_at(group, 1)
        group.is_held = True
        put = asyncio.create_task(group.brokers[1].put("mail", b"work"))
        await eventually(lambda: group.open)
        group.release()

        newcomer = await group.brokers[1].reserve("mail")

        await put
        assert newcomer is None
        assert await patient is not None


async def test_a_kick_a_nack_and_a_due_delay_wake_a_waiter() -> None:
    async with FakeGroup() as group:
        broker = group.brokers[2]
        job_id = await broker.put("mail", b"work", delay=3_600)
        jobs: list[Job] = []
        for wake in ("kick", "nack", "due"):
            waiting = asyncio.create_task(broker.reserve("mail", wait=20))
            await waiting_at(group, 1)
            if wake == "kick":
                await broker.kick_job(job_id)
            elif wake == "nack":
                await broker.nack(jobs[-1])
            else:
                await broker.nack(jobs[-1], delay=0.01)
                group.now_ms += 20
            job = await waiting
            assert job is not None
            jobs.append(job)

        assert [job.id for job in jobs] == [job_id] * 3


async def test_a_waiter_whose_caller_is_gone_takes_no_job() -> None:
    """Checklist 3.5."""
    async with FakeGroup() as group:
        for node_id in (1, 2):
            gone = asyncio.create_task(group.brokers[node_id].reserve("mail", wait=60))
            await waiting_at(group, 1)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            await waiting_at(group, 0)

        await group.brokers[1].put("mail", b"work")

        assert await group.brokers[3].reserve("mail") is not None


async def test_a_reserve_that_finds_too_many_others_waiting_is_told_so_when_its_own_wait_ends() -> None:
    async with FakeGroup() as group:
        waiting = [asyncio.create_task(group.brokers[1].reserve("mail", wait=60)) for _ in range(800)]
        await eventually(lambda: group.brokers[1]._slots.take_free(lingers=True) is None)

        async with asyncio.timeout(5):
            with pytest.raises(Busy):
                await group.brokers[1].reserve("mail", wait=0.05)

        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_lease_that_runs_out_is_ended_by_an_entry_of_the_leader_and_the_job_goes_on() -> None:
    async with FakeGroup() as group:
        await group.brokers[1].put("mail", b"work")
        first = await group.brokers[2].reserve("mail", lease=0.1)

        second = await group.brokers[3].reserve("mail", wait=10)

        assert first is not None
        assert second is not None
        assert (second.id, second.attempts) == (first.id, 2)
        assert second.token > first.token


async def test_an_extended_lease_is_kept_and_extending_enters_no_log() -> None:
    async with FakeGroup() as group:
        await group.brokers[1].put("mail", b"work")
        job = await group.brokers[2].reserve("mail", lease=0.2)
        assert job is not None
        entries = len(group.entries)

        await group.brokers[2].extend(job, lease=60)

        assert await group.brokers[3].reserve("mail", wait=0.4) is None
        assert len(group.entries) == entries


async def test_every_held_job_has_a_deadline_after_an_election() -> None:
    """Checklist 3.2 and 3.6: the new leader grants one full term, then ends the lease."""
    async with FakeGroup() as group:
        await group.brokers[1].put("mail", b"work")
        job = await group.brokers[2].reserve("mail", lease=0.2)
        assert job is not None
        await group.brokers[2].extend(job, lease=3_600)

        group.elect(3)
        table = group.brokers[3]._desk._leases
        granted = len(table)
        again = await group.brokers[2].reserve("mail", wait=10)

        assert granted == 1
        assert again is not None
        assert again.id == job.id


async def test_only_the_leader_ends_leases() -> None:
    async with FakeGroup() as group:
        await group.brokers[1].put("mail", b"work")
        await group.brokers[2].reserve("mail", lease=0.1)
        await eventually(lambda: group.logs[1].machine.queue.jobs[1].state == "ready")

        assert len(group.entries) == 3
        assert all(len(group.brokers[node_id]._desk._leases) == 0 for node_id in (2, 3))


@pytest.mark.parametrize("node_id", [1, 2])
@pytest.mark.parametrize("wait", [0, 0.05])
async def test_a_leader_that_may_have_a_successor_does_not_say_that_nothing_is_ready(
    node_id: int, wait: float
) -> None:
    """Checklist 1.15: who leads now may have jobs that it has never heard of."""
    async with FakeGroup(timeout_seconds=0.1) as group:
        group.logs[1].has_quorum = False

        with pytest.raises((NoQuorum, OutcomeUnknown)):
            await group.brokers[node_id].reserve("mail", wait=wait)


async def test_a_leader_without_majority_promises_no_time() -> None:
    async with FakeGroup(timeout_seconds=0.1) as group:
        await group.brokers[1].put("mail", b"work")
        job = await group.brokers[1].reserve("mail")
        assert job is not None
        group.logs[1].has_quorum = False

        try:
            await group.brokers[1].extend(job)
        except NoQuorum:
            return

        raise AssertionError("extended by a leader that may have a successor")
