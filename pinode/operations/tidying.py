"""Deletes what no release and no build refers to any more: slugs and sources on this node."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from pinode.cluster import Cluster
from pinode.slugs.slug_store import SlugStore

logger = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
UNUSED_SECONDS = 3600.0


@dataclass(slots=True)
class _Lying:
    """A file as it was seen at the last look."""

    number: int  # of the file; another one when it was taken in again
    unused_since: float
    was_used: bool = False


class SlugTidying:
    """Runs on every node. What the registry names is never touched.

    What it named and names no more goes at the next look: many deploys in a row must not fill a small disk. A
    new slug lies here before a release names it; if none does, it goes after an hour of this process with a
    leader in reach: neither a wrong clock nor an old view of the registry costs a slug.
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
        self._lying: dict[str, _Lying] = {}  # by digest

    async def run(self) -> None:
        """Look from time to time, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Delete what is used no more, and what has been without use for long enough."""
        if not self._is_caught_up() or not self._cluster.has_quorum:
            self._lying = {}
            return
        now, registry = self._clock(), self._cluster.state.registry
        used = {slug.digest for slug in registry.slugs()} | {source.digest for source in registry.sources()}
        is_building = bool(registry.unfinished_builds())  # it may be making a slug again that lies here
        before, self._lying = self._lying, {}
        for store in self._stores:
            for digest, number in (await asyncio.to_thread(store.files)).items():
                file = before.get(digest)
                if file is None or file.number != number:
                    file = _Lying(number, now)
                if digest in used:
                    file.unused_since, file.was_used = now, True
                elif file.was_used or (now - file.unused_since >= UNUSED_SECONDS and not is_building):
                    await self._delete(store, digest)
                    continue
                self._lying[digest] = file

    async def _delete(self, store: SlugStore, digest: str) -> None:
        try:
            await store.remove(digest)
        except OSError as error:  # a disk that is read-only now, say
            logger.warning("%s not deleted digest=%.12s reason=%s", store.kind, digest, error)
        else:
            logger.info("%s deleted, nothing refers to it digest=%.12s", store.kind, digest)
