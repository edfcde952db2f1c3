"""Settings of one replica: times in seconds, sizes in bytes, each with what it costs to change it."""

from dataclasses import dataclass

from .raft.config import RaftConfig

KIBIBYTE = 1024
MEBIBYTE = 1024 * KIBIBYTE
MISSED_HEARTBEATS = 3  # so many in a row make a learner believe that its leader is lost


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSettings:
    """How a replica keeps time and what it bounds. The same on all replicas of a group."""

    heartbeat_seconds: float = 0.25  # shorter finds a silent leader sooner and costs traffic at idle
    learner_heartbeat_seconds: float = 1.0  # to members that do not count; a multiple of the one above
    election_timeout_seconds: float = 1.0  # a follower waits once to twice this long for its leader
    unreachable_seconds: float = 0.05  # longest wait before a pre-vote when the link to the leader was reset
    tick_seconds: float = 0.01  # granularity of the two above; nothing wakes up for an empty tick
    max_entry_bytes: int = 256 * KIBIBYTE
    max_uncommitted_bytes: int = MEBIBYTE  # above it the leader answers `Busy`
    max_uncommitted_proposals: int = 256
    max_append_bytes: int = 128 * KIBIBYTE  # one append message; a single larger entry still goes alone
    max_inflight_appends: int = 32  # times the line above bounds what a slow follower's link buffers
    max_apply_bytes: int = 512 * KIBIBYTE  # applied at once before the event loop gets its turn
    quiet_seconds: float = 1.0  # so long nothing is applied before states are compared
    segment_bytes: int = 4 * MEBIBYTE  # of the write-ahead log; each is zeroed before use
    snapshot_factor: int = 1  # a snapshot is taken when the log, also in memory, is so many times as large
    snapshot_floor_bytes: int = 8 * MEBIBYTE  # but never for less log than this
    kept_log_bytes: int = 2 * MEBIBYTE  # behind a snapshot, for nodes that were away for a moment

    def patience_seconds(self, *, is_voter: bool) -> float:
        """How long a leader may be silent before a replica takes it for lost."""
        if is_voter:
            return self.election_timeout_seconds
        return max(self.election_timeout_seconds, MISSED_HEARTBEATS * self.learner_heartbeat_seconds)


def raft_config(settings: ReplicaSettings) -> RaftConfig:
    """The algorithm's settings, whose time is counted in ticks."""
    tick = settings.tick_seconds
    return RaftConfig(
        election_ticks=round(settings.election_timeout_seconds / tick),
        heartbeat_ticks=round(settings.heartbeat_seconds / tick),
        learner_beats=max(1, round(settings.learner_heartbeat_seconds / settings.heartbeat_seconds)),
        unreachable_ticks=round(settings.unreachable_seconds / tick),
        max_append_bytes=settings.max_append_bytes,
        max_inflight_appends=settings.max_inflight_appends,
        max_uncommitted_bytes=settings.max_uncommitted_bytes,
        max_apply_bytes=settings.max_apply_bytes,
    )
