"""Reserves that wait at the leader for a job: first come, first served, per topic, by who can do what."""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

Ticket = TypeVar("Ticket")
SLACK = 256  # entries of waiters that have left, before the heap is rebuilt
Key = tuple[bytes | None, int, int]  # client id, slot, sequence
Abilities = frozenset[str]


class Waiter(Generic[Ticket]):
    """One reserve that waits; `ticket` is whatever its owner answers through."""

    __slots__ = ("deadline", "has", "key", "number", "ticket", "topics")

    def __init__(
        self, key: Key, topics: tuple[str, ...], has: Abilities, deadline: float, ticket: Ticket
    ) -> None:
        self.key = key
        self.topics = topics
        self.has = has
        self.deadline = deadline
        self.ticket = ticket
        self.number = 0  # the smaller, the longer it waits


class WaitingLine(Generic[Ticket]):
    """Waiters by topic and abilities: of those who can do the same, one is asked for all.

    One that waits for several topics stands in each line and leaves all at once.
    """

    def __init__(self) -> None:
        self._waiters: dict[Key, Waiter[Ticket]] = {}
        self._lines: dict[str, dict[Abilities, dict[Key, Waiter[Ticket]]]] = {}
        self._deadlines: list[tuple[float, int, Waiter[Ticket]]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._waiters)

    def find(self, key: Key) -> Waiter[Ticket] | None:
        """Who waits under this key."""
        return self._waiters.get(key)

    def add(self, waiter: Waiter[Ticket]) -> None:
        """Let `waiter`, whose key nobody else has, stand at the end."""
        assert waiter.key not in self._waiters
        self._waiters[waiter.key] = waiter
        waiter.number = next(self._order)
        for topic in waiter.topics:
            self._lines.setdefault(topic, {}).setdefault(waiter.has, {})[waiter.key] = waiter
        heappush(self._deadlines, (waiter.deadline, waiter.number, waiter))
        if len(self._deadlines) > 2 * len(self._waiters) + SLACK:
            self._deadlines = [
                entry for entry in self._deadlines if self._waiters.get(entry[2].key) is entry[2]
            ]
            heapify(self._deadlines)

    def remove(self, key: Key) -> Waiter[Ticket] | None:
        """Take this waiter out of all lines."""
        waiter = self._waiters.pop(key, None)
        if waiter is not None:
            for topic in waiter.topics:
                self._leave(waiter, topic)
        return waiter

    def _leave(self, waiter: Waiter[Ticket], topic: str) -> None:
        by_ability = self._lines.get(topic, {})
        line = by_ability.get(waiter.has, {})
        if line.pop(waiter.key, None) is not None and not line:
            del by_ability[waiter.has]
            if not by_ability:
                del self._lines[topic]

    def anybody(self, topic: str) -> bool:
        """Whether somebody waits for this topic."""
        return topic in self._lines

    def firsts(self, topic: str) -> list[Waiter[Ticket]]:
        """Of each kind of worker the one that has waited longest, the longest wait first."""
        by_ability = self._lines.get(topic)
        if by_ability is None:
            return []
        firsts = [next(iter(line.values())) for line in by_ability.values()]
        firsts.sort(key=_number)
        return firsts

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


def _number(waiter: Waiter[Ticket]) -> int:
    return waiter.number
