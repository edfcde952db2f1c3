"""Several nodes in one process: each a `FakeCluster` of its own, whose questions reach the others."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

from pinode.errors import Unreachable
from tests.pinode.fake_cluster import FakeCluster, FakePeers


class LinkedPeers(FakePeers):
    """`PeerCalls` of one node; a node in `unreachable` (of either side) does not answer."""

    def __init__(self, node_id: str, peers: dict[str, "LinkedPeers"]) -> None:
        super().__init__()
        self._node_id = node_id
        self._peers = peers
        self.calls = 0

    async def call(self, node_id: str, method: str, payload: bytes, *, timeout_seconds: float) -> bytes:
        self.calls += 1
        other = self._other(node_id, method)
        async with asyncio.timeout(timeout_seconds):
            return await other._handlers[method](self._node_id, payload)

    async def stream(
        self, node_id: str, method: str, payload: bytes, *, timeout_seconds: float
    ) -> AsyncIterator[bytes]:
        async for chunk in self._other(node_id, method)._streams[method](self._node_id, payload):
            yield chunk

    def _other(self, node_id: str, method: str) -> "LinkedPeers":
        other = self._peers[node_id]
        known = method in other._handlers or method in other._streams
        if not known or node_id in self.unreachable or self._node_id in other.unreachable:
            raise Unreachable(f"{node_id} does not answer.")
        return other


def linked_clusters(*names: str) -> list[FakeCluster]:
    """One cluster object for each node, all of the same nodes."""
    clusters = [FakeCluster(nodes=names) for _ in names]
    peers: dict[str, LinkedPeers] = {}
    for cluster, node_id in zip(clusters, list(clusters[0].views), strict=True):
        cluster.node_id, cluster.node_name = node_id, cluster.views[node_id].name
        peers[node_id] = LinkedPeers(node_id, peers)
        cluster.peers = peers[node_id]
    return clusters


def peers_of(cluster: FakeCluster) -> LinkedPeers:
    return cast(LinkedPeers, cluster.peers)
