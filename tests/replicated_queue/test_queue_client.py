"""`QueueClient` against real servers on loopback, over TLS."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import replicated_queue
from replicated_queue import (
    ClientClosed,
    LeaseLost,
    NodeUnreachable,
    NoQuorum,
    NotAuthorized,
    OutcomeUnknown,
    QueueClient,
    ReservedTopic,
    SessionExpired,
)
from replicated_queue.client_link import NodeAddress
from replicated_queue.client_requests import Pending
from replicated_queue.client_server import STRANGER_FRAME_BYTES, queue_protocol
from replicated_queue.errors import Busy, DiskFull, InvalidRequest, JobNotFound, QueueError
from replicated_queue.queue.commands import ExpireLease
from replicated_queue.request_codec import LENGTH, MAX_FRAME_BYTES
from tests.replicated_queue.fake_group import FakeGroup
from tests.replicated_queue.queue_servers import TOKEN, QueueServer, ThrowawayCA
from tests.waiting import eventually


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayCA:
    return ThrowawayCA(tmp_path_factory.mktemp("ca"))


class Cluster:
    """Three nodes that agree, with a door for clients each."""

    def __init__(self, group: FakeGroup, ca: ThrowawayCA) -> None:
        self.group = group
        self.ca = ca
        self.servers = [QueueServer(broker, ca.server_context()) for broker in group.brokers.values()]

    def client(self, *nodes: int, token: str = TOKEN, timeout: float = 10.0) -> QueueClient:
        servers = [self.servers[node - 1].address for node in nodes or (1, 2, 3)]
        return QueueClient(servers, token=token, ca=self.ca.ca_file, timeout=timeout)


@asynccontextmanager
async def a_cluster(ca: ThrowawayCA, *, leader: int | None = 1) -> AsyncIterator[Cluster]:
    async with FakeGroup(leader=leader) as group:
        cluster = Cluster(group, ca)
        for server in cluster.servers:
            await server.start()
        try:
            yield cluster
        finally:
            for server in cluster.servers:
                await server.stop()


async def test_the_first_steps_of_the_contract_work_on_any_node(ca: ThrowawayCA) -> None:
    async with a_cluster(ca) as cluster:
        for node in (1, 2, 3):
            async with cluster.client(node) as queue:
                job_id = await queue.put("mail", b"hello", priority=1, delay=0, lease=60, max_attempts=5)
                job = await queue.reserve("mail", wait=30, worker="w1")
                assert job is not None
                await queue.extend(job)
                await queue.ack(job, result=b"sent")

                assert (job.id, job.topic, job.data, job.priority, job.attempts) == (
                    job_id,
                    "mail",
                    b"hello",
                    1,
                    1,
                )
                assert (await queue.peek(job_id)).result == b"sent"


async def test_many_jobs_nack_bury_kick_and_cancel(ca: ThrowawayCA) -> None:
    async with a_cluster(ca) as cluster, cluster.client(2) as queue:
        ids = await queue.put_many("mail", [b"%d" % number for number in range(100)])
        jobs = await queue.reserve_many("mail", 20)
        await queue.nack(jobs[0], delay=5, reason="later")
        await queue.bury(jobs[1], reason="bad address")
        await queue.ack_many(jobs[2:])
        await queue.cancel(ids[-1])

        stats = await queue.stats("mail")
        page = await queue.list("mail", state="buried")
        kicked = await queue.kick("mail", 10)

        assert [job.id for job in jobs] == ids[:20]
        assert (stats.ready, stats.delayed, stats.leased, stats.buried) == (79, 1, 0, 1)
        assert page[0].reasons == ("attempt 1: bad address",)
        assert kicked == 1


async def test_requests_share_one_connection_and_are_answered_in_any_order(ca: ThrowawayCA) -> None:
    async with a_cluster(ca) as cluster, cluster.client(1) as queue:
        waiting = asyncio.create_task(queue.reserve("bills", wait=30))

        ids = await asyncio.gather(*(queue.put("mail", b"%d" % number) for number in range(200)))
        await queue.put("bills", b"work")

        assert len(set(ids)) == 200
        assert await waiting is not None
        assert len(cluster.servers[0].connections) == 1


async def test_more_requests_at_once_than_there_are_slots_wait_for_their_turn(ca: ThrowawayCA) -> None:
    async with a_cluster(ca) as cluster, cluster.client(1) as queue:
        ids = await asyncio.gather(*(queue.put("mail", b"") for _ in range(1_500)))

        assert len(set(ids)) == 1_500


async def test_a_client_moves_to_another_node_and_its_put_is_done_once(ca: ThrowawayCA) -> None:
    """Checklist 3.4, seen from outside: the node dies between commit and reply."""
    async with a_cluster(ca) as cluster, cluster.client(1, 2) as queue:
        await queue.put("mail", b"before")
        cluster.group.is_held = True
        put = asyncio.create_task(queue.put("mail", b"once"))
        await eventually(lambda: cluster.group.open)

        await cluster.servers[0].stop()
        cluster.group.release()
        await put

        assert cluster.group.data_of() == [b"before", b"once"]


async def test_a_reserve_whose_answer_was_lost_gets_the_same_job_and_token(ca: ThrowawayCA) -> None:
    """Checklist 3.3, seen from outside."""
    async with a_cluster(ca) as cluster, cluster.client(1, 2) as queue:
        await queue.put("mail", b"first")
        await queue.put("mail", b"second")
        cluster.group.is_held = True
        reserve = asyncio.create_task(queue.reserve("mail", wait=20))
        await eventually(lambda: cluster.group.open)

        cluster.servers[0].cut()
        cluster.group.release()
        job = await reserve

        assert job is not None
        leases = list(cluster.group.logs[1].machine.queue.leases())
        assert leases == [(job.id, job.token, 60_000)]


async def test_a_waiting_reserve_outlives_its_connection_and_its_leader(ca: ThrowawayCA) -> None:
    async with a_cluster(ca) as cluster, cluster.client() as queue:
        waiting = asyncio.create_task(queue.reserve("mail", wait=30))
        await eventually(lambda: cluster.group.brokers[1]._desk.waiting_count == 1)

        await cluster.servers[0].stop()
        cluster.group.elect(3)
        await queue.put("mail", b"work")
        job = await waiting

        assert job is not None


async def test_a_reserve_that_is_no_longer_waited_for_takes_no_job(ca: ThrowawayCA) -> None:
    async with a_cluster(ca) as cluster, cluster.client(2) as queue:
        for leave in ("cancel", "cut"):
            waiting = asyncio.create_task(queue.reserve("mail", wait=30))
            await eventually(lambda: cluster.group.brokers[1]._desk.waiting_count == 1, saying=leave)
            waiting.cancel()
            if leave == "cut":
                cluster.servers[1].cut()
            await asyncio.gather(waiting, return_exceptions=True)
            await eventually(lambda: cluster.group.brokers[1]._desk.waiting_count == 0, saying=leave)


async def test_refusals_arrive_as_what_they_are(ca: ThrowawayCA) -> None:
    async with a_cluster(ca) as cluster, cluster.client(2) as queue:
        await queue.put("mail", b"work")
        job = await queue.reserve("mail")
        assert job is not None
        await queue.nack(job)

        with pytest.raises(LeaseLost):
            await queue.ack(job)
        with pytest.raises(JobNotFound):
            await queue.peek(999)


async def test_a_wrong_token_is_told_so(ca: ThrowawayCA) -> None:
    async with a_cluster(ca) as cluster, cluster.client(token="wrong") as queue:
        with pytest.raises(NotAuthorized):
            await queue.put("mail", b"")

        assert cluster.group.entries == []


async def test_a_server_of_another_authority_is_not_believed(ca: ThrowawayCA, tmp_path: Path) -> None:
    async with a_cluster(ca) as cluster:
        other = ThrowawayCA(tmp_path)
        queue = QueueClient([cluster.servers[0].address], token=TOKEN, ca=other.ca_file, timeout=0.0)

        async with queue:
            with pytest.raises(NodeUnreachable, match="certificate verify failed"):
                await queue.put("mail", b"")


async def test_nodes_that_cannot_be_reached_are_named(ca: ThrowawayCA) -> None:
    async with a_cluster(ca) as cluster:
        queue = cluster.client(1, timeout=0.0)
        await cluster.servers[0].stop()

        async with queue:
            with pytest.raises(NodeUnreachable, match=cluster.servers[0].address):
                await queue.put("mail", b"")


async def test_without_a_leader_the_client_hears_that_there_is_no_quorum(ca: ThrowawayCA) -> None:
    async with a_cluster(ca, leader=None) as cluster, cluster.client(timeout=0.1) as queue:
        with pytest.raises(NoQuorum):
            await queue.put("mail", b"")


async def test_a_put_without_answer_is_told_apart_from_one_that_failed(ca: ThrowawayCA) -> None:
    async with a_cluster(ca) as cluster, cluster.client(timeout=0.1) as queue:
        await queue.put("mail", b"")
        cluster.group.is_held = True

        with pytest.raises(OutcomeUnknown):
            await queue.put("mail", b"")


@pytest.mark.parametrize("refusal", [Busy(), DiskFull("/data"), NoQuorum(waited_seconds=3.0)])
async def test_of_a_repeated_request_no_node_can_say_that_nothing_was_done(refusal: QueueError) -> None:
    """Checklist 3.4: the node that was asked before may have had it done."""
    loop = asyncio.get_running_loop()
    first, repeated = Pending(loop.create_future(), 0.0, 0.0), Pending(loop.create_future(), 0.0, 0.0)
    repeated.is_repeated = True
    client = QueueClient(["nowhere"])

    for pending in (first, repeated):
        client._refused(pending, refusal)

    assert first.future.exception() is refusal
    assert isinstance(repeated.future.exception(), OutcomeUnknown)


def forget_all_sessions(group: FakeGroup) -> None:
    """As 1,024 younger sessions would have done."""
    for log in group.logs.values():
        log.machine.sessions._sessions.clear()
        log.machine.sessions._forgotten_upto = log.applied_index


async def test_a_client_whose_session_was_forgotten_begins_a_new_one(ca: ThrowawayCA) -> None:
    async with a_cluster(ca) as cluster, cluster.client(1) as queue:
        await queue.put("mail", b"before")
        await cluster.group.brokers[1].put("bills", b"")
        forget_all_sessions(cluster.group)

        await queue.put("mail", b"after")

        assert cluster.group.data_of() == [b"before", b"after"]


@pytest.mark.parametrize("lost_at", ["client", "node"])
async def test_a_forgotten_put_that_may_have_been_done_is_not_done_again(
    ca: ThrowawayCA, lost_at: str
) -> None:
    """Checklist 1.37: the answer was lost on its way, and then the session was forgotten."""
    async with a_cluster(ca) as cluster, cluster.client(2, 3) as queue:
        await queue.stats("mail")
        group = cluster.group
        group.is_held = True
        put = asyncio.create_task(queue.put("mail", b"once"))
        await eventually(lambda: group.open)
        if lost_at == "client":
            await cluster.servers[1].stop()
        else:
            group.transports[2].lose_answers = 1
        data, done = group.open.pop()
        group._commit(data)
        forget_all_sessions(group)
        group.is_held = False
        done(OutcomeUnknown())

        with pytest.raises(SessionExpired):
            await put

        assert group.data_of() == [b"once"]


async def test_members_have_no_topics_of_the_platform_and_end_no_leases(ca: ThrowawayCA) -> None:
    async with a_cluster(ca) as cluster, cluster.client(2) as queue:
        with pytest.raises(ReservedTopic):
            await queue.put("pinode.builds", b"")
        with pytest.raises(ReservedTopic):
            await queue.stats("pinode.builds")
        queue.platform = True  # a client that cheats
        for ask in (queue.put("pinode.builds", b""), queue.reserve("pinode.builds"), queue.topics()):
            with pytest.raises(ReservedTopic):
                await ask
        with pytest.raises(InvalidRequest):
            await queue._command(ExpireLease(1, 1))

        assert cluster.group.entries == []


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        LENGTH.pack(MAX_FRAME_BYTES + 1),
        LENGTH.pack(STRANGER_FRAME_BYTES + 1),  # a stranger's memory is a few kilobytes
        LENGTH.pack(3) + b"\x93\x01\x02",
        LENGTH.pack(1) + b"\xc0",
        LENGTH.pack(0),
    ],
)
async def test_who_says_no_proper_hello_is_cut_off(ca: ThrowawayCA, junk: bytes) -> None:
    async with a_cluster(ca) as cluster:
        server = await asyncio.get_running_loop().create_server(
            queue_protocol(cluster.group.brokers[1], authenticate=_anybody), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())

        writer.write(junk)
        async with asyncio.timeout(5):
            try:
                assert await reader.read() == b""
            except ConnectionResetError:
                pass

        writer.close()
        server.close()


async def _anybody(token: bytes) -> bool:
    return True


async def test_on_a_node_the_client_needs_no_token_and_sees_the_platform(tmp_path: Path) -> None:
    async with FakeGroup() as group:
        server = await asyncio.get_running_loop().create_unix_server(
            queue_protocol(group.brokers[2], authenticate=_anybody, platform=True), tmp_path / "queue.sock"
        )

        async with QueueClient.local(tmp_path) as queue:
            await queue.put("pinode.builds", b"build")
            assert set(await queue.topics()) == {"pinode.builds"}

        server.close()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("pi1", NodeAddress("pi1", 7300)),
        ("pi1:7301", NodeAddress("pi1", 7301)),
        ("10.0.0.7:1", NodeAddress("10.0.0.7", 1)),
        ("[::1]:7301", NodeAddress("::1", 7301)),
        ("[::1]", NodeAddress("::1", 7300)),
        ("::1", NodeAddress("::1", 7300)),
    ],
)
def test_addresses_of_nodes(text: str, address: NodeAddress) -> None:
    assert NodeAddress.parse(text) == address


def test_every_exported_name_is_there() -> None:
    for name in replicated_queue.__all__:
        assert getattr(replicated_queue, name) is not None
    with pytest.raises(AttributeError):
        replicated_queue.Nothing  # noqa: B018


@pytest.mark.parametrize("bad", ["peek", "stats", "list"])
async def test_a_question_that_cannot_be_said_fails_alone_and_at_once(ca: ThrowawayCA, bad: str) -> None:
    async with a_cluster(ca) as cluster, cluster.client() as queue:
        asked = {
            "peek": lambda: queue.peek(2**70),
            "stats": lambda: queue.stats("\ud800"),
            "list": lambda: queue.list("mail", after=2**70),
        }[bad]()

        question, put = await asyncio.gather(asked, queue.put("mail", b"x"), return_exceptions=True)

        assert isinstance(question, QueueError) and put == 1
        for server in cluster.servers:
            await server.stop()
            await server.start()
        assert await queue.put("mail", b"y") == 2


async def test_many_that_wait_for_a_job_hold_up_nobody_who_has_one(ca: ThrowawayCA) -> None:
    async with a_cluster(ca) as cluster, cluster.client(timeout=5) as queue:
        waiting = [asyncio.create_task(queue.reserve("never", wait=60)) for _ in range(1_500)]
        await asyncio.sleep(0)

        await queue.put("mail", b"x")
        job = await queue.reserve("mail")
        assert job is not None
        await queue.ack(job)

        assert await cluster.group.brokers[1].put("mail", b"of the node")
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


async def test_when_a_client_is_closed_who_still_asks_hears_that_and_is_not_cancelled(
    ca: ThrowawayCA,
) -> None:
    async with a_cluster(ca) as cluster:
        async with cluster.client() as queue:
            sent = asyncio.create_task(queue.reserve("mail", wait=60))
            await eventually(lambda: any(pending.is_sent for pending in queue._pending.values()))
            waiting = [asyncio.create_task(queue.reserve("mail", wait=60)) for _ in range(1_100)]
            await asyncio.sleep(0)
        ended = await asyncio.gather(sent, *waiting, return_exceptions=True)

    assert isinstance(ended[0], OutcomeUnknown)
    assert {type(error) for error in ended} == {OutcomeUnknown, ClientClosed}  # most were sent meanwhile
    assert isinstance(ended[-1], ClientClosed)


async def test_a_read_that_the_leader_refuses_is_answered_so_and_the_next_one_as_ever(
    ca: ThrowawayCA, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_cluster(ca) as cluster, cluster.client(1) as queue:

        async def refused() -> bool:
            raise InvalidRequest("not by this leader.")

        await queue.put("mail", b"x")
        with monkeypatch.context() as patched:
            patched.setattr(cluster.group.brokers[1], "be_current", refused)
            with pytest.raises(InvalidRequest):
                await queue.stats("mail")

        assert (await queue.stats("mail")).ready == 1
