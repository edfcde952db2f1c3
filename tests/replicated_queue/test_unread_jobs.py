"""A job that was leased to somebody who is not there any more is given back at once, if that is certain."""

import asyncio
from typing import Any

import pytest

from replicated_queue import QueueClient
from replicated_queue.queue.codec import command_values
from replicated_queue.queue.commands import Reserve
from replicated_queue.queue_state import QUEUE_DOMAIN
from replicated_queue.request_codec import submit
from replicated_queue.sessions import Bundle
from tests.replicated_queue.fake_group import FakeGroup
from tests.replicated_queue.queue_servers import TOKEN, QueueServer, ThrowawayCA
from tests.waiting import eventually

LEASE = 3_600.0  # nothing here waits for its end


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayCA:
    return ThrowawayCA(tmp_path_factory.mktemp("ca"))


def client_of(ca: ThrowawayCA, *servers: QueueServer) -> QueueClient:
    return QueueClient([server.address for server in servers], token=TOKEN, ca=ca.ca_file)


async def cancelled(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def assert_comes_back(group: FakeGroup) -> None:
    job = await group.brokers[3].reserve("mail", wait=10)
    assert job is not None
    assert job.attempts == 1


@pytest.mark.parametrize("node_id", [1, 2])
async def test_a_job_leased_to_a_caller_that_left_meanwhile_comes_back(node_id: int) -> None:
    """Checklist 3.5: gone between the entry and its answer."""
    async with FakeGroup() as group:
        await group.brokers[1].put("mail", b"work")
        group.is_held = True
        gone = asyncio.create_task(group.brokers[node_id].reserve("mail", lease=LEASE))
        await eventually(lambda: group.open)

        await cancelled(gone)
        group.release()

        await assert_comes_back(group)


@pytest.mark.parametrize("node_id", [1, 2])
async def test_a_job_leased_to_a_waiter_that_left_meanwhile_comes_back(node_id: int) -> None:
    async with FakeGroup() as group:
        gone = asyncio.create_task(group.brokers[node_id].reserve("mail", wait=60, lease=LEASE))
        await eventually(lambda: group.brokers[1]._desk.waiting_count == 1)
        await group.brokers[1].put("mail", b"work")
        group.is_held = True
        await eventually(lambda: group.open)

        await cancelled(gone)
        group.release()

        await assert_comes_back(group)


async def test_a_job_whose_caller_is_cancelled_in_the_moment_of_its_answer_comes_back() -> None:
    async with FakeGroup() as group:
        await group.brokers[1].put("mail", b"work")
        group.is_held = True
        gone = asyncio.create_task(group.brokers[1].reserve("mail", lease=LEASE))
        await eventually(lambda: group.open)

        group.release()
        await cancelled(gone)

        assert gone.cancelled()
        await assert_comes_back(group)


async def test_a_job_of_the_platform_comes_back_too() -> None:
    async with FakeGroup() as group:
        queue = group.brokers[1].platform_queue
        await queue.put("pinode.builds", b"work")
        group.is_held = True
        gone = asyncio.create_task(queue.reserve("pinode.builds", lease=LEASE))
        await eventually(lambda: group.open)

        await cancelled(gone)
        group.release()

        assert await group.brokers[3].platform_queue.reserve("pinode.builds", wait=10) is not None


async def test_of_a_bundle_the_job_of_the_reserve_that_was_withdrawn_comes_back() -> None:
    async with FakeGroup() as group:
        await group.brokers[1].put_many("mail", [b"first", b"second"])
        commands = [Reserve(("mail",)), Reserve(("mail",))]
        requests = [
            part for slot, command in enumerate(commands) for part in (slot, 1, command_values(command))
        ]
        asked = submit(Bundle(QUEUE_DOMAIN, requests, b"somebody's own i")._replace(commands=commands))
        heard: list[Any] = []
        group.is_held = True
        parcel = group.brokers[1].begin(
            asked, timeout_seconds=5, done=lambda _, answers: heard.extend(answers)
        )

        group.brokers[1].withdraw(parcel, 0)
        group.release()

        job = await group.brokers[3].reserve("mail", wait=10)
        assert job is not None
        assert (job.data, job.attempts) == (b"first", 1)
        assert [len(answer) - 2 for answer in heard] == [0, 1]


async def test_a_client_that_is_cancelled_in_the_moment_of_its_answer_gives_the_job_back(
    ca: ThrowawayCA,
) -> None:
    async with FakeGroup() as group:
        server = await QueueServer(group.brokers[2], ca.server_context()).start()
        async with client_of(ca, server) as queue:
            await queue.put("mail", b"work")
            gone = asyncio.create_task(queue.reserve("mail", lease=LEASE))
            link = queue._link
            assert link is not None
            answered = link._answered

            def answered_and_cancelled(*answer: Any) -> None:
                answered(*answer)
                gone.cancel()

            link._answered = answered_and_cancelled
            await asyncio.wait([gone])

            assert gone.cancelled()
            await assert_comes_back(group)
        await server.stop()


async def test_a_client_gives_back_a_job_that_crosses_its_withdrawal(ca: ThrowawayCA) -> None:
    async with FakeGroup() as group:
        server = await QueueServer(group.brokers[1], ca.server_context()).start()
        async with client_of(ca, server) as queue:
            await queue.put("mail", b"work")
            transport = queue._link._transport  # type: ignore[union-attr]
            assert transport is not None
            transport.pause_reading()
            gone = asyncio.create_task(queue.reserve("mail", lease=LEASE))
            await eventually(lambda: list(group.logs[1].machine.queue.leases()))

            await cancelled(gone)
            transport.resume_reading()

            await assert_comes_back(group)
        await server.stop()


async def test_a_job_that_is_leased_while_its_client_ends_comes_back(ca: ThrowawayCA) -> None:
    async with FakeGroup() as group:
        server = await QueueServer(group.brokers[2], ca.server_context()).start()
        async with client_of(ca, server) as queue:
            await queue.put("mail", b"work")
            group.is_held = True
            gone = asyncio.create_task(queue.reserve("mail", lease=LEASE))
            await eventually(lambda: group.open)
        await asyncio.gather(gone, return_exceptions=True)
        await eventually(lambda: not server.connections[0]._under_way)
        group.release()

        await assert_comes_back(group)
        await server.stop()


async def test_a_job_whose_client_lost_its_connection_waits_for_the_same_request_by_another(
    ca: ThrowawayCA,
) -> None:
    """Checklist 3.3: nobody but the client knows whether it asks again, so its lease is left to it."""
    async with FakeGroup() as group:
        servers = [
            await QueueServer(group.brokers[node_id], ca.server_context()).start() for node_id in (1, 2)
        ]
        async with client_of(ca, *servers) as queue:
            await queue.put("mail", b"work")
            group.is_held = True
            reserving = asyncio.create_task(queue.reserve("mail", lease=LEASE))
            await eventually(lambda: group.open)
            connection = servers[0].connections[0]
            await servers[0].stop()
            await eventually(lambda: not connection._under_way)

            group.release()
            job = await reserving
            await group.brokers[1].put("bills", b"")  # after whatever was proposed for the first answer

            assert job is not None and job.attempts == 1
            await queue.ack(job)
        await servers[1].stop()
