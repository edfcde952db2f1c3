"""What one client wants to read: answered one after the other, as fast as it takes the answers.

Answers may be large, a page of jobs is up to a megabyte. So none is made before the client has taken most of
those before, and who takes none for long is cut off.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from replicated_queue.broker import Broker
from replicated_queue.errors import Busy, QueueError
from replicated_queue.request_codec import Outcome
from replicated_queue.requests import Question

MAX_READS: Final = 512  # of one client, waiting
PATIENCE_SECONDS: Final = 10.0  # with a client that takes nothing


class ClientReads:
    """The connection says by `pause` and `resume` whether more may be written."""

    def __init__(
        self,
        broker: Broker,
        answer: Callable[[int, Outcome], None],
        cut: Callable[[], None],
        *,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """`answer(number, outcome)` writes at once; `cut()` ends the connection."""
        self._broker = broker
        self._answer = answer
        self._cut = cut
        self._patience_seconds = patience_seconds
        self._waiting: deque[tuple[int, Question]] = deque()
        self._is_running = False
        self._is_closed = False
        self._may_write = asyncio.Event()
        self._may_write.set()

    def add(self, number: int, question: Question) -> None:
        """Answer it in its turn. Raises `Busy`."""
        if len(self._waiting) >= MAX_READS:
            raise Busy()
        self._waiting.append((number, question))
        if not self._is_running:
            self._is_running = True
            self._broker.spawn(self._run())

    def pause(self) -> None:
        """The client does not take what was written."""
        self._may_write.clear()

    def resume(self) -> None:
        """It has taken most of it."""
        self._may_write.set()

    def close(self) -> None:
        """Nobody reads any more."""
        self._is_closed = True
        self._waiting.clear()
        self._may_write.set()

    async def _run(self) -> None:
        try:
            while self._waiting:
                count = len(self._waiting)  # what comes later is not proven current by this
                refusal = await self._refusal()
                for _ in range(min(count, len(self._waiting))):
                    async with asyncio.timeout(self._patience_seconds):
                        await self._may_write.wait()
                    if self._is_closed:
                        return
                    number, question = self._waiting.popleft()
                    self._answer(number, refusal or self._outcome(question))
                    await asyncio.sleep(0)
        except TimeoutError:
            self._cut()
        finally:
            self._is_running = False

    async def _refusal(self) -> QueueError | None:
        """Wait until what is read here is current; what the leader has against that, if anything."""
        try:
            await self._broker.be_current()
        except QueueError as error:
            return error
        return None

    def _outcome(self, question: Question) -> Outcome:
        try:
            return self._broker.read(question)
        except QueueError as error:
            return error
