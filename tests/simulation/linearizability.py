"""Whether what clients saw of a queue could have come from one queue that does one operation at a time.

The search of Wing and Gong ("Testing and verifying concurrent objects", 1993) with Lowe's memory of what was tried:
an operation may come next if none that is still missing had returned before it was invoked. One whose outcome its
client never heard may have happened at any time after it was asked, or never.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Operation:
    """What one client asked, and what it heard; `returned` is `NEVER` when it heard nothing."""

    client: int
    kind: str  # put, reserve, ack
    argument: int | tuple[int, int]  # the priority; nothing; (job, token)
    result: object  # job id; (job, token) or None; whether it was still held
    invoked: float
    returned: float = NEVER

    @property
    def is_known(self) -> bool:
        return self.returned != NEVER


class QueueModel(NamedTuple):
    """The specification: one queue without time, whose leases never end."""

    last_id: int = 0
    last_token: int = 0
    ready: tuple[tuple[int, int], ...] = ()  # (priority, id), the most urgent first
    held: frozenset[tuple[int, int | None]] = frozenset()  # (id, token); a token nobody heard is None

    def after(self, operation: Operation) -> "QueueModel | None":
        """The state behind it; None if this state cannot answer so."""
        match operation.kind:
            case "put":
                return self._put(operation)
            case "reserve":
                return self._reserve(operation)
            case _:
                return self._ack(operation)

    def _put(self, operation: Operation) -> "QueueModel | None":
        job = self.last_id + 1
        assert isinstance(operation.argument, int)
        if operation.is_known and operation.result != job:
            return None
        ready = (*self.ready, (operation.argument, job))
        return QueueModel(job, self.last_token, tuple(sorted(ready)), self.held)

    def _reserve(self, operation: Operation) -> "QueueModel | None":
        if not self.ready:
            return self if not operation.is_known or operation.result is None else None
        job = self.ready[0][1]
        if not operation.is_known:
            return QueueModel(self.last_id, self.last_token, self.ready[1:], self.held | {(job, None)})
        if not isinstance(operation.result, tuple) or operation.result[0] != job:
            return None
        token = operation.result[1]
        if token <= self.last_token:
            return None
        return QueueModel(self.last_id, token, self.ready[1:], self.held | {(job, token)})

    def _ack(self, operation: Operation) -> "QueueModel | None":
        was_held = operation.argument in self.held
        if operation.is_known and operation.result != was_held:
            return None
        return self._replace(held=self.held - {operation.argument}) if was_held else self


def is_linearizable(history: Sequence[Operation]) -> bool:
    """Whether some order of the operations explains every answer."""
    # Those whose answer came first are tried first: an order that explains all is mostly near that one.
    operations = sorted(history, key=lambda operation: operation.returned)
    wanted = sum(1 << place for place, operation in enumerate(operations) if operation.is_known)
    tried: set[tuple[int, QueueModel]] = set()
    stack = [(0, QueueModel())]
    while stack:
        done, state = stack.pop()
        if done & wanted == wanted:
            return True
        if (done, state) in tried:
            continue
        tried.add((done, state))
        missing = [place for place in range(len(operations)) if not done >> place & 1]
        bound = operations[missing[0]].returned
        for place in reversed(missing):
            if operations[place].invoked <= bound:
                following = state.after(operations[place])
                if following is not None:
                    stack.append((done | 1 << place, following))
    return False
