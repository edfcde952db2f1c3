"""Slugs between nodes: read to others, fetched where one is missing, kept by a second node when new."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgpack

from pinode.apps.commands import HoldSlug
from pinode.apps.observed import NodeView
from pinode.cluster import Cluster
from pinode.errors import InvalidInput, NotFound, PinodeError
from pinode.slugs.slug_store import DamagedSlug, SlugStore
from replicated_queue.errors import QueueError

logger = logging.getLogger(__name__)

CHUNK_BYTES = 256 * 1024
CHUNK_SECONDS = 15.0
KEEP_SECONDS = 600.0  # for another node to fetch a whole slug over Wi-Fi
COPIES = 2  # of a new slug, its builder's included
HOLD_SECONDS = 10.0


class SlugUnavailable(PinodeError):
    """No node that can be reached has the slug, whole."""

    code = "slug_unavailable"


class SlugReplication:
    """Serves slugs from the store and fetches missing ones from whoever holds them."""

    def __init__(self, cluster: Cluster, store: SlugStore) -> None:
        self._cluster = cluster
        self._store = store
        self._fetching: dict[str, asyncio.Lock] = {}
        self._read_method, self._keep_method = f"{store.kind}.read", f"{store.kind}.keep"

    def serve(self) -> None:
        """Answer others that read slugs here, or want one kept."""
        self._cluster.peers.serve_stream(self._read_method, self._read)
        self._cluster.peers.serve(self._keep_method, self._keep)

    async def fetch(self, digest: str, *, holders: Sequence[str] = ()) -> None:
        """Have the slug in the local store, verified. `holders` are asked before those the registry names.

        Raises `SlugUnavailable` naming who was asked and what came of it.
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
                    msgpack.packb({"digest": digest}),
                    timeout_seconds=KEEP_SECONDS,
                )
                kept.append(node.node_id)
            except (PinodeError, OSError, TimeoutError) as error:
                logger.warning(
                    "%s not copied digest=%.12s node=%s reason=%s", self._store.kind, digest, node.name, error
                )
        return kept

    async def _fetch(self, digest: str, holders: Sequence[str]) -> None:
        tried: list[str] = []
        for node in self._candidates(digest, holders):
            try:
                await self._fetch_from(node, digest)
                logger.info("%s fetched digest=%.12s from=%s", self._store.kind, digest, node.name)
                return
            except (PinodeError, OSError, TimeoutError) as error:
                tried.append(f"{node.name}: {error or type(error).__name__}")
        raise SlugUnavailable(
            f"{self._store.kind} {digest[:12]} could not be fetched "
            f"({'; '.join(tried) or 'no other node is in reach'})",
            hint="Start a node that has it, or deploy again",
        )

    def _candidates(self, digest: str, holders: Sequence[str]) -> list[NodeView]:
        """Who may have it: those that are named first, then the registry's holders, then everybody."""
        order = [*holders, *(self._cluster.state.registry.holders(digest) or ())]
        others = [node for node in self._living() if node.node_id != self._cluster.node_id]
        return sorted(
            others, key=lambda node: order.index(node.node_id) if node.node_id in order else len(order)
        )

    async def _fetch_from(self, node: NodeView, digest: str) -> None:
        chunks = self._cluster.peers.stream(
            node.node_id, self._read_method, msgpack.packb({"digest": digest}), timeout_seconds=CHUNK_SECONDS
        )
        slug_bytes = int.from_bytes(await anext(chunks, b""), "big")
        if not slug_bytes:
            raise NotFound("it has no such slug")
        download = self._store.begin(digest, slug_bytes=slug_bytes)
        try:
            async for chunk in chunks:
                await download.append(chunk)
            await download.commit()
        finally:
            download.close()

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
        """First the size, then the bytes."""
        digest = _digest_in(payload)
        await self._store.verify(digest)
        path = self._store.path(digest)
        yield path.stat().st_size.to_bytes(8, "big")
        offset = 0
        while chunk := await asyncio.to_thread(_read_at, path, offset):
            offset += len(chunk)
            yield chunk

    async def _keep(self, peer: str, payload: bytes) -> bytes:
        await self.fetch(_digest_in(payload), holders=(peer,))
        return b""

    def _living(self) -> list[NodeView]:
        return [node for node in self._cluster.nodes() if node.state in ("alive", "suspect")]


def _read_at(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(CHUNK_BYTES)


def _digest_in(payload: bytes) -> str:
    try:
        digest = msgpack.unpackb(payload)["digest"]
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise InvalidInput("a question about a slug names none") from error
    if not isinstance(digest, str):
        raise InvalidInput("a question about a slug names none")
    return digest
