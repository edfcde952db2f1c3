"""Sees to it that slugs and sources stay on two living nodes, when one that had them died or lost them."""

import asyncio
import logging
from collections.abc import Callable, Iterator

from pinode.apps.commands import HoldSlug
from pinode.cluster import Cluster
from pinode.errors import PinodeError
from pinode.slugs.replication import COPIES, SlugReplication
from pinode.slugs.slug_store import SlugStore
from replicated_queue.errors import QueueError

logger = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
LOOKS = 4  # in a row with too few copies, before one is made: a node that restarts is back by then


class CopyCare:
    """Runs on every node. Of the living holders of a slug the first one has it copied, so that one does."""

    def __init__(
        self,
        cluster: Cluster,
        *shelves: tuple[SlugStore, SlugReplication],
        is_caught_up: Callable[[], bool],
    ) -> None:
        self._cluster = cluster
        self._shelves = shelves
        self._is_caught_up = is_caught_up
        self._looks: dict[str, int] = {}  # digest -> how often in a row it was found on too few nodes

    async def run(self) -> None:
        """Look from time to time, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Tell what this node has lost; copy what has been on too few nodes for long enough."""
        if not self._is_caught_up() or not self._cluster.has_quorum:
            self._looks = {}
            return
        short: dict[str, int] = {}
        for store, copies in self._shelves:
            for digest, holders in list(self._held(store.kind)):
                if self._cluster.node_id not in holders:
                    continue
                if not store.has(digest):
                    await self._tell_lost(store.kind, digest)
                elif self._is_ours_to_copy(holders):
                    short[digest] = self._looks.get(digest, 0) + 1
                    if short[digest] >= LOOKS:
                        await copies.spread(digest)
        self._looks = short

    def _held(self, kind: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        registry = self._cluster.state.registry
        for row in registry.slugs() if kind == "slug" else registry.sources():
            yield row.digest, registry.holders(row.digest) or ()

    def _is_ours_to_copy(self, holders: tuple[str, ...]) -> bool:
        living = {node.node_id for node in self._cluster.nodes() if node.state in ("alive", "suspect")}
        present = [holder for holder in holders if holder in living]
        is_first = bool(present) and present[0] == self._cluster.node_id
        return is_first and len(present) < min(COPIES, len(living))

    async def _tell_lost(self, kind: str, digest: str) -> None:
        """It was damaged and set aside, or somebody deleted it: do not count on this node for it."""
        command = HoldSlug(digest=digest, node_id=self._cluster.node_id, holds=False)
        try:
            await self._cluster.execute(command)
            logger.warning("%s is lost on this node digest=%.12s", kind, digest)
        except (PinodeError, QueueError, TimeoutError) as error:
            logger.info("lost %s not told digest=%.12s reason=%s", kind, digest, error)
