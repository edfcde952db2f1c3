"""What this node asks others: many calls over one connection, and streams over one each."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from itertools import count

from pinode.peers.connection import FrameConnection
from pinode.peers.errors import MalformedFrame, PeerRefused, PeerUnreachable
from pinode.peers.frames import Cancel, Chunk, End, Failure, Message, Refusal, Reply, Request, decode

Dial = Callable[[], Awaitable[FrameConnection]]
IDLE_SECONDS = 30.0  # without a question, then the connection is closed
READ_AHEAD_BYTES = 2 * 1024 * 1024  # of a stream, before the far end has to wait


class CallLink:
    """Calls to one peer over one connection, dialled when it is first needed and again when it ended.

    One that nobody uses is closed: it takes 0.1 MB at either end, and every 2 s the kernel asks whether the
    other end is there. With 15 peers that once asked something it was half of what an idle node sent.
    """

    def __init__(
        self,
        dial: Dial,
        peer: str,
        *,
        on_refused: Callable[[str, Refusal], None],
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._dial = dial
        self._peer = peer  # as errors name it
        self._on_refused = on_refused
        self._idle_seconds = idle_seconds
        self._idle_since = 0.0  # of the loop's clock; meaningful while no question is open
        self._idle_timer: asyncio.TimerHandle | None = None
        self._dialling = asyncio.Lock()
        self._connection: FrameConnection | None = None
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._numbers = count(1)

    async def call(self, method: str, payload: bytes, *, timeout_seconds: float) -> bytes:
        """Ask and wait. Raises `PeerUnreachable`, `PeerRefused` or `TimeoutError`."""
        try:
            async with asyncio.timeout(timeout_seconds):
                connection = await self._connected()
                return await self._ask(connection, method, payload)
        except TimeoutError as error:
            raise TimeoutError(f"{self._peer} gave no answer to {method} in {timeout_seconds:g} s") from error

    def close(self) -> None:
        """End the connection; open calls end with `PeerUnreachable`."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        if self._connection is not None:
            self._connection.close()

    async def _connected(self) -> FrameConnection:
        if self._connection is not None and self._connection.is_open:
            return self._connection
        async with self._dialling:
            if self._connection is None or not self._connection.is_open:
                connection = await self._dial()
                connection.receive_with(self._receive)
                connection.on_closed(self._closed)
                self._connection = connection
            return self._connection

    async def _ask(self, connection: FrameConnection, method: str, payload: bytes) -> bytes:
        if not connection.is_open:
            raise PeerUnreachable(f"the link to {self._peer} ended at once")
        number = next(self._numbers)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            connection.write(Request(number, method, payload))
            return await answer
        finally:
            del self._waiting[number]
            if answer.cancelled():
                connection.write(Cancel(number))
            if not self._waiting:
                self._rest()

    def _rest(self) -> None:
        """No question is open: close the connection if that stays so."""
        loop = asyncio.get_running_loop()
        self._idle_since = loop.time()
        if self._idle_timer is None:
            self._idle_timer = loop.call_later(self._idle_seconds, self._close_if_idle)

    def _close_if_idle(self) -> None:
        self._idle_timer = None
        if self._waiting:
            return  # the last of them sets the timer anew
        loop = asyncio.get_running_loop()
        left = self._idle_since + self._idle_seconds - loop.time()
        if left > 0:
            self._idle_timer = loop.call_later(left, self._close_if_idle)
        else:
            self.close()

    def _receive(self, frame: bytes) -> None:
        match decode(frame):
            case Reply(number=number, payload=payload):
                waiting = self._waiting.get(number)
                if waiting is not None and not waiting.done():
                    waiting.set_result(payload)
            case Failure(number=number, code=code, message=text):
                waiting = self._waiting.get(number)
                if waiting is not None and not waiting.done():
                    waiting.set_exception(PeerRefused(text, code=code))
            case Refusal(code=code, message=text) as refusal:
                self._fail_all(lambda: PeerRefused(text, code=code))
                self.close()
                self._on_refused(self._peer, refusal)
            case message:
                raise MalformedFrame(f"a {type(message).__name__} where answers are expected")

    def _closed(self, was_reset: bool) -> None:
        self._fail_all(lambda: PeerUnreachable(f"the link to {self._peer} ended before it answered"))

    def _fail_all(self, error: Callable[[], Exception]) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(error())


async def stream(
    connection: FrameConnection, method: str, payload: bytes, *, peer: str, timeout_seconds: float
) -> AsyncGenerator[bytes, None]:
    """Ask over a connection of its own and yield the chunks. Raises as `CallLink.call` does."""
    incoming = _Incoming(connection)
    connection.write(Request(0, method, payload))
    try:
        while True:
            try:
                async with asyncio.timeout(timeout_seconds):
                    message = await incoming.next_message()
            except TimeoutError as error:
                raise TimeoutError(f"{peer} sent nothing of {method} for {timeout_seconds:g} s") from error
            match message:
                case Chunk(payload=chunk):
                    yield chunk
                case End():
                    return
                case Failure(code=code, message=text) | Refusal(code=code, message=text):
                    raise PeerRefused(text, code=code)
                case None:
                    raise PeerUnreachable(f"the link to {peer} ended in the middle of {method}")
                case _:
                    raise MalformedFrame(f"a {type(message).__name__} within a stream")
    finally:
        connection.abort()


class _Incoming:
    """Messages of one stream that were not taken yet; reading pauses when they are many."""

    def __init__(self, connection: FrameConnection) -> None:
        self._connection = connection
        self._messages: deque[tuple[Message | None, int]] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()
        connection.receive_with(self._receive)
        connection.on_closed(lambda was_reset: self._put(None, 0))

    async def next_message(self) -> Message | None:
        """The next message; None when the connection ended."""
        while not self._messages:
            self._arrived.clear()
            await self._arrived.wait()
        message, size = self._messages.popleft()
        self._bytes -= size
        if self._bytes < READ_AHEAD_BYTES // 2 and self._connection.is_open:
            self._connection.transport.resume_reading()
        return message

    def _receive(self, frame: bytes) -> None:
        self._put(decode(frame), len(frame))
        if self._bytes > READ_AHEAD_BYTES:
            self._connection.transport.pause_reading()

    def _put(self, message: Message | None, size: int) -> None:
        self._messages.append((message, size))
        self._bytes += size
        self._arrived.set()
