"""Whose turn it is to probe whom.

SWIM (§4.3) lets every member walk through its own shuffled list: then by chance nobody looks at a dead
member for several seconds. Here all members shuffle alike and walk in step: in each round every live member
is probed by exactly one other, so a death is noticed in the next round. What keeps them in step is the beat
clock: everyone's monotonic clock, moved forward to the highest heard. Members that disagree (on the round, on
who lives) only probe somebody twice and somebody later; nothing but punctuality depends on it.
"""

from bisect import bisect_left
from functools import lru_cache
from random import Random

from gossip.member import NodeId


@lru_cache(maxsize=8)
def shuffled_distances(cycle: int, others: int) -> tuple[int, ...]:
    """In what order all members look at their 1st, 2nd … successor in this cycle."""
    distances = list(range(1, others + 1))
    Random(cycle).shuffle(distances)
    return tuple(distances)


class Turns:
    """The beat clock, and our rounds on it."""

    def __init__(self, *, interval: float, now: float) -> None:
        self._interval = interval
        self._ahead = 0.0  # of our own clock
        self._round = self._round_at(now)

    def beat(self, now: float) -> float:
        return now + self._ahead

    def hear(self, beat: float, *, now: float) -> None:
        """Fall in step with whoever is ahead."""
        self._ahead = max(self._ahead, beat - now)

    def next_at(self, stretch: int) -> float:
        """When our next turn begins; a node in bad health (Lifeguard) takes only every `stretch`-th."""
        return (self._round + stretch) * self._interval - self._ahead

    def take(self, *, me: NodeId, ring: list[NodeId], now: float) -> NodeId | None:
        """Begin the present round (rounds slept through are not made up for); return whom to probe."""
        # Rounding may see us a hair before the boundary: the round that begins is never the one we had.
        self._round = max(self._round_at(now), self._round + 1)
        others = len(ring) - 1
        if others <= 0:
            return None
        cycle, place = divmod(self._round, others)
        distance = shuffled_distances(cycle, others)[place]
        return ring[(bisect_left(ring, me) + distance) % len(ring)]

    def _round_at(self, now: float) -> int:
        return int(self.beat(now) / self._interval)
