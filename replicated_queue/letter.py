"""Outcomes on their way to whoever awaits them."""

import asyncio
from collections.abc import Callable, Sequence

from replicated_queue.courier import Courier
from replicated_queue.errors import QueueError
from replicated_queue.parcel import Parcel
from replicated_queue.request_codec import Outcome, Outcomes
from replicated_queue.sessions import Answer

Unread = Callable[[Answer], None] | None  # is given an answer that nobody reads any more


class Letter:
    """One request, and the future of its answer."""

    def __init__(self, unread: Unread = None) -> None:
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.parcel: Parcel | None = None
        self._unread = unread

    def done(self, _: int, outcomes: "Sequence[Outcome | Parcel]") -> None:
        (outcome,) = outcomes
        if isinstance(outcome, Parcel):
            self.parcel = outcome  # it waits for a job now
        elif isinstance(outcome, QueueError):
            if not self.answer.done():
                self.answer.set_exception(outcome)
                self.answer.exception()  # who asked may be gone: an error nobody reads is no news
        elif not self.answer.done():
            self.answer.set_result(outcome)
        elif self._unread is not None:  # cancelled in this turn of the loop, and not withdrawn yet
            self._unread(outcome)

    def withdraw(self, courier: Courier) -> None:
        if self.parcel is not None:
            courier.withdraw(self.parcel)


async def read(answer: "asyncio.Future[Answer]", unread: Unread) -> Answer:
    """The answer; if who reads it is cancelled when it is there already, `unread` is given it."""
    try:
        return await answer
    except asyncio.CancelledError:
        if unread is not None and answer.done() and not answer.cancelled() and answer.exception() is None:
            unread(answer.result())
        raise


class Gathering:
    """What came of the requests of one frame, as it comes in."""

    def __init__(self, count: int) -> None:
        self.outcomes: asyncio.Future[list[Outcomes]] = asyncio.get_running_loop().create_future()
        self._found: list[Outcomes | None] = [None] * count
        self._missing = count
        if count == 0:
            self.outcomes.set_result([])

    def put(self, place: int, outcomes: Outcomes) -> None:
        self._found[place] = outcomes
        self._missing -= 1
        if not self._missing and not self.outcomes.done():
            self.outcomes.set_result([found for found in self._found if found is not None])
