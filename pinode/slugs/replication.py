"""Slugs between nodes: reads them to others, fetches what this node lacks, verified."""

from typing import Any

from pinode.cluster import Cluster


class SlugReplication:
    """Serves `slug.read` from the store and fetches missing slugs from whoever holds them."""

    def __init__(self, cluster: Cluster, store: Any) -> None:
        self._cluster = cluster
        self._store = store

    def serve(self) -> None:
        """Answer `slug.read`."""

    async def fetch(self, digest: str) -> None:
        """Have the slug in the local store, verified. Raises `SlugUnavailable` naming who was asked."""
