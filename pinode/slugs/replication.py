"""Slugs between nodes: read to others, fetched where one is missing, kept by a second node when new."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from zlib import crc32

from pinode.apps.commands import HoldSlug
from pinode.apps.observed import NodeView
from pinode.cluster import Cluster
from pinode.errors import NotFound, PinodeError
from pinode.slugs.slug_fetch import SlugFetch
from pinode.slugs.slug_questions import SlugQuestion, decode_question, encode_head, encode_question
from pinode.slugs.slug_store import DamagedSlug, SlugStore
from replicated_queue.errors import QueueError

logger = logging.getLogger(__name__)

PIECE_BYTES = 128 * 1024  # sent at once: encrypting it must not hold up the other links
MOST_STREAMS = 8  # read at once by this node, of all slugs: each takes up to 3 MiB of memory
KEEP_SECONDS = 600.0  # for another node to fetch a whole slug over Wi-Fi
COPIES = 2  # of a new slug, its builder's included
HOLD_SECONDS = 10.0


class SlugReplication:
    """Serves slugs from the store and fetches missing ones from whoever holds them."""

    def __init__(self, cluster: Cluster, store: SlugStore) -> None:
        self._cluster = cluster
        self._store = store
        self._fetching: dict[str, asyncio.Lock] = {}
        self._streams = asyncio.Semaphore(MOST_STREAMS)
        self._read_method, self._keep_method = f"{store.kind}.read", f"{store.kind}.keep"

    def serve(self) -> None:
        """Answer others that read slugs here, or want one kept."""
        self._cluster.peers.serve_stream(self._read_method, self._read)
        self._cluster.peers.serve(self._keep_method, self._keep)

    async def fetch(self, digest: str, *, holders: Sequence[str] = ()) -> None:
        """Have the slug in the local store, verified. `holders` are asked before those the registry names.

        Raises `SlugUnavailable` naming who was asked and what came of it, or `SlugNotKept`.
        """
        lock = self._fetching.setdefault(digest, asyncio.Lock())  # two dynos of one release start together
        try:
            async with lock:
                if not self._store.has(digest):
                    await self._fetch(digest, holders)
                    await self._announce(digest)
        finally:
            if not lock.locked():
                self._fetching.pop(digest, None)

    async def copy_to(self, digest: str, target: Path) -> None:
        """Write it to the file `target`, fetched and verified. Raises `SlugUnavailable`."""
        for is_last in (False, True):
            await self.fetch(digest)
            try:
                await self._store.copy_to(digest, target)
                return
            except (DamagedSlug, NotFound):  # set aside now: another node has it
                if is_last:
                    raise

    async def spread(self, digest: str) -> list[str]:
        """Have other nodes keep a slug of this one; the ids of those that do now."""
        kept: list[str] = []
        others = [node for node in self._living() if node.node_id != self._cluster.node_id]
        # The node with the most room first; the name decides between equals, as on every node.
        for node in sorted(others, key=lambda node: (-node.stats.disk_free_bytes, node.name)):
            if len(kept) >= COPIES - 1:
                break
            try:
                await self._cluster.peers.call(
                    node.node_id,
                    self._keep_method,
                    encode_question(SlugQuestion(digest=digest)),
                    timeout_seconds=KEEP_SECONDS,
                )
                kept.append(node.node_id)
            except (PinodeError, OSError, TimeoutError) as error:
                logger.warning(
                    "%s not copied digest=%.12s node=%s reason=%s", self._store.kind, digest, node.name, error
                )
        return kept

    async def _fetch(self, digest: str, holders: Sequence[str]) -> None:
        await SlugFetch(
            self._cluster.peers,
            self._store,
            digest,
            nodes=self._candidates(digest, holders),
            streams=self._streams,
        ).run()

    def _candidates(self, digest: str, holders: Sequence[str]) -> list[NodeView]:
        """Who may have it: those that are named first, then the registry's holders, then everybody."""
        known = self._cluster.state.registry.holders(digest) or ()

        def place(node: NodeView) -> tuple[bool, bool, int]:
            # Of many holders each node begins with others: not all of a cluster with the same four.
            spread = crc32(f"{self._cluster.node_id} {node.node_id}".encode())
            return node.node_id not in holders, node.node_id not in known, spread

        others = [node for node in self._living() if node.node_id != self._cluster.node_id]
        return sorted(others, key=place)

    async def _announce(self, digest: str) -> None:
        """Tell the cluster that this node holds it too; a new slug is told by the build that made it."""
        holders = self._cluster.state.registry.holders(digest)
        if holders is None or self._cluster.node_id in holders:
            return
        try:
            await self._cluster.execute(
                HoldSlug(digest=digest, node_id=self._cluster.node_id), timeout_seconds=HOLD_SECONDS
            )
        except (PinodeError, QueueError, TimeoutError) as error:
            logger.info("%s kept but not announced digest=%.12s reason=%s", self._store.kind, digest, error)

    async def _read(self, peer: str, payload: bytes) -> AsyncIterator[bytes]:
        """First the slug's size and where the bytes begin, then the bytes."""
        asked = decode_question(payload)
        if asked.is_first:
            await self._store.verify(asked.digest)
        path = self._store.path(asked.digest)
        slug_bytes = path.stat().st_size
        yield encode_head(asked, slug_bytes=slug_bytes)
        offset, end = asked.part(slug_bytes)
        while piece := await asyncio.to_thread(_read_at, path, offset, min(PIECE_BYTES, end - offset)):
            offset += len(piece)
            yield piece

    async def _keep(self, peer: str, payload: bytes) -> bytes:
        await self.fetch(decode_question(payload).digest, holders=(peer,))
        return b""

    def _living(self) -> list[NodeView]:
        return [node for node in self._cluster.nodes() if node.state in ("alive", "suspect")]


def _read_at(path: Path, offset: int, most: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(most)
