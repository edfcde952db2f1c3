"""Who waits for what they proposed: from `propose` to the result, or to the end of the leadership."""

import asyncio
from collections.abc import Sequence

from .errors import NotLeader, OutcomeUnknown, QueueError


class Proposals:
    """Commands of this turn, and commands in the log that are not applied yet."""

    def __init__(self) -> None:
        self.new_bytes = 0
        self._new: list[tuple[bytes, asyncio.Future[bytes]]] = []  # of this turn
        self._waiting: dict[int, asyncio.Future[bytes]] = {}  # by index, in order

    def __len__(self) -> int:
        return len(self._new) + len(self._waiting)

    @property
    def has_new(self) -> bool:
        return bool(self._new)

    def add(self, data: bytes, *, size_bytes: int) -> "asyncio.Future[bytes]":
        """Let `data` be proposed in this turn."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._new.append((data, future))
        self.new_bytes += size_bytes
        return future

    def take_new(self) -> "Sequence[tuple[bytes, asyncio.Future[bytes]]]":
        """What is to be proposed now."""
        new, self._new, self.new_bytes = self._new, [], 0
        return new

    def appended(self, first_index: int, proposed: "Sequence[tuple[bytes, asyncio.Future[bytes]]]") -> None:
        """These are in the log, from `first_index` on."""
        for index, (_, future) in enumerate(proposed, first_index):
            self._waiting[index] = future

    def applied(self, index: int, result: bytes) -> None:
        """Answer whoever proposed the entry, if it was proposed here."""
        future = self._waiting.pop(index, None)
        if future is not None and not future.done():
            future.set_result(result)

    def give_up_waiting(self) -> None:
        """Whoever leads next may commit what we proposed, or not."""
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            fail(future, OutcomeUnknown("the command"))

    def close(self) -> None:
        """The replica stops."""
        for _, future in self.take_new():
            fail(future, NotLeader())
        self.give_up_waiting()


def fail(future: "asyncio.Future[bytes]", error: QueueError) -> None:
    """Answer a proposal with an error."""
    if not future.done():
        future.set_exception(error)
        future.exception()  # who stopped waiting for it need not be told
