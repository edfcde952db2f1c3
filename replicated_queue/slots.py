"""The asker's side of a session: which slot a request takes, and its number in it (see `sessions.py`)."""

import asyncio
from collections import deque

from replicated_queue.sessions import MAX_SLOTS


class Slots:
    """Numbers requests so that each can be repeated and none is done twice.

    A slot is taken until its request was answered or given up. Who finds none free waits, first come first
    served.
    """

    def __init__(self, *, count: int = MAX_SLOTS) -> None:
        self._sequences = [0] * count
        self._free = list(range(count - 1, -1, -1))
        self._waiting: deque[asyncio.Future[int]] = deque()

    def take_free(self) -> tuple[int, int] | None:
        """(slot, sequence) for a new request, if a slot is free."""
        return self._next(self._free.pop()) if self._free else None

    async def take(self) -> tuple[int, int]:
        """(slot, sequence) for a new request, when a slot is free."""
        if self._free:
            return self._next(self._free.pop())
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            return self._next(await future)
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.give_back(future.result())
            raise

    def give_back(self, slot: int) -> None:
        """The request in this slot was answered, or nobody waits for it any more."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(slot)
                return
        self._free.append(slot)

    def _next(self, slot: int) -> tuple[int, int]:
        self._sequences[slot] += 1
        return slot, self._sequences[slot]
