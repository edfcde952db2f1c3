"""pinode itself: three real node processes, and a client over TLS as any program would use it."""

import os
import ssl
import urllib.request
from pathlib import Path

from benchmarks.queue_load import JOB, cpu_of
from pinode.cli.demo_nodes import DemoNode
from replicated_queue import QueueClient
from tests.multi_host.three_nodes import PASSWORD, Nodes

TOPIC = "bench"
DRAINED_AT_ONCE = 1000


class PinodeQueue:
    """`MeasuredQueue` of three nodes started by `pinode start`."""

    name = "pinode"

    def __init__(self, nodes: Nodes, leader: DemoNode, client: QueueClient) -> None:
        self.nodes = nodes
        self.leader = leader
        self._client = client

    async def put(self) -> object:
        return await self._client.put(TOPIC, JOB)

    async def cycle(self) -> object:
        client = self._client
        await client.put(TOPIC, JOB)
        job = await client.reserve(TOPIC, wait=10)
        assert job is not None
        return await client.ack(job)

    async def drain(self) -> None:
        while jobs := await self._client.reserve_many(TOPIC, DRAINED_AT_ONCE):
            await self._client.ack_many(jobs)

    def cpu_seconds(self) -> tuple[float, float]:
        return cpu_of([node.process.pid for node in self.nodes.nodes if node.process]), cpu_of([os.getpid()])


def start_nodes(folder: Path) -> Nodes:
    """Three nodes with an administrator."""
    nodes = Nodes(folder)
    nodes.start()
    nodes.register_admin()
    return nodes


def client_of(nodes: Nodes, first: DemoNode, *, only: bool = False) -> QueueClient:
    """A client with a token of its own, that tries `first` first."""
    session = first.client().post("/api/v1/sessions", {"username": "admin", "password": PASSWORD})
    ca = first.folder / "ca.pem"
    unknown = ssl._create_unverified_context()  # the first contact; the file then proves every other
    with urllib.request.urlopen(f"{first.web_url}/ca.pem", context=unknown) as answer:
        ca.write_bytes(answer.read())
    others = [] if only else [node for node in nodes.nodes if node is not first]
    servers = [f"{node.host}:{node.ports['peer']}" for node in (first, *others)]
    return QueueClient(servers, token=session["token"], ca=ca)
