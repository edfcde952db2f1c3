"""A node that was away for long is brought up to date by a snapshot over mutual TLS (checklist 1.30, 1.31)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import msgpack
import pytest

from pinode.cluster_state import ClusterState
from pinode.raft_links import RaftLinks
from replicated_queue.broker import Broker
from replicated_queue.service import ReplicaService
from replicated_queue.settings import ReplicaSettings
from tests.pinode.peer_nodes import PeerNode, cluster_of, running
from tests.waiting import eventually

SETTINGS = ReplicaSettings(
    segment_bytes=128 * 1024, snapshot_floor_bytes=150_000, snapshot_factor=1, kept_log_bytes=1_000
)


class Replicated:
    """The log and the queue of one node."""

    def __init__(self, node: PeerNode, voters: list[int], directory: Path) -> None:
        self.state = ClusterState()
        self.transport = RaftLinks(node.links)
        self.service = ReplicaService(
            peer_id=node.identity.raft_id,
            voters=voters,
            state_machine=self.state,
            directory=directory / node.node_id,
            transport=self.transport,
            random=Random(node.identity.raft_id),
            settings=SETTINGS,
        )
        self.broker = Broker(log=self.service, queue=self.state.queue, transport=self.transport)
        self.transport.attach(self.service, self.broker)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.ensure_future(part.run()) for part in (self.service, self.broker)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_node_that_was_away_for_long_gets_the_whole_state_over_the_links(tmp_path: Path) -> None:
    nodes = cluster_of(3)
    voters = [node.identity.raft_id for node in nodes]
    here, there, away = (Replicated(node, voters, tmp_path) for node in nodes)
    async with running(*nodes), here.running(), there.running():
        for number in range(20):
            await here.broker.put_many("mail", [b"%d" % number * 300 for _ in range(40)])
        leader = here if here.service.is_leader else there
        await eventually(lambda: leader.service._replica.raft.log.base.index > 5, within_seconds=20)  # type: ignore[union-attr]

        async with away.running():
            await eventually(
                lambda: away.service.applied_index == leader.service.applied_index, within_seconds=20
            )
            assert away.state.digest() == leader.state.digest()
            await away.broker.put("mail", b"from the one that was away")
            await eventually(lambda: here.state.digest() == there.state.digest() == away.state.digest())
            assert list((tmp_path / nodes[2].node_id).glob("*.snapshot"))


async def test_a_node_that_starts_tells_who_comes_for_a_snapshot_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = cluster_of(2)
    voters = [node.identity.raft_id for node in nodes]
    here, _ = (Replicated(node, voters, tmp_path) for node in nodes)
    async with running(*nodes):
        with pytest.raises(ConnectionError, match="its log is not read yet"):
            async for _ in here.transport.fetch(nodes[1].identity.raft_id, msgpack.packb((1, 1))):
                pass

    assert not [record for record in caplog.records if record.levelname == "ERROR"]
