"""The asyncio side of one beanstalk client: bytes to requests, answers to bytes, one request at a time."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Final, cast

from replicated_queue.beanstalk.hall import Hall
from replicated_queue.beanstalk.protocol import Parser, Refused, Request
from replicated_queue.beanstalk.session import INTERNAL_ERROR, Session
from replicated_queue.errors import QueueError

MAX_AHEAD_BYTES: Final = 512 * 1024  # read ahead; beyond it the client is not read until all was answered
ANSWERS_A_TURN: Final = 50  # then others have theirs: much is answered without waiting for anything
RESERVES: Final = frozenset({"reserve", "reserve-with-timeout", "reserve-job"})

Spawn = Callable[[Coroutine[None, None, None]], "asyncio.Task[None] | None"]

logger = logging.getLogger(__name__)


class Connection(asyncio.Protocol):
    """A client that says it sends no more (`shutdown`) is answered to the end, but waits no longer for a job.

    When it is gone, what it asked before is done all the same, up to its next reserve.
    """

    def __init__(self, hall: Hall, session: Session, *, spawn: Spawn) -> None:
        self._hall = hall
        self._session = session
        self._spawn = spawn
        self._parser = Parser()
        self._is_paused = False
        self._transport: asyncio.Transport | None = None
        self._serving: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._has_ended = False  # the client sends no more
        self._is_gone = False  # nor does it read
        self._is_reserving = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._serving = self._spawn(self._serve())
        if self._serving is None or not self._hall.enter(self._session):
            self._has_ended = self._is_gone = True
            self._transport.abort()
        if self._serving is not None:
            self._serving.add_done_callback(self._served)

    def data_received(self, data: bytes) -> None:
        self._parser.add(data)
        if self._parser.ahead_bytes > MAX_AHEAD_BYTES and not self._is_paused:
            self._is_paused = True
            cast(asyncio.Transport, self._transport).pause_reading()
        self._news.set()

    def eof_received(self) -> bool:
        self._has_ended = True
        self._news.set()
        self._session.wait_no_longer()
        return True  # what was asked before is answered still

    def connection_lost(self, error: Exception | None) -> None:
        self._has_ended = self._is_gone = True
        self._may_write.set()
        self._news.set()
        if self._is_reserving and self._serving is not None:
            self._serving.cancel()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    async def _serve(self) -> None:
        try:
            await self._answer_all()
        except Exception:  # one client's request found a bug: the others, and the node around them, go on
            logger.exception("beanstalk session failed")
            self._write(INTERNAL_ERROR)

    async def _answer_all(self) -> None:
        answered = 0
        while (request := await self._next()) is not None:
            if request.verb == "quit":
                break
            self._is_reserving = request.verb in RESERVES
            if self._is_reserving and self._is_gone:
                break  # there is nobody to give a job to
            answer = await self._session.answer(request)
            self._is_reserving = False
            self._write(answer)
            await self._may_write.wait()
            answered += 1
            if answered % ANSWERS_A_TURN == 0:
                await asyncio.sleep(0)

    async def _next(self) -> Request | Refused | None:
        while (request := self._parser.next()) is None and not self._has_ended:
            if self._is_paused:
                self._is_paused = False
                cast(asyncio.Transport, self._transport).resume_reading()
            self._news.clear()
            await self._news.wait()
        return request

    def _write(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)

    def _served(self, task: "asyncio.Task[None]") -> None:
        cast(asyncio.Transport, self._transport).close()
        self._hall.leave(self._session)
        self._spawn(self._close())

    async def _close(self) -> None:
        try:
            await self._session.close(was_reserving=self._is_reserving)
        except QueueError as error:
            logger.warning("jobs of a beanstalk client not released until their time is up error=%s", error)
