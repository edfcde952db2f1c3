"""What one replica's algorithm is told about time and bounds."""

from dataclasses import dataclass

from .log import UNLIMITED


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftConfig:
    """Timing in ticks, bounds in bytes. Pre-vote and check-quorum are off only in scripted cases."""

    election_ticks: int = 100
    heartbeat_ticks: int = 25
    learner_beats: int = 1  # learners get every so manieth heartbeat
    unreachable_ticks: int = 5  # longest wait for a pre-vote after the link to the leader was reset
    pre_vote: bool = True
    check_quorum: bool = True
    step_down_on_removal: bool = True  # a leader that is removed or demoted stops when that is applied
    max_append_bytes: int = UNLIMITED
    max_inflight_appends: int = UNLIMITED
    max_uncommitted_bytes: int = UNLIMITED
    max_apply_bytes: int = UNLIMITED
