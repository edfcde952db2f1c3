"""With one voter, an answer also waits for a learner's disk, so that it outlives the voter's.

The algorithm commits by the one voter alone; that is what lets it go on while the learner is off. But while a
learner is in reach, what is answered is on two disks, unless the learner takes longer than a moment. Pure.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from .replica import Replica

WAIT_SECONDS: Final = 0.2
Result = tuple[int, Any]  # index, and what is answered
ONE_COPY = (
    "what it answers is on one disk only: the other node takes too long. "
    "Look at the disk and the network of that node."
)


class SecondCopy:
    """Holds results of a lone voter until a learner has their entries on its disk."""

    def __init__(self) -> None:
        self._held: deque[tuple[int, Any, float]] = deque()  # index, result, until when it is held
        self.is_missed = False  # a wait was in vain, and no learner has caught up since: nothing waits

    def hold(self, index: int, result: Any, *, now: float) -> None:
        """Hold what is answered to whoever proposed the entry."""
        self._held.append((index, result, now + WAIT_SECONDS))

    def release(self, replica: Replica, *, now: float) -> Iterator[Result]:
        """What may be answered now, in order."""
        if not self._held and not self.is_missed:
            return
        wanted = self._copied_index(replica, now)
        while self._held:
            index, result, deadline = self._held[0]
            if wanted is not None and index > wanted and not self.is_missed:
                if now < deadline:
                    return
                self.is_missed = True
            self._held.popleft()
            yield index, result

    @property
    def is_holding(self) -> bool:
        """Whether something waits for a learner."""
        return bool(self._held) or self.is_missed

    def next_deadline(self) -> float:
        """When `release` must be asked again, whatever is received before."""
        return self._held[0][2] if self._held else float("inf")

    def _copied_index(self, replica: Replica, now: float) -> int | None:
        """How far the best learner in reach is; None if there is nobody to wait for."""
        in_reach = [one for one in replica.followers(now) if one.is_active]
        if not in_reach or not waits_for_learner(replica):
            self.is_missed = False
            return None
        copied = max(one.match_index for one in in_reach)
        if copied >= replica.raft.log.commit_index:
            self.is_missed = False
        return copied


def waits_for_learner(replica: Replica) -> bool:
    """Whether this replica leads as the only voter of a group that has learners."""
    raft = replica.raft
    is_alone = raft.replication is not None and raft.membership.voters.ids == (raft.me,)
    return is_alone and bool(raft.membership.learners)
