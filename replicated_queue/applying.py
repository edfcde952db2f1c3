"""When a replica applies what is committed: a leader at once, a follower when its disk is done.

To apply is the longest work of a turn, and it keeps the interpreter's lock, which the thread that writes
needs too. Done while a write is under way it holds up the acknowledgement that the leader waits for, and
whoever asked it; nobody waits for a follower to have applied. Pure.
"""

from math import inf
from typing import Final

LONGEST_REST_SECONDS: Final = 0.01  # on a slow disk a follower falls no further behind


class Applying:
    """Of one replica. What rests stays in the algorithm's hands, which counts it as not applied."""

    def __init__(self) -> None:
        self.due = inf  # when what rests is applied, whatever the disk does

    def may_begin(self, *, leads: bool, has_any: bool, is_writing: bool, now: float) -> bool:
        """Whether what is committed, if there is any, is to be applied in this turn."""
        if leads or not has_any or not is_writing:
            self.due = inf
        elif self.due == inf:
            self.due = now + LONGEST_REST_SECONDS
        if now < self.due < inf:
            return False
        self.due = inf
        return True
