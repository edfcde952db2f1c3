"""The side of a node that `QueueClient` talks to: frames of one client in, answers of its broker out."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from replicated_queue.broker import Broker
from replicated_queue.errors import (
    Busy,
    InvalidRequest,
    MalformedMessage,
    NotAuthorized,
    OutcomeUnknown,
    QueueError,
    ReservedTopic,
    UnknownVersion,
)
from replicated_queue.frames import FrameReader, FrameWriter
from replicated_queue.queue.codec import decode_command
from replicated_queue.queue.commands import ExpireLease, PutMany, Reserve
from replicated_queue.queue_state import QUEUE_DOMAIN
from replicated_queue.request_codec import (
    Outcome,
    decode_ask,
    decode_envelope,
    decode_hello,
    encode_response,
    encode_welcome,
)
from replicated_queue.requests import ExtendLease, ForgetWaiter, Request, ReserveJobs, Submit, Withdraw

HELLO_SECONDS: Final = 10.0
MAX_TIMEOUT_SECONDS: Final = 600.0
MAX_UNDER_WAY: Final = 2_048  # requests of one client
READ_BYTES: Final = 256 * 1024
Authenticate = Callable[[bytes], Awaitable[bool]]

logger = logging.getLogger(__name__)


async def serve_client(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    *,
    authenticate: Authenticate,
    broker: Broker,
    platform: bool = False,
) -> None:
    """Serve one connection until the client leaves; cancel to cut it.

    `authenticate` judges the token of its first frame. `platform` opens topics that begin with `pinode.`, for
    the node's own socket. When the connection ends, reserves that wait for it are withdrawn.
    """
    connection = _Connection(writer.transport, broker, platform=platform)
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            welcome = await _welcome(reader, connection, authenticate)
        while welcome and (data := await reader.read(READ_BYTES)):
            connection.receive(data)
    except (MalformedMessage, UnknownVersion) as error:
        logger.info("queue client cut reason=%s", error)
    except (OSError, TimeoutError):
        pass  # gone, or silent when it should have said hello
    finally:
        connection.close()
        writer.close()


async def _welcome(
    reader: asyncio.StreamReader, connection: "_Connection", authenticate: Authenticate
) -> bool:
    """Whether the client may come in; what it sent after its hello is taken up."""
    frames: list[bytes] = []
    while not frames:
        data = await reader.read(READ_BYTES)
        if not data:
            return False
        frames = list(connection.frames.feed(data))
    hello = decode_hello(frames[0])
    if not await authenticate(hello.token):
        connection.refuse(NotAuthorized())
        return False
    connection.welcome(hello.client_id)
    for frame in frames[1:]:
        connection.ask(frame)
    return True


class _Connection:
    """One client that said hello, and its requests under way."""

    def __init__(self, transport: asyncio.WriteTransport, broker: Broker, *, platform: bool) -> None:
        self.frames = FrameReader()
        self._writer = FrameWriter(transport)
        self._broker = broker
        self._platform = platform
        self._client_id = b""
        self._under_way: dict[int, asyncio.Future[bytes]] = {}

    def refuse(self, error: QueueError) -> None:
        self._writer.write(encode_welcome(error))
        self._writer.flush()

    def welcome(self, client_id: bytes) -> None:
        self._client_id = client_id
        self._writer.write(encode_welcome(self._broker.applied_index))

    def receive(self, data: bytes) -> None:
        for frame in self.frames.feed(data):
            self.ask(frame)

    def close(self) -> None:
        """The client is gone: nobody reads an answer any more."""
        under_way = list(self._under_way.values())
        self._under_way.clear()
        for future in under_way:
            future.cancel()

    def ask(self, frame: bytes) -> None:
        """Take one request; its answer is written when it is there."""
        ask = decode_ask(frame)
        if isinstance(ask.request, Withdraw):
            withdrawn = self._under_way.pop(ask.number, None)
            if withdrawn is not None:
                withdrawn.cancel()
            return
        try:
            timeout_seconds = min(max(ask.timeout_ms / 1000, 0.0), MAX_TIMEOUT_SECONDS)
            self._take(ask.number, ask.request, timeout_seconds)
        except QueueError as error:
            self._answer(ask.number, error)

    def _take(self, number: int, request: Request, timeout_seconds: float) -> None:
        match request:
            case Submit() | ReserveJobs():
                self._check_entry(request)
            case ExtendLease():
                self._check_platform(request.platform)
            case ForgetWaiter() | Withdraw():
                raise InvalidRequest("a client withdraws its own requests only, by their number.")
            case _:
                self._check_platform(request.platform)
                self._answer(number, self._broker.read(request))
                return
        if len(self._under_way) >= MAX_UNDER_WAY:
            raise Busy()
        if number in self._under_way:
            raise InvalidRequest(f"request {number} is under way already.")
        future = self._broker.send(request, timeout_seconds=timeout_seconds)
        self._under_way[number] = future
        future.add_done_callback(partial(self._done, number))

    def _check_entry(self, request: Submit | ReserveJobs) -> None:
        """A client writes its own entries, so nothing in them is believed."""
        envelope = decode_envelope(request.envelope)
        if envelope.client_id != self._client_id or envelope.single_shot or envelope.domain != QUEUE_DOMAIN:
            raise InvalidRequest("an entry of another session or domain than the client's own.")
        command = decode_command(envelope.command)
        if isinstance(command, ExpireLease) or isinstance(command, Reserve) != isinstance(
            request, ReserveJobs
        ):
            raise InvalidRequest(
                f"{type(command).__name__} is no command of a client's {type(request).__name__}."
            )
        if isinstance(command, PutMany):
            self._check_platform(any(put.platform for put in command.puts))
        else:
            self._check_platform(command.platform)

    def _check_platform(self, asked: bool) -> None:
        if asked and not self._platform:
            raise ReservedTopic(topic="pinode.")

    def _done(self, number: int, future: "asyncio.Future[bytes]") -> None:
        if self._under_way.get(number) is not future:
            return  # withdrawn, or the connection is closed
        del self._under_way[number]
        if future.cancelled():
            self._answer(number, OutcomeUnknown())
            return
        error = future.exception()
        assert error is None or isinstance(error, QueueError), error
        self._answer(number, error if error is not None else future.result())

    def _answer(self, number: int, outcome: Outcome) -> None:
        self._writer.write(encode_response(number, self._broker.applied_index, outcome))
