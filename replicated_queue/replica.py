"""One replica: the algorithm, the state machine that its log is about, and cluster time. Pure.

The shell (`service.py`) hands in frames, commands, and the monotonic time in seconds.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from .codec import Frame, decode_command, encode_command, stamp_of
from .interfaces import StateMachine
from .raft.messages import (
    Append,
    AppendRejected,
    AppendResponse,
    Entry,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    Ready,
    Role,
)
from .raft.progress import Follower
from .raft.raft import Raft

MISSED_BEATS = 4  # a member that answered none of so many heartbeats is not there
LONGEST_STEP_SECONDS = 2.0  # a longer gap means that this process stood still, and cluster time does too


class Applied(NamedTuple):
    """One command that the state machine has run."""

    index: int  # type: ignore[assignment]  # hides a method of tuples that nobody needs
    results: Sequence[Any]


class ClusterTime:
    """Milliseconds that never run backwards along the log (design: "cluster time").

    Between stamps it follows the leader's frames and this machine's monotonic clock. A pause of the process
    is not counted, so a leader that stood still makes leases longer, never shorter.
    """

    def __init__(self, now: float) -> None:
        self._milliseconds = 0.0
        self._last = now
        self.floor = 0  # newest stamp of an applied entry

    def at(self, now: float) -> int:
        """Cluster time at `now`."""
        if now > self._last:
            self._milliseconds += min(now - self._last, LONGEST_STEP_SECONDS) * 1000
            self._last = now
        milliseconds = int(self._milliseconds)
        return milliseconds if milliseconds > self.floor else self.floor

    def heard(self, milliseconds: int, now: float) -> None:
        """The leader says what time it is. It alone decides, also where our clock runs faster."""
        self._milliseconds = float(milliseconds)
        self._last = max(self._last, now)

    def at_least(self, stamp: int) -> None:
        """An entry of the log bears `stamp`."""
        self.floor = max(self.floor, stamp)
        self._milliseconds = max(self._milliseconds, float(stamp))


class Replica:
    """Feeds the algorithm with time and messages, and the state machine with what is committed."""

    def __init__(
        self,
        *,
        raft: Raft,
        state_machine: StateMachine,
        tick_seconds: float,
        now: float,
        restored_stamp: int = 0,
    ) -> None:
        """`restored_stamp`: cluster time of the snapshot that the state machine was restored from."""
        self.raft = raft
        self.applied_index = raft.log.applying_index
        self._state_machine = state_machine
        self._tick_seconds = tick_seconds
        self._ticked_at = now
        self._time = ClusterTime(now)
        self._time.at_least(restored_stamp)
        self._stamp_of_snapshot = restored_stamp  # of all that the log does not have any more
        self._heard_leader_at: float | None = None
        self._heard_at: dict[int, float] = {}  # when each member last answered us as its leader
        self._stamped_term = 0  # the term as whose leader we know the newest stamp of the log
        self._opened_term = 0  # the term whose no-op was applied here

    # What goes in

    def receive(self, frame: Frame, *, now: float) -> None:
        """Take one frame of a peer."""
        self.tick(now)  # the wait for this frame lies before it
        message, raft = frame.message, self.raft
        raft.step(message)
        if raft.replication is not None:
            if isinstance(message, AppendResponse | AppendRejected | HeartbeatResponse):
                self._heard_at[message.sender] = now
            return
        if isinstance(message, Append | Heartbeat | InstallSnapshot) and (message.sender, message.term) == (
            raft.leader,
            raft.term,
        ):
            self._heard_leader_at = now
            self._time.heard(frame.now, now)

    def propose(self, commands: Sequence[bytes], *, now: float) -> int:
        """Stamp and propose; return the index of the first. Raises `NotLeader` or `Busy`."""
        if self.raft.role is Role.LEADER and self._stamped_term != self.raft.term:
            self._time.at_least(self._newest_stamp())
            self._stamped_term = self.raft.term
        stamp = self._time.at(now)
        first = self.raft.propose([encode_command(command, now=stamp) for command in commands])
        self._time.at_least(stamp)
        return first

    def tick(self, now: float) -> None:
        """Let the time until `now` pass.

        Woken much later than we asked to be, we were paused ourselves: such a gap counts as a short one, for
        meanwhile we heard nobody and may not judge.
        """
        # Woken exactly at `next_deadline` the tick must count, whatever floating point makes of it.
        ticks = int((now - self._ticked_at) / self._tick_seconds + 1e-6)
        if ticks <= 0:
            return
        self._time.at(now)
        self._ticked_at += ticks * self._tick_seconds
        slack = self.raft.config.heartbeat_ticks
        was_paused = ticks > self.raft.ticks_until_due + slack
        self.raft.tick(slack if was_paused else ticks)

    def next_deadline(self) -> float:
        """When `tick` will do something, if nothing is received before."""
        return self._ticked_at + self.raft.ticks_until_due * self._tick_seconds

    # What comes out

    def ready(self, *, apply: bool = True) -> Ready | None:
        """What to do now; None for nothing. Without `apply` what is committed stays for a later turn."""
        has_any = self.raft.has_ready if apply else self.raft.has_more
        return self.raft.ready(apply=apply) if has_any else None

    def restored(self, index: int, *, stamp: int) -> None:
        """The state machine is now what a leader's snapshot of `index` said."""
        self.applied_index = index
        self.compacted(stamp)
        self._time.at_least(stamp)

    def replaced(self, index: int) -> None:
        """The state machine is now what the leader's was at `index`; what was applied since is run again."""
        again = [self.raft.log.entry_at(place) for place in range(index + 1, self.applied_index + 1)]
        self.applied_index = index
        self.apply(again)

    def compacted(self, stamp: int) -> None:
        """A snapshot stands for the log up to a place with this cluster time."""
        self._stamp_of_snapshot = max(self._stamp_of_snapshot, stamp)

    @property
    def newest_applied_stamp(self) -> int:
        """Cluster time of the newest applied entry."""
        return self._time.floor

    def apply(
        self,
        committed: Iterable[Entry],
        *,
        parts_of: Callable[[int, int], Sequence[Any]] = lambda index, term: (),
    ) -> list[Applied]:
        """Run committed entries. What the state machine raises is a bug of it, and must end the process.

        `parts_of` an index and a term: see `StateMachine.apply`.
        """
        applied = []
        for entry in committed:
            assert entry.index == self.applied_index + 1, f"{entry.index} applied after {self.applied_index}"
            self.applied_index = entry.index
            if not entry.data:  # a leader's no-op
                self._opened_term = entry.term
                continue
            if entry.is_change:  # the algorithm's own affair
                continue
            stamp, command = decode_command(entry.data)
            self._time.at_least(stamp)
            parts = parts_of(entry.index, entry.term)
            results = self._state_machine.apply(command, index=entry.index, now=stamp, parts=parts)
            applied.append(Applied(entry.index, results))
        return applied

    @property
    def is_leading(self) -> bool:
        """Whether we lead and our no-op is applied, so that our state is what all earlier terms left."""
        return self.raft.role is Role.LEADER and self._opened_term == self.raft.term

    def followers(self, now: float) -> tuple[Follower, ...]:
        """As leader, how far the other members are; nobody otherwise."""
        raft = self.raft
        if raft.replication is None:
            return ()
        config = raft.config
        beats = {True: 1, False: config.learner_beats}
        found = []
        for peer, progress in raft.replication.progress.items():
            if peer != raft.me:
                ticks = MISSED_BEATS * config.heartbeat_ticks * beats[peer in raft.membership.voters]
                silence = now - self._heard_at.get(peer, float("-inf"))
                is_active = silence <= ticks * self._tick_seconds
                needs_snapshot = progress.match_index < raft.log.base.index
                found.append(Follower(peer, progress.match_index, is_active, needs_snapshot))
        return tuple(found)

    @property
    def uncommitted_bytes(self) -> int:
        replication = self.raft.replication
        return replication.uncommitted_bytes if replication is not None else 0

    def cluster_time(self, now: float) -> int:
        """Cluster time in milliseconds, as far as this replica knows."""
        return self._time.at(now)

    def seconds_since_leader(self, now: float) -> float:
        """How long ago a leader was heard; 0 for the leader itself, infinite if none ever was."""
        if self.raft.role is Role.LEADER:
            return 0.0
        return now - self._heard_leader_at if self._heard_leader_at is not None else float("inf")

    def _newest_stamp(self) -> int:
        """Of the whole log: what is not applied yet was stamped too, and time runs forwards along it."""
        log = self.raft.log
        for index in range(log.last_index, log.base.index, -1):
            if (entry := log.entry_at(index)).data and not entry.is_change:
                return stamp_of(entry.data)[1]
        return self._stamp_of_snapshot
