"""Who is told what happens to jobs while commands are applied: the leader keeps leases and waiters by it."""

from typing import Protocol


class QueueWatcher(Protocol):
    """Called in the middle of `apply`: must be quick, must not fail, must not ask the queue to change."""

    def job_ready(self, topic: str) -> None: ...

    def job_delayed(self, topic: str) -> None: ...

    def lease_started(self, job_id: int, token: int, lease_ms: int) -> None: ...

    def lease_ended(self, job_id: int) -> None: ...
