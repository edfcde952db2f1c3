"""When a replica applies what is committed: a leader at once, a follower in the next quiet moment.

To apply is the longest work of a turn. Done by a follower while it writes, it holds up the acknowledgement
that the leader waits for, for it keeps the interpreter's lock from the thread that writes; done right behind
it, it takes the processor from who is waiting, where they share one. Nobody waits for a follower to have
applied, and what came meanwhile is applied in the same turn. Pure.
"""

from math import inf
from typing import Final

QUIET_SECONDS: Final = 0.001  # since the disk was done, and nothing more came for it
LONGEST_REST_SECONDS: Final = 0.01  # on a slow disk, or under load, a follower falls no further behind
COARSE_SECONDS: Final = 0.0005  # so much too early a timer may fire


class Applying:
    """Of one replica. What rests stays in the algorithm's hands, which counts it as not applied."""

    def __init__(self) -> None:
        self.due = inf  # when what rests is applied, if nothing more comes
        self._since: float | None = None
        self._quiet_since: float | None = None

    def may_begin(self, *, leads: bool, has_any: bool, is_writing: bool, now: float) -> bool:
        """Whether what is committed, if there is any, is to be applied in this turn."""
        if not leads and has_any:
            self._rest(is_writing=is_writing, now=now)
            if now < self.due - COARSE_SECONDS:
                return False
        self.due = inf
        self._since = self._quiet_since = None
        return True

    def _rest(self, *, is_writing: bool, now: float) -> None:
        self._since = now if self._since is None else self._since
        self.due = self._since + LONGEST_REST_SECONDS
        if is_writing:
            self._quiet_since = None
            return
        self._quiet_since = now if self._quiet_since is None else self._quiet_since
        self.due = min(self.due, self._quiet_since + QUIET_SECONDS)
