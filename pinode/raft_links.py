"""What `replicated_queue` needs of the network, over the peers' links: frames by lane, calls, reset links."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from pinode.peers.errors import PeerRefused, PeerUnreachable
from pinode.peers.links import PeerLinks
from replicated_queue.broker import Broker
from replicated_queue.errors import NotLeader, QueueError
from replicated_queue.interfaces import Lane, PeerId
from replicated_queue.service import ReplicaService

COMMIT_INDEX_BYTES = 8
ASK_SECONDS = 2.0
STREAM_SECONDS = 10.0  # for each piece of a snapshot
RETRY_SECONDS = 0.5


def node_id_of(peer: PeerId) -> str:
    """The same node, as pinode writes it."""
    return f"{peer:016x}"


class RaftLinks:
    """A `Transport` for the replica and the broker of this node."""

    def __init__(self, links: PeerLinks) -> None:
        self._links = links

    def attach(self, replica: ReplicaService, broker: Broker) -> None:
        """From now on give them what peers send."""

        async def answer(_: str, frame: bytes) -> bytes:
            return await broker.answer(frame)

        async def commit_index(_: str, __: bytes) -> bytes:
            try:
                index = await replica.confirm_leadership()
            except NotLeader as error:
                raise PeerRefused("not the leader") from error
            return index.to_bytes(COMMIT_INDEX_BYTES, "big")

        async def snapshot(peer: str, request: bytes) -> AsyncIterator[bytes]:
            try:
                async with contextlib.aclosing(replica.serve_snapshot(int(peer, 16), request)) as pieces:
                    async for piece in pieces:
                        yield piece
            except QueueError as error:
                raise PeerRefused(str(error)) from error

        self._links.on_frame(lambda node_id, frame: replica.receive(int(node_id, 16), frame))
        self._links.on_reset(lambda node_id: replica.peer_unreachable(int(node_id, 16)))
        self._links.serve("queue", answer)
        self._links.serve("commit index", commit_index)
        self._links.serve_stream("snapshot", snapshot)

    def send(self, peer: PeerId, frame: bytes, *, lane: Lane) -> None:
        """Queue one frame; it may be lost."""
        self._links.send(node_id_of(peer), lane, frame)

    async def call(self, peer: PeerId, frame: bytes, *, timeout_seconds: float) -> bytes:
        """Ask the peer's broker. Raises `OSError` or `TimeoutError`."""
        try:
            return await self._links.call(node_id_of(peer), "queue", frame, timeout_seconds=timeout_seconds)
        except PeerUnreachable as error:
            # The broker must know whether the question can have been heard.
            kind = ConnectionError if error.was_asked else ConnectionRefusedError
            raise kind(str(error)) from error
        except PeerRefused as error:
            raise ConnectionError(str(error)) from error

    async def fetch(self, peer: PeerId, request: bytes) -> AsyncIterator[bytes]:
        """The bytes of the peer's snapshot, on a connection of its own. Raises `OSError`, `TimeoutError`."""
        node_id = node_id_of(peer)
        try:
            async for data in self._links.stream(
                node_id, "snapshot", request, timeout_seconds=STREAM_SECONDS
            ):
                yield data
        except (PeerUnreachable, PeerRefused) as error:
            raise ConnectionError(str(error)) from error

    async def commit_index_of_leader(self, peer: PeerId) -> int:
        """How much is agreed, in the words of a leader that made certain of it. Raises as `call` does."""
        try:
            data = await self._links.call(node_id_of(peer), "commit index", b"", timeout_seconds=ASK_SECONDS)
        except (PeerUnreachable, PeerRefused) as error:
            raise ConnectionError(str(error)) from error
        return int.from_bytes(data, "big")


class CaughtUp:
    """Whether this process has applied all that had been agreed when it first heard a leader.

    Until then what it knows may be from before it was switched off, and nothing new is started from it.
    """

    def __init__(self, replica: ReplicaService, links: RaftLinks) -> None:
        self._replica = replica
        self._links = links
        self._wanted: int | None = None

    def __call__(self) -> bool:
        """True once and for all when that point is applied."""
        return self._wanted is not None and self._replica.applied_index >= self._wanted

    async def run(self) -> None:
        """Ask the leader, until one has answered."""
        while self._wanted is None:
            replica = self._replica
            try:
                if replica.is_leading:
                    self._wanted = await replica.confirm_leadership()
                elif replica.leader_id is not None and not replica.is_leader and replica.has_quorum:
                    self._wanted = await self._links.commit_index_of_leader(replica.leader_id)
                else:
                    await asyncio.sleep(RETRY_SECONDS)
            except (OSError, TimeoutError, NotLeader):
                await asyncio.sleep(RETRY_SECONDS)
