"""Whole queue nodes on one event loop: a real replica with its log on disk, a broker, and a door for clients."""

import asyncio
from pathlib import Path
from random import Random

from replicated_queue.broker import Broker
from replicated_queue.client import QueueClient
from replicated_queue.interfaces import Lane
from replicated_queue.queue_state import QueueStateMachine
from replicated_queue.service import ReplicaService
from replicated_queue.settings import ReplicaSettings
from tests.replicated_queue.queue_servers import TOKEN, QueueServer, ThrowawayCA
from tests.waiting import eventually

SETTINGS = ReplicaSettings(heartbeat_seconds=0.05, election_timeout_seconds=0.3, segment_bytes=256 * 1024)


class QueueNode:
    """One node; the peers reach it through its group."""

    def __init__(self, group: "QueueNodes", node_id: int, directory: Path) -> None:
        self.machine = QueueStateMachine()
        self._group = group
        self._id = node_id
        self.replica = ReplicaService(
            peer_id=node_id,
            voters=(1, 2, 3),
            state_machine=self.machine,
            directory=directory,
            transport=self,
            random=Random(node_id),
            settings=SETTINGS,
        )
        self.broker = Broker(log=self.replica, queue=self.machine.queue, transport=self)
        self.run = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as parts:
            parts.create_task(self.replica.run())
            parts.create_task(self.broker.run())

    def send(self, peer: int, frame: bytes, *, lane: Lane) -> None:
        asyncio.get_running_loop().call_soon(self._group.deliver, self._id, peer, frame)

    async def call(self, peer: int, frame: bytes, *, timeout_seconds: float) -> bytes:
        node = self._group.nodes.get(peer)
        if node is None or {self._id, peer} & self._group.cut_off:
            raise ConnectionRefusedError("nobody listens there")
        answering = asyncio.create_task(node.broker.answer(frame))
        done, _ = await asyncio.wait([answering, node.run], return_when=asyncio.FIRST_COMPLETED)
        if answering not in done:
            answering.cancel()
            raise ConnectionResetError("the node died before it answered")
        return answering.result()


class QueueNodes:
    """Three nodes; `stop` ends one without a word, `start` lets it come back from its disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ca = ThrowawayCA(directory)
        self.nodes: dict[int, QueueNode] = {}
        self.servers: dict[int, QueueServer] = {}
        self._ports: dict[int, int] = {}
        self.cut_off: set[int] = set()  # these hear nobody and are not heard

    async def __aenter__(self) -> "QueueNodes":
        for node_id in (1, 2, 3):
            await self.start(node_id)
        return self

    async def __aexit__(self, *_: object) -> None:
        for node_id in list(self.nodes):
            await self.stop(node_id)

    async def start(self, node_id: int) -> None:
        node = self.nodes[node_id] = QueueNode(self, node_id, self._directory / str(node_id))
        server = self.servers[node_id] = QueueServer(node.broker, self._ca.server_context())
        server.port = self._ports.get(node_id, 0)
        await server.start()
        self._ports[node_id] = server.port

    async def stop(self, node_id: int) -> None:
        node = self.nodes.pop(node_id)
        await self.servers.pop(node_id).stop()
        node.run.cancel()
        await asyncio.gather(node.run, return_exceptions=True)
        for other in self.nodes.values():
            other.replica.peer_unreachable(node_id)

    def deliver(self, sender: int, to: int, frame: bytes) -> None:
        if sender in self.nodes and to in self.nodes and not {sender, to} & self.cut_off:
            self.nodes[to].replica.receive(sender, frame)

    async def leader(self) -> int:
        def found() -> int:
            heard = [(peer, node) for peer, node in self.nodes.items() if peer not in self.cut_off]
            return next((peer for peer, node in heard if node.replica.is_leader), 0)

        return await eventually(found, within_seconds=10, saying="a leader")

    def client(self, *node_ids: int) -> QueueClient:
        servers = [f"127.0.0.1:{self._ports[node_id]}" for node_id in node_ids]
        return QueueClient(servers, token=TOKEN, ca=self._ca.ca_file, timeout=20.0)

    def applied(self) -> set[int]:
        return {node.replica.applied_index for node in self.nodes.values()}

    def digests(self) -> set[bytes]:
        return {node.machine.digest() for node in self.nodes.values()}
