"""When a replica applies what is committed: a leader at once, a follower in the next quiet moment.

To apply is the longest work of a turn. Done by a follower that was just sent entries, it holds up the
acknowledgement that the leader waits for, for it keeps the interpreter's lock from the thread that writes;
done right behind that, it takes the processor from who is waiting, where they share one. Nobody waits for a
follower to have applied, and what came meanwhile is applied in the same turn. Pure.
"""

from math import inf
from typing import Final

QUIET_SECONDS: Final = 0.001  # since the last entries came
LONGEST_REST_SECONDS: Final = 0.01  # under load a follower falls no further behind
COARSE_SECONDS: Final = 0.0005  # so much too early a timer may fire


class Applying:
    """Of one replica. What rests stays in the algorithm's hands, which counts it as not applied."""

    def __init__(self) -> None:
        self.due = inf  # when what rests is applied, if no more entries come
        self._latest = inf  # the same if they do

    def may_begin(self, *, leads: bool, has_any: bool, has_new: bool, now: float) -> bool:
        """Whether what is committed, if there is any, is to be applied in this turn.

        `has_new`: it has entries for the disk as well. Word of a commit alone means that none are near.
        """
        if has_any and has_new and not leads:
            self._latest = min(self._latest, now + LONGEST_REST_SECONDS)
            self.due = min(self._latest, now + QUIET_SECONDS)
        if has_any and not leads and now < self.due - COARSE_SECONDS < inf:
            return False
        self.due = self._latest = inf
        return True
