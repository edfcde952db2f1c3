"""A leader whose disk stalls or is full gives leadership away: SD cards stand still for seconds. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from .raft.replication import Replication

SLOW_SECONDS = 1.0  # a write that waits for longer means a disk that stalls
PAUSE_SECONDS = 30.0  # between two verdicts, so that two slow disks do not play ball with the group
FULL_PAUSE_SECONDS = 5.0  # the same for full disks: while they lead, nothing is taken


class Unsynced(NamedTuple):
    """The oldest write that is not on the disk: since when it waits, and the last index behind it."""

    since: float
    last_index: int


@dataclass(frozen=True, slots=True)
class DiskTrouble:
    """The leader's disk stalls or is full; `successor` is who should lead, 0 if nobody is fit to."""

    reason: str  # as the log says it
    successor: int


class DiskWatch:
    """Judges the disk of one replica."""

    def __init__(self) -> None:
        self._quiet_until = float("-inf")

    def judge(
        self, replication: Replication | None, oldest: Unsynced | None, *, is_full: bool, now: float
    ) -> DiskTrouble | None:
        """Whether our leadership should go, and to whom; None while all is well or was said a moment ago."""
        if replication is None or now < self._quiet_until:
            return None
        if is_full:
            self._quiet_until = now + FULL_PAUSE_SECONDS
            return DiskTrouble("full", replication.best_successor())
        if oldest is None or now - oldest.since <= SLOW_SECONDS:
            return None
        self._quiet_until = now + PAUSE_SECONDS
        fit = sorted(_synced_more(replication, oldest.last_index))
        return DiskTrouble(f"slow waited_seconds={now - oldest.since:.1f}", fit[-1][1] if fit else 0)


def _synced_more(replication: Replication, last_index: int) -> Iterable[tuple[int, int]]:
    """Voters that have on their disks what we have not on ours: theirs were well while ours stood still."""
    for peer in replication.voters_but_me:
        progress = replication.progress[peer]
        if progress.is_recent_active and progress.match_index >= last_index:
            yield progress.match_index, peer
