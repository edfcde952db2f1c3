"""Deletes what no release and no build refers to any more: slugs and sources on this node."""

import asyncio
import logging
import time
from collections.abc import Callable

from pinode.cluster import Cluster
from pinode.slugs.slug_store import SlugStore

logger = logging.getLogger(__name__)

LOOK_SECONDS = 600.0
UNUSED_SECONDS = 3600.0


class SlugTidying:
    """Runs on every node. What the registry names is never touched.

    A slug goes after an hour without use: a new one lies here before a release names it. The hour is one of
    this process with a leader in reach: neither a wrong clock nor an old view of the registry costs a slug.
    """

    def __init__(
        self,
        cluster: Cluster,
        *stores: SlugStore,
        is_caught_up: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._stores = stores
        self._is_caught_up = is_caught_up
        self._clock = clock
        self._unused_since: dict[str, float] = {}

    async def run(self) -> None:
        """Look from time to time, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Delete what has been without use for long enough."""
        if not self._is_caught_up() or not self._cluster.has_quorum:
            self._unused_since = {}
            return
        now = self._clock()
        stored = {
            digest: store for store in self._stores for digest in await asyncio.to_thread(store.digests)
        }
        registry = self._cluster.state.registry
        used = {slug.digest for slug in registry.slugs()} | {source.digest for source in registry.sources()}
        self._unused_since = {
            digest: self._unused_since.get(digest, now) for digest in stored if digest not in used
        }
        if registry.unfinished_builds():
            return  # it may be making this very slug again
        for digest, since in self._unused_since.items():
            if now - since >= UNUSED_SECONDS:
                try:
                    await stored[digest].remove(digest)
                except OSError as error:  # a disk that is read-only now, say
                    logger.warning(
                        "%s not deleted digest=%.12s reason=%s", stored[digest].kind, digest, error
                    )
                else:
                    logger.info("%s deleted, nothing refers to it digest=%.12s", stored[digest].kind, digest)
