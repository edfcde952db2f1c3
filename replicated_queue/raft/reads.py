"""ReadIndex: reads that cost a round of heartbeats and no entry (thesis §6.4). No leases."""

from collections.abc import Iterable

from .messages import ReadState
from .voters import Voters


class Reads:
    """Reads of one leadership that wait for a majority to confirm it. Rounds count from 1."""

    def __init__(self, me: int) -> None:
        self._me = me
        self._early: list[int] = []  # came before our no-op was committed: their index is not known yet
        self._waiting: dict[int, tuple[int, int]] = {}  # round -> (read, commit index when it came)
        self._confirmed: dict[int, int] = {}  # peer -> newest round that it answered
        self.round = 0

    def ask(self, read: int, *, commit: int | None) -> bool:
        """A read has come; `commit` is None before our no-op is committed. Whether to ask around for it."""
        if commit is None:
            self._early.append(read)
            return False
        self.round += 1
        self._waiting[self.round] = (read, commit)
        return True

    def take_early(self) -> list[int]:
        """Reads that came before the no-op was committed, which it is now."""
        early, self._early = self._early, []
        return early

    def answered(self, peer: int, number: int) -> None:
        """`peer` was in our term after round `number` had begun. What we never asked confirms nothing."""
        if number <= self.round:
            self._confirmed[peer] = max(self._confirmed.get(peer, 0), number)

    def take_confirmed(self, voters: Voters) -> Iterable[ReadState]:
        """Reads that a majority has confirmed, in order."""
        found = []
        for number, (read, commit) in list(self._waiting.items()):
            peers = [peer for peer, newest in self._confirmed.items() if newest >= number]
            if not voters.is_quorum([*peers, self._me]):
                break
            del self._waiting[number]
            found.append(ReadState(read, commit))
        return found
