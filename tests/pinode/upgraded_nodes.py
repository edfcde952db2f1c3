"""Three nodes on one event loop, each with the program of its own age: log and broker are real, gossip is not."""

import asyncio
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

from gossip.service import Gossip
from pinode.cluster_state import ClusterState
from pinode.live_cluster import LiveCluster
from pinode.node_agreement import DOMAINS
from pinode.nodes.node import RegisteredNode
from pinode.peers.cluster_key import ClusterKey
from pinode.peers.founding_record import FoundingRecord
from pinode.peers.keys import ClusterSecrets
from pinode.registration import Registration
from pinode.settings import Settings
from replicated_queue.broker import Broker
from replicated_queue.interfaces import Lane
from replicated_queue.service import ReplicaService
from replicated_queue.settings import ReplicaSettings
from tests.waiting import eventually

CLUSTER_KEY = ClusterKey(b"k" * 32)
RAFT = ReplicaSettings(heartbeat_seconds=0.05, election_timeout_seconds=0.3, segment_bytes=256 * 1024)
SINCE = {"SetAvailability": 2}  # as if it had come with the second level


class AgingNode:
    """One node, by a program that supports feature levels up to `level`."""

    def __init__(self, nodes: "AgingNodes", number: int, directory: Path, level: int) -> None:
        self._nodes = nodes
        self._number = number
        self.level = level
        founders = [
            RegisteredNode(node_id=f"{one:016x}", name=f"pi{one}", host="127.0.0.1", peer_port=7300)
            for one in nodes.voters
        ]
        self.state = ClusterState(founders=founders, feature_level=level)
        self.replica = ReplicaService(
            peer_id=number,
            voters=nodes.voters,
            state_machine=self.state,
            directory=directory,
            transport=self,
            random=Random(number),
            settings=RAFT,
        )
        broker = Broker(log=self.replica, queue=self.state.queue, transport=self, domains=DOMAINS)
        self.broker = broker
        self.secrets = ClusterSecrets.derived_from(CLUSTER_KEY)
        self.cluster = LiveCluster(
            settings=Settings(),
            node_id=f"{number:016x}",
            node_name=f"pi{number}",
            record=cast(FoundingRecord, SimpleNamespace(name="home", cluster_id=b"c" * 16)),
            state=self.state,
            replica=self.replica,
            broker=broker,
            gossip=cast(Gossip, SimpleNamespace(members=lambda: (), stats=dict)),
            peers=cast(Any, None),
            reports=tuple,
            secrets=self.secrets,
            random_bytes=Random(number).randbytes,
            monotonic=lambda: 0.0,
            since=SINCE,
        )
        self.registration = Registration(
            self.cluster, host=lambda: "127.0.0.1", is_caught_up=lambda: True, feature_level=level
        )
        self.run = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as parts:
            parts.create_task(self.replica.run())
            parts.create_task(self.broker.run())

    def send(self, peer: int, frame: bytes, *, lane: Lane) -> None:
        if (other := self._nodes.nodes.get(peer)) is not None and peer not in self._nodes.deaf:
            asyncio.get_running_loop().call_soon(other.replica.receive, self._number, frame)

    async def call(self, peer: int, frame: bytes, *, timeout_seconds: float) -> bytes:
        if peer not in self._nodes.nodes:
            raise ConnectionRefusedError("nobody listens there")
        return await self._nodes.nodes[peer].broker.answer(frame)

    def fetch(self, peer: int, request: bytes) -> Any:
        return self._nodes.nodes[peer].replica.serve_snapshot(self._number, request)


class AgingNodes:
    """A cluster that is upgraded node by node."""

    def __init__(self, directory: Path, *, level: int = 1) -> None:
        self.voters = (1, 2, 3)
        self.nodes: dict[int, AgingNode] = {}
        self.deaf: set[int] = set()  # nodes that no frame of the log comes to
        self._directory = directory
        self._first_level = level

    async def __aenter__(self) -> "AgingNodes":
        for number in self.voters:
            self.start(number, level=self._first_level)
        await self.leader()
        return self

    async def __aexit__(self, *_: object) -> None:
        for number in list(self.nodes):
            await self.stop(number)

    def start(self, number: int, *, level: int) -> AgingNode:
        node = self.nodes[number] = AgingNode(self, number, self._directory / str(number), level)
        return node

    async def stop(self, number: int) -> None:
        node = self.nodes.pop(number)
        node.run.cancel()
        await asyncio.gather(node.run, return_exceptions=True)
        for other in self.nodes.values():
            other.replica.peer_unreachable(number)

    async def upgrade(self, number: int, *, level: int) -> None:
        """Stop it, start a newer program on its data, and let it register as that."""
        await self.stop(number)
        node = self.start(number, level=level)
        await eventually(lambda: node.replica.has_quorum, within_seconds=10, saying="a quorum")
        await node.registration.look()
        known = node.state.nodes.get(node.cluster.node_id)
        assert known is not None and known.feature_level == level

    async def leader(self) -> AgingNode:
        def found() -> AgingNode | None:
            return next((node for node in self.nodes.values() if node.replica.is_leading), None)

        node = await eventually(found, within_seconds=10, saying="a leader")
        assert node is not None
        return node
