"""A queue together with the log it is driven by: each command gets the next index."""

from replicated_queue.queue.commands import Command, Created, Put, Reserve, Reserved, Result
from replicated_queue.queue.limits import QueueLimits
from replicated_queue.queue.priority_queue import PriorityQueue


class QueueLog:
    """Applies commands one by one, at `now` milliseconds of cluster time."""

    def __init__(self, **limits: int | float) -> None:
        self.queue = PriorityQueue(QueueLimits(**limits))  # type: ignore[arg-type]
        self.index = 0
        self.now = 0

    def apply(self, command: Command, *, at: int | None = None) -> Result:
        self.index += 1
        self.now = self.now if at is None else at
        return self.queue.apply(command, index=self.index, now=self.now)

    def put(
        self, data: bytes = b"work", *, topic: str = "mail", at: int | None = None, **wishes: object
    ) -> int:
        result = self.apply(Put(topic, data, **wishes), at=at)  # type: ignore[arg-type]
        assert isinstance(result, Created)
        return result.job_ids[0]

    def reserve(self, *topics: str, at: int | None = None, **wishes: object) -> tuple[int, int] | None:
        """(job id, token), or None."""
        result = self.apply(Reserve(topics or ("mail",), **wishes), at=at)  # type: ignore[arg-type]
        assert isinstance(result, Reserved)
        return (result.job_ids[0], result.token) if result.job_ids else None

    def take(self, *topics: str, at: int | None = None, **wishes: object) -> tuple[int, int]:
        taken = self.reserve(*topics, at=at, **wishes)
        assert taken is not None
        return taken

    def state_of(self, job_id: int) -> str:
        job = self.queue.jobs.get(job_id) or self.queue.finished.get(job_id)
        return job.state if job is not None else "unknown"
