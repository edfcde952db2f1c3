"""Who waits for what they proposed: from `propose` to the result, or to the end of the leadership.

What is proposed in one turn becomes one entry, as far as it may: it is written, sent and applied at once.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from .errors import NotLeader, OutcomeUnknown, QueueError

# Called once, from within the turn that knows the outcome: with the results of all that one proposal asked.
Done = Callable[[Sequence[Any] | QueueError], None]


class Part(Protocol):
    """What a proposer has decoded of its bytes already; handed to the state machine of this replica."""

    @property
    def size(self) -> int:
        """How many results it will have."""
        ...


class Proposal(NamedTuple):
    """An entry, or a part of one; what has no `part` is alone in its entry."""

    data: bytes
    done: Done
    part: Part | None = None
    is_alone: bool = True


class Proposals:
    """Commands of this turn, and commands in the log that are not applied yet."""

    def __init__(self) -> None:
        self.new_bytes = 0
        self._new: list[Proposal] = []  # of this turn
        self._waiting: dict[int, list[Proposal]] = {}  # by index, in order
        self._term = 0  # of these
        self._waiting_count = 0

    def __len__(self) -> int:
        return len(self._new) + self._waiting_count

    @property
    def has_new(self) -> bool:
        return bool(self._new)

    def add(self, proposal: Proposal, *, size_bytes: int) -> None:
        """Let it be proposed in this turn."""
        self._new.append(proposal)
        self.new_bytes += size_bytes

    def take_new(self, *, max_bytes: int) -> list[list[Proposal]]:
        """What is to be proposed now, by entry, each of at most `max_bytes`."""
        new, self._new, self.new_bytes = self._new, [], 0
        entries: list[list[Proposal]] = []
        room = 0
        for proposal in new:
            size = len(proposal.data)
            if not entries or size > room or proposal.is_alone:
                entries.append([])
                room = max_bytes
            entries[-1].append(proposal)
            room = 0 if proposal.is_alone else room - size
        return entries

    def appended(self, first_index: int, entries: Sequence[list[Proposal]], *, term: int) -> None:
        """These are in the log, from `first_index` on."""
        self._term = term
        for index, proposals in enumerate(entries, first_index):
            self._waiting[index] = proposals
            self._waiting_count += len(proposals)

    def parts_of(self, index: int, term: int) -> Sequence[Part]:
        """What was handed in beside the bytes of this very entry (§5.3), if of all of it."""
        proposals = self._waiting.get(index, ()) if term == self._term else ()
        parts = [proposal.part for proposal in proposals if proposal.part is not None]
        return parts if len(parts) == len(proposals) else ()

    def applied(self, index: int, results: Sequence[Any]) -> None:
        """Answer whoever proposed the entry, if it was proposed here."""
        proposals = self._waiting.pop(index, ())
        self._waiting_count -= len(proposals)
        if len(proposals) == 1:
            proposals[0].done(results)
            return
        start = 0
        for proposal in proposals:
            assert proposal.part is not None, "what has no part is alone"
            end = start + proposal.part.size
            proposal.done(results[start:end])
            start = end

    def give_up_waiting(self) -> None:
        """Whoever leads next may commit what we proposed, or not."""
        waiting, self._waiting, self._waiting_count = self._waiting, {}, 0
        for proposals in waiting.values():
            for proposal in proposals:
                proposal.done(OutcomeUnknown("the command"))

    def close(self) -> None:
        """The replica stops."""
        new, self._new, self.new_bytes = self._new, [], 0
        for proposal in new:
            proposal.done(NotLeader())
        self.give_up_waiting()
