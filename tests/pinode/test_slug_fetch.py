"""One slug fetched from several nodes at once, over real links on loopback."""

import asyncio
import contextlib
import hashlib
import random
import resource
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from pinode.apps.observed import NodeView
from pinode.peers.links import PeerLinks
from pinode.slugs.partial_slug import CHUNK_BYTES
from pinode.slugs.replication import SlugReplication
from pinode.slugs.slug_fetch import SlugFetch, SlugNotKept, SlugUnavailable
from pinode.slugs.slug_questions import SlugQuestion, decode_question, encode_question
from pinode.slugs.slug_store import SlugStore
from tests.pinode.fake_cluster import FakeCluster, node_view
from tests.pinode.peer_nodes import PeerNode, cluster_of, running
from tests.waiting import eventually

CHUNKS = 12
CONTENT = random.Random(7).randbytes((CHUNKS - 1) * CHUNK_BYTES + 123_456)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
Change = Callable[[int, bytes], bytes]


class Holder:
    """A node that has the slug. `change` alters pieces: it is given how many bytes went before."""

    def __init__(self, node: PeerNode, folder: Path) -> None:
        self.node = node
        self.name = node.links.bound.host if node.links.bound else ""
        self.sent_bytes = 0
        self.change: Change = lambda before, piece: piece
        self.pause_at: int | None = None  # bytes
        self.going_on = asyncio.Event()
        cluster = FakeCluster()
        cluster.peers = _Tapped(node.links, self)  # type: ignore[assignment]
        self.store = SlugStore(folder / node.node_id)
        SlugReplication(cluster, self.store).serve()

    async def passed_on(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """What the node answers, changed and counted; the head is left alone."""
        yield await anext(pieces)
        async for piece in pieces:
            if self.pause_at is not None and self.sent_bytes >= self.pause_at:
                await self.going_on.wait()
            self.sent_bytes += len(piece)
            yield self.change(self.sent_bytes - len(piece), piece)


class _Tapped:
    """The links of a holder, where what it sends of slugs is seen."""

    def __init__(self, links: PeerLinks, holder: Holder) -> None:
        self._links = links
        self._holder = holder
        self.serve = links.serve

    def serve_stream(self, method: str, handler: Callable[[str, bytes], AsyncIterator[bytes]]) -> None:
        self._links.serve_stream(method, lambda peer, payload: self._holder.passed_on(handler(peer, payload)))


class Stage:
    """Three nodes that have the slug, and one that has not."""

    def __init__(self, nodes: list[PeerNode], holders: list[Holder], folder: Path) -> None:
        self.nodes = nodes
        self.holders = holders
        self.folder = folder / "own"
        self.store = SlugStore(self.folder)

    def fetch(self, *holders: Holder) -> SlugFetch:
        chosen = holders or tuple(self.holders)
        return SlugFetch(
            self.nodes[0].links,
            self.store,
            DIGEST,
            nodes=[view_of(holder) for holder in chosen],
            streams=asyncio.Semaphore(4),
        )

    def sent(self) -> list[int]:
        return [holder.sent_bytes for holder in self.holders]


def view_of(holder: Holder) -> NodeView:
    number = int(holder.name.rpartition(".")[2])
    view = node_view(number, f"pi{number}")
    return type(view)(
        node_id=holder.node.node_id,
        name=view.name,
        host=view.host,
        peer_port=view.peer_port,
        web_port=view.web_port,
        router_port=view.router_port,
        state="alive",
        incarnation=0,
    )


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    nodes = cluster_of(4)
    (tmp_path / "slug").write_bytes(CONTENT)
    async with running(*nodes):
        holders = [Holder(node, tmp_path) for node in nodes[1:]]
        for holder in holders:
            await holder.store.add(tmp_path / "slug")
        yield Stage(nodes, holders, tmp_path)


async def test_all_holders_send_a_part_and_nothing_is_sent_twice(stage: Stage) -> None:
    await stage.fetch().run()

    assert stage.store.path(DIGEST).read_bytes() == CONTENT
    assert all(sent >= CHUNK_BYTES for sent in stage.sent())
    assert sum(stage.sent()) == len(CONTENT)
    assert [path.name for path in stage.folder.iterdir()] == [f"{DIGEST}.slug"]


async def test_what_a_holder_that_dies_on_the_way_owes_comes_from_the_others(stage: Stage) -> None:
    dying = stage.holders[0]
    dying.pause_at = CHUNK_BYTES + 1
    for other in stage.holders[1:]:
        other.pause_at = 0
    fetch = asyncio.create_task(stage.fetch().run())
    await eventually(lambda: dying.sent_bytes > CHUNK_BYTES)

    stage.nodes[0].members.pop(dying.node.node_id)  # and is gone for good
    for connection in list(dying.node.links._connections):
        connection.abort()
    for other in stage.holders[1:]:
        other.going_on.set()
    await fetch

    assert stage.store.path(DIGEST).read_bytes() == CONTENT
    assert sum(stage.sent()) <= len(CONTENT) + 2 * CHUNK_BYTES, "only what it owed was sent again"


async def test_a_holder_that_falls_silent_is_not_waited_for(stage: Stage) -> None:
    silent = stage.holders[0]
    silent.pause_at = CHUNK_BYTES // 2

    async with asyncio.timeout(10):
        await stage.fetch().run()

    assert stage.store.path(DIGEST).read_bytes() == CONTENT


async def test_a_holder_whose_bytes_are_wrong_is_found_out_and_the_slug_is_right(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    stage.holders[1].change = lambda before, piece: bytes([piece[0] ^ 1]) + piece[1:]

    await stage.fetch().run()

    assert stage.store.path(DIGEST).read_bytes() == CONTENT
    assert "came wrong, fetched anew" in caplog.text


async def test_where_all_bytes_are_wrong_nothing_is_kept_and_everybody_is_named(stage: Stage) -> None:
    for holder in stage.holders:
        holder.change = lambda before, piece: bytes(len(piece))

    with pytest.raises(SlugUnavailable, match=r"pi2: .*else; pi3: .*else; pi4: .*else"):
        await stage.fetch().run()

    assert not stage.store.has(DIGEST)


async def test_a_slug_damaged_on_the_disk_of_a_holder_is_not_sent(stage: Stage) -> None:
    damaged = stage.holders[0].store
    damaged.path(DIGEST).write_bytes(CONTENT[:-1] + b"!")

    await stage.fetch().run()

    assert stage.sent()[0] == 0 and not damaged.has(DIGEST)
    assert stage.store.path(DIGEST).read_bytes() == CONTENT


async def test_a_fetch_that_a_restart_broke_off_goes_on_with_what_is_on_the_disk(stage: Stage) -> None:
    for holder in stage.holders:
        holder.pause_at = 2 * CHUNK_BYTES
    broken_off = asyncio.create_task(stage.fetch().run())
    await eventually(lambda: all(sent >= 2 * CHUNK_BYTES for sent in stage.sent()))
    broken_off.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await broken_off
    for holder in stage.holders:
        holder.sent_bytes, holder.pause_at = 0, None

    stage.store = SlugStore(stage.folder)  # as the next process opens it
    await stage.fetch().run()

    assert stage.store.path(DIGEST).read_bytes() == CONTENT
    assert sum(stage.sent()) <= len(CONTENT) - 4 * CHUNK_BYTES


async def test_wrong_bytes_from_before_the_restart_are_fetched_anew(stage: Stage) -> None:
    partial = await stage.store.open_partial(DIGEST, slug_bytes=len(CONTENT))
    partial.write(5, bytes(CHUNK_BYTES))
    await stage.store.close_partial(partial)

    await stage.fetch().run()

    assert stage.store.path(DIGEST).read_bytes() == CONTENT
    assert sum(stage.sent()) == len(CONTENT), "and nothing but these"


async def test_nodes_of_the_version_before_deliver_and_are_delivered_to(stage: Stage, tmp_path: Path) -> None:
    old = stage.holders[0]

    async def read(peer: str, payload: bytes) -> AsyncIterator[bytes]:
        """As it was: the size, then all of it, whatever is asked."""
        assert decode_question(payload).digest == DIGEST
        yield len(CONTENT).to_bytes(8, "big")
        for offset in range(0, len(CONTENT), 256 * 1024):
            yield CONTENT[offset : offset + 256 * 1024]

    old.node.links._answers._streams["slug.read"] = read
    await stage.fetch(old).run()
    question = encode_question(SlugQuestion(digest=DIGEST))
    new = stage.holders[1].node.node_id
    pieces = [
        piece async for piece in stage.nodes[0].links.stream(new, "slug.read", question, timeout_seconds=5)
    ]

    assert stage.store.path(DIGEST).read_bytes() == CONTENT
    assert pieces[0] == len(CONTENT).to_bytes(8, "big")
    assert b"".join(pieces[1:]) == CONTENT


async def test_a_full_disk_is_said_once_and_is_nobodys_fault(stage: Stage) -> None:
    with small_files(CHUNK_BYTES), pytest.raises(SlugNotKept, match="could not be written on this node"):
        await stage.fetch().run()

    assert not stage.store.has(DIGEST)


@contextlib.contextmanager
def small_files(most_bytes: int) -> Iterator[None]:
    """No file of this process may become larger: the nearest thing to a full disk."""

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
