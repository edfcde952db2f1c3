"""The whole queue on real replicas: clients go on while leaders come and go, and nothing is lost or doubled."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from replicated_queue.client import QueueClient
from tests.replicated_queue.queue_nodes import QueueNodes
from tests.waiting import eventually


async def test_every_acknowledged_job_is_there_exactly_once_though_leaders_die_and_all_restart(
    tmp_path: Path,
) -> None:
    async with QueueNodes(tmp_path) as nodes:
        await nodes.leader()
        acknowledged: dict[int, bytes] = {}

        async def put(client: QueueClient, name: str) -> None:
            for number in range(60):
                data = f"{name} {number}".encode()
                acknowledged[await client.put("mail", data, priority=number % 3)] = data

        async with AsyncExitStack() as clients, asyncio.TaskGroup() as work:
            for number, order in enumerate(((1, 2, 3), (2, 3, 1), (3, 1, 2), (1, 3, 2))):
                client = await clients.enter_async_context(nodes.client(*order))
                work.create_task(put(client, f"client {number}"))
            for wanted in (40, 120):
                await eventually(lambda wanted=wanted: len(acknowledged) >= wanted, within_seconds=20)  # type: ignore[misc]
                leader = await nodes.leader()
                await nodes.stop(leader)
                await nodes.leader()
                await nodes.start(leader)
            await eventually(lambda: len(acknowledged) == 240, within_seconds=20)

        for node_id in (1, 2, 3):
            await nodes.stop(node_id)
        for node_id in (1, 2, 3):
            await nodes.start(node_id)
        await nodes.leader()
        async with nodes.client(1, 2, 3) as client:
            jobs = [job for _ in range(3) for job in await client.reserve_many("mail", 100)]
            await client.ack_many(jobs)
            left = await client.stats("mail")

        assert {job.id: job.data for job in jobs} == acknowledged
        assert [(job.priority, job.id) for job in jobs] == sorted((job.priority, job.id) for job in jobs)
        assert (left.ready, left.leased) == (0, 0)
        await eventually(lambda: len(nodes.applied()) == 1)
        assert len(nodes.digests()) == 1


async def test_workers_take_each_job_once_while_the_leader_changes(tmp_path: Path) -> None:
    async with QueueNodes(tmp_path) as nodes:
        await nodes.leader()
        done: list[int] = []

        async def worker(client: QueueClient) -> None:
            while (job := await client.reserve("mail", wait=1)) is not None:
                await client.ack(job)
                done.append(job.id)

        async with nodes.client(1, 2, 3) as one, nodes.client(2, 3, 1) as two:
            ids = await one.put_many("mail", [b"x"] * 150)
            async with asyncio.TaskGroup() as work:
                for client in (one, two, one, two):
                    work.create_task(worker(client))
                await eventually(lambda: len(done) > 30, within_seconds=10)
                leader = await nodes.leader()
                await nodes.stop(leader)
                await nodes.leader()

        assert sorted(done) == ids


async def test_a_leader_that_does_not_know_of_its_successor_never_says_that_nothing_is_ready(
    tmp_path: Path,
) -> None:
    """Checklist 1.15, 1.18: what it has in memory may be long overtaken."""
    async with QueueNodes(tmp_path) as nodes:
        old = await nodes.leader()
        assert await nodes.nodes[old].broker.reserve("mail") is None
        nodes.cut_off = {old}
        asked = asyncio.create_task(nodes.nodes[old].broker.reserve("mail"))
        new = await nodes.leader()
        await nodes.nodes[new].broker.put("mail", b"that the old one never heard of")

        nodes.cut_off = set()

        job = await asked
        assert job is not None and job.data == b"that the old one never heard of"


async def test_a_node_without_a_leader_answers_reads_from_what_it_knew(tmp_path: Path) -> None:
    async with QueueNodes(tmp_path) as nodes:
        leader = await nodes.leader()
        follower = next(peer for peer in nodes.nodes if peer != leader)
        await nodes.nodes[follower].broker.put("mail", b"x")
        nodes.cut_off = {follower}

        async with nodes.client(follower) as client:
            assert (await client.stats("mail")).ready == 1
