"""Who waits for what they proposed: from `propose` to the result, or to the end of the leadership."""

from collections.abc import Callable, Sequence

from .errors import NotLeader, OutcomeUnknown, QueueError

Done = Callable[[bytes | QueueError], None]  # called once, from within the turn that knows the outcome


class Proposals:
    """Commands of this turn, and commands in the log that are not applied yet."""

    def __init__(self) -> None:
        self.new_bytes = 0
        self._new: list[tuple[bytes, Done]] = []  # of this turn
        self._waiting: dict[int, Done] = {}  # by index, in order

    def __len__(self) -> int:
        return len(self._new) + len(self._waiting)

    @property
    def has_new(self) -> bool:
        return bool(self._new)

    def add(self, data: bytes, done: Done, *, size_bytes: int) -> None:
        """Let `data` be proposed in this turn."""
        self._new.append((data, done))
        self.new_bytes += size_bytes

    def take_new(self) -> Sequence[tuple[bytes, Done]]:
        """What is to be proposed now."""
        new, self._new, self.new_bytes = self._new, [], 0
        return new

    def appended(self, first_index: int, proposed: Sequence[tuple[bytes, Done]]) -> None:
        """These are in the log, from `first_index` on."""
        for index, (_, done) in enumerate(proposed, first_index):
            self._waiting[index] = done

    def applied(self, index: int, result: bytes) -> None:
        """Answer whoever proposed the entry, if it was proposed here."""
        done = self._waiting.pop(index, None)
        if done is not None:
            done(result)

    def give_up_waiting(self) -> None:
        """Whoever leads next may commit what we proposed, or not."""
        waiting, self._waiting = self._waiting, {}
        for done in waiting.values():
            done(OutcomeUnknown("the command"))

    def close(self) -> None:
        """The replica stops."""
        for _, done in self.take_new():
            done(NotLeader())
        self.give_up_waiting()
