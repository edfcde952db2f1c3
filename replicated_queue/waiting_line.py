"""Reserves that wait at the leader for a job: first come, first served, per topic."""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

Ticket = TypeVar("Ticket")
SLACK = 256  # entries of waiters that have left, before the heap is rebuilt
Key = tuple[bytes | None, int, int]  # client id, slot, sequence


class Waiter(Generic[Ticket]):
    """One reserve that waits; `ticket` is whatever its owner answers through."""

    __slots__ = ("deadline", "key", "ticket", "topics")

    def __init__(self, key: Key, topics: tuple[str, ...], deadline: float, ticket: Ticket) -> None:
        self.key = key
        self.topics = topics
        self.deadline = deadline
        self.ticket = ticket


class WaitingLine(Generic[Ticket]):
    """Waiters by topic. One that waits for several topics stands in each line and leaves all at once."""

    def __init__(self) -> None:
        self._waiters: dict[Key, Waiter[Ticket]] = {}
        self._lines: dict[str, dict[Key, Waiter[Ticket]]] = {}
        self._deadlines: list[tuple[float, int, Waiter[Ticket]]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._waiters)

    def add(self, waiter: Waiter[Ticket]) -> Waiter[Ticket] | None:
        """Let `waiter` stand at the end; return the one of the same key that it replaces."""
        replaced = self.remove(waiter.key)
        self._waiters[waiter.key] = waiter
        for topic in waiter.topics:
            self._lines.setdefault(topic, {})[waiter.key] = waiter
        heappush(self._deadlines, (waiter.deadline, next(self._order), waiter))
        if len(self._deadlines) > 2 * len(self._waiters) + SLACK:
            self._deadlines = [
                entry for entry in self._deadlines if self._waiters.get(entry[2].key) is entry[2]
            ]
            heapify(self._deadlines)
        return replaced

    def remove(self, key: Key) -> Waiter[Ticket] | None:
        """Take this waiter out of all lines."""
        waiter = self._waiters.pop(key, None)
        if waiter is not None:
            for topic in waiter.topics:
                line = self._lines.get(topic)
                if line is not None and line.pop(key, None) is not None and not line:
                    del self._lines[topic]
        return waiter

    def first(self, topic: str) -> Waiter[Ticket] | None:
        """Who has waited longest for this topic."""
        line = self._lines.get(topic)
        return next(iter(line.values())) if line else None

    def topics(self) -> Iterable[str]:
        """Topics somebody waits for."""
        return tuple(self._lines)

    def take_overdue(self, now: float) -> list[Waiter[Ticket]]:
        """Remove and return those that have waited long enough."""
        overdue = []
        while self._deadlines and self._deadlines[0][0] <= now:
            waiter = heappop(self._deadlines)[2]
            if self._waiters.get(waiter.key) is waiter:
                self.remove(waiter.key)
                overdue.append(waiter)
        return overdue

    def take_all(self) -> list[Waiter[Ticket]]:
        """Remove and return everybody."""
        waiters = list(self._waiters.values())
        self._waiters.clear()
        self._lines.clear()
        self._deadlines.clear()
        return waiters

    def next_deadline(self) -> float | None:
        """When the next one has waited long enough."""
        while self._deadlines and self._waiters.get(self._deadlines[0][2].key) is not self._deadlines[0][2]:
            heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None
