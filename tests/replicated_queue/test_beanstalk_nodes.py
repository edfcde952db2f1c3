"""The beanstalk door on three nodes: any of them will do, also while the leader changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from replicated_queue.beanstalk.door import BeanstalkDoor
from replicated_queue.beanstalk.hall import Hall
from replicated_queue.beanstalk.listening import listen
from tests.replicated_queue.fake_group import FakeGroup
from tests.replicated_queue.queue_nodes import QueueNode, QueueNodes
from tests.waiting import eventually


class Client:
    """A connection to one node's door."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, request: bytes) -> bytes:
        """The answer's first line; a job that comes with it is read."""
        self._writer.write(request)
        async with asyncio.timeout(20):
            line = await self._reader.readline()
            if line.startswith((b"OK", b"RESERVED", b"FOUND")):
                await self._reader.readexactly(int(line.split()[-1]) + 2)
        return line

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def client_of(node: QueueNode) -> AsyncIterator[Client]:
    listener = listen("127.0.0.1", 0)
    hall = Hall(node.broker, node.machine.queue, now_ms=lambda: node.replica.now_ms)
    serving = asyncio.create_task(BeanstalkDoor(hall).run([listener]))
    client = Client(*await asyncio.open_connection(*listener.getsockname()))
    try:
        yield client
    finally:
        client.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def test_what_is_put_at_one_node_is_reserved_and_deleted_at_another(tmp_path: Path) -> None:
    async with QueueNodes(tmp_path) as nodes:
        leader = await nodes.leader()
        first, second = [node for node_id, node in nodes.nodes.items() if node_id != leader]
        async with client_of(first) as producer, client_of(second) as worker:
            answers = [
                await producer.ask(b"put 1 0 60 3\r\nabc\r\n"),
                await worker.ask(b"reserve-with-timeout 5\r\n"),
                await worker.ask(b"stats-job 1\r\n"),
                await producer.ask(b"delete 1\r\n"),
                await worker.ask(b"delete 1\r\n"),
                await worker.ask(b"peek 1\r\n"),
            ]

    assert answers[0:2] == [b"INSERTED 1\r\n", b"RESERVED 1 3\r\n"]
    assert answers[2].startswith(b"OK ")
    assert answers[3:] == [b"NOT_FOUND\r\n", b"DELETED\r\n", b"NOT_FOUND\r\n"]


async def test_a_command_that_meets_an_election_is_held_and_done_once(tmp_path: Path) -> None:
    async with QueueNodes(tmp_path) as nodes:
        leader = await nodes.leader()
        node = next(node for node_id, node in nodes.nodes.items() if node_id != leader)
        async with client_of(node) as client:
            await client.ask(b"put 1 0 60 3\r\none\r\n")
            puts = asyncio.create_task(client.ask(b"put 1 0 60 3\r\ntwo\r\n"))
            await nodes.stop(leader)

            answer = await puts
            jobs = [job.data for job in node.machine.queue.jobs.values()]

    assert answer == b"INSERTED 2\r\n"
    assert jobs == [b"one", b"two"]


async def test_who_waits_for_a_job_goes_on_waiting_through_an_election(tmp_path: Path) -> None:
    async with QueueNodes(tmp_path) as nodes:
        leader = await nodes.leader()
        first, second = [node for node_id, node in nodes.nodes.items() if node_id != leader]
        async with client_of(first) as worker, client_of(second) as producer:
            waiting = asyncio.create_task(worker.ask(b"reserve\r\n"))
            await eventually(lambda: nodes.nodes[leader].broker._desk.waiting_count == 1)
            await nodes.stop(leader)

            await producer.ask(b"put 1 0 60 3\r\nabc\r\n")
            answer = await waiting

    assert answer == b"RESERVED 1 3\r\n"


async def test_a_client_that_leaves_a_follower_releases_its_jobs_at_once(tmp_path: Path) -> None:
    async with QueueNodes(tmp_path) as nodes:
        leader = await nodes.leader()
        first, second = [node for node_id, node in nodes.nodes.items() if node_id != leader]
        async with client_of(first) as worker, client_of(second) as other:
            await other.ask(b"put 1 0 1000 3\r\nabc\r\n")
            await worker.ask(b"reserve\r\n")

            worker.close()
            answer = await other.ask(b"reserve-with-timeout 10\r\n")

    assert answer == b"RESERVED 1 3\r\n"


async def test_workers_that_leave_together_share_one_entry_and_each_hears_of_its_own_jobs() -> None:
    async with FakeGroup(size=1) as group:
        log, broker = group.logs[1], group.brokers[1]
        hall = Hall(broker, log.machine.queue, now_ms=lambda: log.now_ms)
        for worker in ("w3", "w5", "w5"):
            await broker.put("mail", b"x")
            assert await broker.reserve("mail", worker=worker)
        before = log.applied_index

        found = await asyncio.gather(*(hall.reserved_by(f"w{number}") for number in range(50)))
        again = await hall.reserved_by("w3")

    assert [len(jobs) for jobs in found[:6]] == [0, 0, 0, 1, 0, 2] and not any(found[6:])
    assert len(again) == 1
    # The first has begun its look when the second comes, whose look the others share; then one alone.
    assert log.applied_index - before == 3
