"""How far one follower is, as its leader sees it: probe for the place where logs meet, then stream."""

from collections import deque
from enum import Enum
from typing import NamedTuple


class ProgressState(Enum):
    """One append a heartbeat until one matches, many at a time, or none while a snapshot is sent."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Follower(NamedTuple):
    """Another member, as its leader sees it."""

    peer_id: int
    match_index: int  # what is known to be on its disk
    is_active: bool  # answered one of its last heartbeats
    needs_snapshot: bool = False  # the log that is kept begins behind what it has


class Progress:
    """What the leader knows of one member, and what it has in flight to it."""

    __slots__ = (
        "_inflight", "inflight_limit", "is_flow_paused", "is_recent_active", "match_index", "next_index",
        "pending_snapshot", "sent_commit", "state",
    )  # fmt: skip

    def __init__(self, *, next_index: int, inflight_limit: int, match_index: int = 0) -> None:
        self.state = ProgressState.PROBE
        self.match_index = match_index  # known to be on that member's disk
        self.next_index = next_index  # next to be sent
        self.pending_snapshot = 0  # last index of the snapshot on its way, else 0
        self.sent_commit = 0
        self.is_flow_paused = False
        self.is_recent_active = False  # heard since the last check-quorum
        self.inflight_limit = inflight_limit
        self._inflight: deque[int] = deque()  # last index of each append that is not answered

    @property
    def inflight_count(self) -> int:
        return len(self._inflight)

    @property
    def is_inflight_full(self) -> bool:
        return len(self._inflight) >= self.inflight_limit

    @property
    def is_paused(self) -> bool:
        return self.state is ProgressState.SNAPSHOT or self.is_flow_paused

    def become_probe(self) -> None:
        """Look for where the logs meet; behind a snapshot if one was on its way."""
        pending = self.pending_snapshot
        self._reset(ProgressState.PROBE)
        self.next_index = max(self.match_index, pending) + 1
        self.sent_commit = min(self.sent_commit, self.next_index - 1)

    def become_replicate(self) -> None:
        self._reset(ProgressState.REPLICATE)
        self.next_index = self.match_index + 1

    def become_snapshot(self, index: int) -> None:
        """Send nothing until the snapshot up to `index` has arrived or failed."""
        self._reset(ProgressState.SNAPSHOT)
        self.pending_snapshot = index
        self.next_index = index + 1
        self.sent_commit = index

    def snapshot_ended(self, *, arrived: bool) -> None:
        """The transfer is over; wait for an acknowledgement, or a heartbeat before the next try."""
        if self.state is ProgressState.SNAPSHOT:
            if not arrived:
                self.pending_snapshot = 0
            self.become_probe()
            self.is_flow_paused = True

    def _reset(self, state: ProgressState) -> None:
        self.state = state
        self.pending_snapshot = 0
        self.is_flow_paused = False
        self._inflight.clear()

    def sent(self, *, last_index: int, count: int, commit: int) -> None:
        """An append of `count` entries that ends in `last_index` has left."""
        self.sent_commit = commit
        if self.state is ProgressState.PROBE:
            self.is_flow_paused = self.is_flow_paused or count > 0
            return
        if count:
            self.next_index = last_index + 1
            self._inflight.append(last_index)
        # At the limit, or over it with an empty append: that one was a probe, the next waits for an answer.
        self.is_flow_paused = len(self._inflight) >= self.inflight_limit

    def acknowledged(self, index: int) -> bool:
        """Everything up to `index` matches; return whether that is news."""
        if index <= self.match_index:
            return False
        self.match_index = index
        self.next_index = max(self.next_index, index + 1)
        self.is_flow_paused = False
        return True

    def free_inflight(self, index: int) -> None:
        """Appends that end at or before `index` have arrived."""
        while self._inflight and self._inflight[0] <= index:
            self._inflight.popleft()

    def rejected(self, index: int, *, hint: int) -> bool:
        """An append on `index` did not match; step back, and return whether the answer was a fresh one."""
        if self.state is ProgressState.REPLICATE:
            if index <= self.match_index:
                return False
            self.next_index = self.match_index + 1
        else:
            if self.next_index - 1 != index:
                return False
            self.next_index = max(min(index, hint + 1), self.match_index + 1)
            self.is_flow_paused = False
        self.sent_commit = min(self.sent_commit, self.next_index - 1)
        return True

    def can_bump_commit(self, commit: int) -> bool:
        """Whether an empty append would tell the follower of a commit that it can use."""
        return commit > self.sent_commit and self.sent_commit < self.next_index - 1
