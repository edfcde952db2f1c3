"""Nodes on loopback that have nothing but their links."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from pinode.peers.cluster_key import ClusterKey
from pinode.peers.identity import Identity, load_identity
from pinode.peers.keys import ClusterSecrets
from pinode.peers.links import PeerLinks
from pinode.peers.questions import IDLE_SECONDS
from pinode.peers.standing import (
    NO_CLUSTER,
    NO_GENERATION,
    ClusterMark,
    DiskGeneration,
    Generations,
    Standing,
)
from pinode.settings import Address
from tests.waiting import eventually

CLUSTER_KEY = ClusterKey(b"k" * 32)
OTHER_KEY = ClusterKey(b"o" * 32)
CLUSTER_ID = b"c" * 16


def identity_in(folder: Path, key: ClusterKey = CLUSTER_KEY) -> Identity:
    return load_identity(folder, ClusterSecrets.derived_from(key))


class PeerNode:
    """One node: its links, and what arrived."""

    def __init__(
        self, host: str, neighbours: dict[str, "PeerNode"], *, key: ClusterKey = CLUSTER_KEY
    ) -> None:
        self.identity = identity_in(Path(tempfile.mkdtemp(prefix="pinode-test-")), key)
        self.node_id = self.identity.node_id
        self.cluster = ClusterMark(CLUSTER_ID, 0)
        self.generation = DiskGeneration(1, b"first   ")
        self.generations = Generations()
        self.outdated: list[str] = []
        self.removed: set[str] = set()
        self.members = neighbours
        self.frames: list[tuple[str, bytes]] = []
        self.resets: list[str] = []
        self._host = host
        self.links = self.renew_links()

    def renew_links(self, *, idle_seconds: float = IDLE_SECONDS) -> PeerLinks:
        """Before they run, of its `identity` as it is now."""
        self.links = PeerLinks(
            self.identity,
            listen=Address(self._host, 0),
            standing=self.standing(),
            address_of=self.address_of,
            idle_seconds=idle_seconds,
        )
        self.links.on_frame(lambda peer, frame: self.frames.append((peer, frame)))
        self.links.on_reset(self.resets.append)
        return self.links

    def standing(self) -> Standing:
        """As it is at any moment."""
        return Standing(
            cluster=lambda: self.cluster,
            generation=lambda: self.generation,
            generations=self.generations,
            allowed=lambda node_id: node_id in self.members,
            was_removed=lambda node_id: node_id in self.removed,
            on_outdated=lambda code, message: self.outdated.append(code),
        )

    def address_of(self, node_id: str) -> tuple[str, int] | None:
        node = self.members.get(node_id)
        bound = node.links.bound if node else None
        return (bound.host, bound.port) if bound else None


@contextlib.asynccontextmanager
async def running(*nodes: PeerNode) -> AsyncIterator[None]:
    """Run the links of these nodes for a while."""
    async with asyncio.TaskGroup() as tasks:
        runs = [tasks.create_task(node.links.run()) for node in nodes]
        await eventually(lambda: all(node.links.bound for node in nodes))
        try:
            yield
        finally:
            for run in runs:
                run.cancel()


def cluster_of(count: int) -> list[PeerNode]:
    """Nodes that know each other as members."""
    members: dict[str, PeerNode] = {}
    nodes = [PeerNode(f"127.0.0.{number}", members) for number in range(1, count + 1)]
    members.update({node.node_id: node for node in nodes})
    return nodes


def nobodys_standing() -> Standing:
    """Of a node that belongs to no cluster and takes nobody."""
    return Standing(
        cluster=lambda: NO_CLUSTER,
        generation=lambda: NO_GENERATION,
        generations=Generations(),
        allowed=lambda node_id: False,
    )
