"""What people may set for a topic. Without a word from them it has no bound of its own and no ageing."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSettings:
    """The same on all replicas: it decides results."""

    max_jobs: int = 0  # not finished ones; 0: no bound but the queue's
    max_bytes: int = 0  # of their data and texts; 0: no bound but the queue's
    ageing_ms: int = 0  # a priority counts as so much age; 0: priorities alone count
    is_draining: bool = False  # takes no new jobs; those that are there are worked off
