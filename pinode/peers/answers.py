"""What this node answers to others: methods by name, each request a task that ends with its connection."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from pinode.errors import PinodeError
from pinode.peers.connection import FrameConnection
from pinode.peers.errors import MalformedFrame, PeerRefused
from pinode.peers.frames import Cancel, Chunk, End, Failure, Reply, Request, decode

logger = logging.getLogger(__name__)

CallHandler = Callable[[str, bytes], Awaitable[bytes]]
StreamHandler = Callable[[str, bytes], AsyncIterator[bytes]]
MAX_OPEN_REQUESTS = 512  # of one peer at once


class Answers:
    """The registry of methods, and the connections that ask for them."""

    def __init__(self) -> None:
        self._calls: dict[str, CallHandler] = {}
        self._streams: dict[str, StreamHandler] = {}
        self._open: set[str] = set()

    def serve(self, method: str, handler: CallHandler, *, open_to_holders: bool) -> None:
        """Answer a method; members alone may ask, unless it is open to all holders of the cluster key."""
        assert method not in self._calls, f"{method} is answered already"
        self._calls[method] = handler
        if open_to_holders:
            self._open.add(method)

    def serve_stream(self, method: str, handler: StreamHandler) -> None:
        """Answer a method by chunks."""
        assert method not in self._streams, f"{method} is answered already"
        self._streams[method] = handler

    async def answer(self, peer: str, method: str, payload: bytes, *, is_member: bool) -> bytes:
        """Run one method. Raises `PeerRefused` when there is none, or not for this peer."""
        handler = self._calls.get(method)
        if handler is None:
            raise PeerRefused(f"this node does not know the method {method!r}", code="unknown_method")
        if not is_member and method not in self._open:
            raise PeerRefused(f"node {peer} is not a member of this cluster", code="not_member")
        return await handler(peer, payload)

    def chunks(self, peer: str, method: str, payload: bytes) -> AsyncGenerator[bytes, None]:
        """Run one streaming method. Raises `PeerRefused` when there is none."""
        handler = self._streams.get(method)
        if handler is None:
            raise PeerRefused(f"this node does not know the stream {method!r}", code="unknown_method")
        return _ended_with_its_reader(handler(peer, payload))

    def attach_calls(
        self, connection: FrameConnection, peer: str, tasks: asyncio.TaskGroup, *, is_member: bool
    ) -> None:
        """Answer the requests of one connection until it closes; then end what it still waits for."""
        running: dict[int, asyncio.Task[None]] = {}

        def receive(frame: bytes) -> None:
            match decode(frame):
                case Request() as request if len(running) >= MAX_OPEN_REQUESTS:
                    connection.write(Failure(request.number, "busy", "too many open requests"))
                case Request() as request:
                    task = tasks.create_task(self._reply(connection, peer, request, is_member))
                    running[request.number] = task
                    task.add_done_callback(lambda _: running.pop(request.number, None))
                case Cancel(number=number):
                    if number in running:
                        running[number].cancel()
                case message:
                    raise MalformedFrame(f"a {type(message).__name__} where requests are expected")

        def closed(was_reset: bool) -> None:
            for task in list(running.values()):
                task.cancel()

        connection.receive_with(receive)
        connection.on_closed(closed)

    def attach_stream(self, connection: FrameConnection, peer: str, tasks: asyncio.TaskGroup) -> None:
        """Answer the one request of a bulk connection, then close it."""
        running: list[asyncio.Task[None]] = []

        def receive(frame: bytes) -> None:
            request = decode(frame)
            if not isinstance(request, Request) or running:
                raise MalformedFrame("a stream takes one request")
            running.append(tasks.create_task(self._stream(connection, peer, request)))

        def closed(was_reset: bool) -> None:
            for task in running:
                task.cancel()

        connection.receive_with(receive)
        connection.on_closed(closed)

    async def _reply(self, connection: FrameConnection, peer: str, request: Request, is_member: bool) -> None:
        try:
            payload = await self.answer(peer, request.method, request.payload, is_member=is_member)
            connection.write(Reply(request.number, payload))
        except (
            Exception
        ) as error:  # one request must not end the node; the peer is told, the log has the trace
            connection.write(_failure(request, error))
        await connection.drained()

    async def _stream(self, connection: FrameConnection, peer: str, request: Request) -> None:
        try:
            chunks = self.chunks(peer, request.method, request.payload)
            async with contextlib.aclosing(chunks):
                async for chunk in chunks:
                    connection.write(Chunk(chunk))
                    await connection.drained()
            connection.write(End())
        except (
            Exception
        ) as error:  # one stream must not end the node; the peer is told, the log has the trace
            connection.write(_failure(request, error))
        connection.close()


async def _ended_with_its_reader(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()


def _failure(request: Request, error: Exception) -> Failure:
    if isinstance(error, PinodeError):
        return Failure(request.number, error.code, error.message)
    if isinstance(error, TimeoutError):
        return Failure(request.number, "timed_out", f"{request.method}: {error or 'no answer in time'}")
    logger.error("request of a peer failed method=%s", request.method, exc_info=error)
    return Failure(request.number, "failed", f"{request.method} failed there; that node's log says why")
