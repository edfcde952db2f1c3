"""Fetches one slug from several nodes at once, and goes on where an earlier fetch was broken off."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence

from pinode.apps.observed import NodeView
from pinode.cluster import PeerCalls
from pinode.errors import NotFound, PinodeError
from pinode.slugs.fetch_plan import FetchPlan
from pinode.slugs.partial_slug import CHUNK_BYTES, PartialSlug
from pinode.slugs.slug_questions import SlugQuestion, decode_head, encode_question
from pinode.slugs.slug_store import DamagedSlug, SlugStore

logger = logging.getLogger(__name__)

HOLDERS_AT_ONCE = 4
CHECK_SECONDS = 60.0  # for a holder to read the largest slug from a slow card, before it passes it on
SILENCE_SECONDS = 15.0
LOOK_SECONDS = 1.0  # whether a slow holder is to be helped


class SlugUnavailable(PinodeError):
    """No node that can be reached has the slug, whole."""

    code = "slug_unavailable"


class SlugNotKept(PinodeError):
    """This node's disk does not take the slug."""

    code = "slug_not_kept"


class SlugFetch:
    """The shell around `FetchPlan`: asks, writes, and has the whole compared."""

    def __init__(
        self,
        peers: PeerCalls,
        store: SlugStore,
        digest: str,
        *,
        nodes: Sequence[NodeView],
        streams: asyncio.Semaphore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`nodes` are asked in this order, some at once; `streams` bounds those of all fetches."""
        self._peers = peers
        self._store = store
        self._digest = digest
        self._nodes = iter(nodes)
        self._workers = min(HOLDERS_AT_ONCE, len(nodes))
        self._streams = streams
        self._clock = clock
        self._method = f"{store.kind}.read"
        self._beginning, self._checking = asyncio.Lock(), asyncio.Lock()
        self._changed = asyncio.Event()
        self._partial: PartialSlug | None = None
        self._plan = FetchPlan(chunks=1)  # of the real size once somebody said it
        self._is_kept = False
        self._writing = 0  # chunks that have arrived and are not in the file yet
        self._disk_error: OSError | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._tried: list[str] = []
        self._sent: dict[str, int] = {}  # node's name -> chunks that were kept

    async def run(self) -> None:
        """Have the slug in the store. Raises `SlugUnavailable` naming who was asked and what came of it, or
        `SlugNotKept`.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = [tasks.create_task(self._work()) for _ in range(self._workers)]
        finally:
            if self._partial is not None:
                await self._store.close_partial(self._partial)
        kind, digest = self._store.kind, self._digest[:12]
        if self._disk_error is not None:
            raise SlugNotKept(
                f"{kind} {digest} could not be written on this node: {self._disk_error.strerror}",
                hint="Make room on its disk (`pinode nodes` shows how full it is)",
            ) from self._disk_error
        if not self._is_kept:
            said = "; ".join(sorted(self._tried)) or "no other node is in reach"
            raise SlugUnavailable(
                f"{kind} {digest} could not be fetched ({said})",
                hint="Start a node that has it, or deploy again",
            )
        sent = " ".join(f"{name}={count}" for name, count in sorted(self._sent.items()))
        logger.info("%s fetched digest=%s chunks: %s", kind, digest, sent or "all were here")

    async def _work(self) -> None:
        """Take from one node after another, each as long as it is good for something."""
        for node in self._nodes:
            try:
                await self._take_from(node)
                return
            except (PinodeError, OSError, TimeoutError) as error:
                self._tried.append(f"{node.name}: {error or type(error).__name__}")
                logger.info(
                    "%s not fetched digest=%.12s from=%s reason=%s",
                    self._store.kind,
                    self._digest,
                    node.name,
                    self._tried[-1],
                )

    async def _take_from(self, node: NodeView) -> None:
        await self._begin(await self._slug_bytes(node))
        plan, holder = self._plan, node.node_id
        plan.join(holder)
        try:
            while not self._is_kept:
                if plan.is_liar(holder):
                    raise DamagedSlug("what it sent is something else")
                if plan.is_complete and not self._writing:
                    await self._check()
                elif not await self._took_run(node):
                    await self._something_changes()
        finally:
            plan.leave(holder)
            self._wake()

    async def _slug_bytes(self, node: NodeView) -> int:
        """Whether it has the slug, whole, and how large it is. Raises `NotFound`, or what it says."""
        question = SlugQuestion(digest=self._digest, wanted=0)
        async with self._answer(node, question, seconds=CHECK_SECONDS) as pieces:
            slug_bytes, _ = decode_head(await anext(pieces, b""))
        if not slug_bytes:
            raise NotFound("it has no such slug")
        return slug_bytes

    async def _begin(self, slug_bytes: int) -> None:
        """Open what is here of it, at the first that has it."""
        async with self._beginning:
            if self._partial is None:
                with self._ending_at_disk_errors():
                    self._partial = await self._store.open_partial(self._digest, slug_bytes=slug_bytes)
                self._plan = FetchPlan(chunks=self._partial.chunks, have=self._partial.from_before)
        if slug_bytes != self._partial.slug_bytes:
            raise DamagedSlug(f"it has {slug_bytes} bytes of it, another {self._partial.slug_bytes}")

    async def _took_run(self, node: NodeView) -> bool:
        """Read what is next; False when there is nothing for this node now."""
        async with self._streams:
            run = self._plan.next_run(node.node_id, now=self._clock())
            if not run:
                return False
            try:
                await self._read(node, run)
            finally:
                self._plan.end_run(node.node_id)
                self._wake()
        return True

    async def _read(self, node: NodeView, run: Sequence[int]) -> None:
        partial, plan = self._opened(), self._plan
        wanted = sum(map(partial.chunk_bytes, run))
        question = SlugQuestion(digest=self._digest, first=run[0] * CHUNK_BYTES, wanted=wanted)
        async with self._answer(node, question, seconds=SILENCE_SECONDS) as pieces:
            _, begins = decode_head(await anext(pieces, b""))
            chunk, content = begins // CHUNK_BYTES, bytearray()
            async for piece in pieces:
                if chunk >= partial.chunks:
                    break
                content += piece
                while chunk < partial.chunks and len(content) >= (size := partial.chunk_bytes(chunk)):
                    if plan.arrived(node.node_id, chunk, now=self._clock()):
                        await self._write(node, chunk, content[:size])
                    del content[:size]
                    chunk += 1
                if not plan.is_awaited(node.node_id):
                    return
        raise DamagedSlug(f"it sent less than the {wanted} bytes from {question.first} on")

    async def _write(self, node: NodeView, chunk: int, content: bytearray) -> None:
        self._writing += 1  # until it is 0, what is on the disk is not what has arrived
        try:
            with self._ending_at_disk_errors():
                await asyncio.to_thread(self._opened().write, chunk, content)
        finally:
            self._writing -= 1
            self._wake()
        self._sent[node.name] = self._sent.get(node.name, 0) + 1

    async def _check(self) -> None:
        async with self._checking:
            if self._is_kept or self._writing or not self._plan.is_complete:
                return
            with self._ending_at_disk_errors():
                self._is_kept = await self._store.keep_partial(self._opened(), self._digest)
            if self._is_kept:
                self._end()
            elif self._plan.is_complete:
                logger.warning("%s came wrong, fetched anew digest=%.12s", self._store.kind, self._digest)
                self._plan.doubt()
                self._wake()

    def _opened(self) -> PartialSlug:
        assert self._partial is not None
        return self._partial

    @contextlib.contextmanager
    def _ending_at_disk_errors(self) -> Iterator[None]:
        """No other node helps against this node's disk."""
        try:
            yield
        except OSError as error:
            self._disk_error = error
            self._end()
            raise

    def _end(self) -> None:
        """No more is needed, or can be done."""
        for task in self._tasks:
            task.cancel()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _something_changes(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self._changed.wait()

    @contextlib.asynccontextmanager
    async def _answer(
        self, node: NodeView, question: SlugQuestion, *, seconds: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        pieces = self._peers.stream(
            node.node_id, self._method, encode_question(question), timeout_seconds=seconds
        )
        try:
            yield pieces
        finally:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()
