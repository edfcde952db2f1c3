"""Quorum arithmetic: who counts, and what a majority of them has said (Raft §5.2, §5.4.2).

Learners are not seen here: they count for nothing (`membership.py`).
"""

from collections.abc import Iterable, Mapping
from enum import Enum

NO_VOTERS_COMMIT = (1 << 64) - 1  # an empty quorum agrees to everything, as a neutral element


class Tally(Enum):
    """Where an election stands."""

    PENDING = "pending"
    WON = "won"
    LOST = "lost"


class Voters:
    """The members whose votes and acknowledgements count, each once."""

    def __init__(self, ids: Iterable[int]) -> None:
        self.ids = tuple(sorted(set(ids)))
        self.quorum = len(self.ids) // 2 + 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Voters) and self.ids == other.ids

    def __hash__(self) -> int:
        return hash(self.ids)

    def __contains__(self, peer: int) -> bool:
        return peer in self.ids

    def is_quorum(self, peers: Iterable[int]) -> bool:
        """Whether `peers` hold a majority. Others than voters do not count."""
        return not self.ids or len({peer for peer in peers if peer in self.ids}) >= self.quorum

    def tally(self, votes: Mapping[int, bool]) -> Tally:
        """What the votes given so far decide."""
        given = [votes[peer] for peer in self.ids if peer in votes]
        if not self.ids or sum(given) >= self.quorum:
            return Tally.WON
        if sum(given) + len(self.ids) - len(given) < self.quorum:
            return Tally.LOST
        return Tally.PENDING

    def has_heard_all_but(self, peer: int, votes: Mapping[int, bool]) -> bool:
        """Whether only the vote of `peer`, one of the voters, is missing."""
        return [voter for voter in self.ids if voter not in votes] == [peer]

    def committed(self, match: Mapping[int, int]) -> int:
        """The largest index that a majority has; 0 for a voter of whom nothing is known."""
        if not self.ids:
            return NO_VOTERS_COMMIT
        return sorted((match.get(peer, 0) for peer in self.ids), reverse=True)[self.quorum - 1]
