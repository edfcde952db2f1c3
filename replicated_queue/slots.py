"""The asker's side of a session: which slot a request takes, and its number in it (see `sessions.py`)."""

import asyncio
from collections import deque

from replicated_queue.errors import ClientClosed
from replicated_queue.sessions import MAX_SLOTS

Line = deque["asyncio.Future[int]"]


class Slots:
    """Numbers requests so that each can be repeated and none is done twice.

    A slot is taken until its request was answered or given up. Who finds none free waits, first come first
    served. Reserves that wait for a job, requests that *linger*, get three quarters of the slots at the most:
    what ends a job must not wait behind those that wait for one.
    """

    def __init__(self, *, count: int = MAX_SLOTS) -> None:
        self._sequences = [0] * count
        self._free = list(range(count - 1, -1, -1))
        self._most_lingering = max(1, count * 3 // 4)
        self._lingering = 0
        self._line: Line = deque()
        self._lingering_line: Line = deque()

    def take_free(self, *, lingers: bool = False) -> tuple[int, int] | None:
        """(slot, sequence) for a new request, if a slot is free."""
        if not self._free or (lingers and self._lingering >= self._most_lingering):
            return None
        self._lingering += lingers
        return self._next(self._free.pop())

    async def take(self, *, lingers: bool = False) -> tuple[int, int]:
        """(slot, sequence) for a new request, when a slot is free. Raises `ClientClosed` once closed."""
        taken = self.take_free(lingers=lingers)
        if taken is not None:
            return taken
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        (self._lingering_line if lingers else self._line).append(future)
        try:
            return self._next(await future)
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.give_back(future.result(), lingers=lingers)
            raise

    def give_back(self, slot: int, *, lingers: bool = False) -> None:
        """The request in this slot was answered, or nobody waits for it any more."""
        self._lingering -= lingers
        if (first := _first(self._line)) is not None:
            first.set_result(slot)
        elif self._lingering < self._most_lingering and (first := _first(self._lingering_line)) is not None:
            self._lingering += 1
            first.set_result(slot)
        else:
            self._free.append(slot)

    def close(self) -> None:
        """Who waits for a slot gets none."""
        for line in (self._line, self._lingering_line):
            while (first := _first(line)) is not None:
                first.set_exception(ClientClosed())

    def _next(self, slot: int) -> tuple[int, int]:
        self._sequences[slot] += 1
        return slot, self._sequences[slot]


def _first(line: Line) -> "asyncio.Future[int] | None":
    """Who has waited longest, and waits still; taken out of the line."""
    while line:
        future = line.popleft()
        if not future.done():
            return future
    return None
