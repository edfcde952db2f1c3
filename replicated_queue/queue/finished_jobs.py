"""What is remembered of finished jobs, so that a late ack hears that the job is done."""

from collections import OrderedDict
from typing import NamedTuple

from replicated_queue.queue.job import JobView

MAX_FINISHED = 10_000
MAX_FINISHED_BYTES = 4 * 1024 * 1024


class FinishedJob(NamedTuple):
    """How a job ended. Its data is gone; its result stays until newer ones need the room."""

    id: int
    topic: str
    state: str  # succeeded or cancelled
    priority: int
    attempts: int
    worker: str
    dedupe_key: str | None
    created_ms: int
    finished_ms: int
    result: bytes

    def view(self) -> JobView:
        """As it is shown to people."""
        return JobView(
            id=self.id,
            topic=self.topic,
            state=self.state,
            priority=self.priority,
            attempts=self.attempts,
            max_attempts=0,
            nacks=0,
            timeouts=0,
            created_ms=self.created_ms,
            due_ms=0,
            worker=self.worker,
            reasons=(),
            data=b"",
            result=self.result,
        )


class FinishedJobs:
    """The newest finished jobs, bounded by number and by bytes of their results; the oldest leave first."""

    def __init__(self, *, max_jobs: int = MAX_FINISHED, max_bytes: int = MAX_FINISHED_BYTES) -> None:
        # In the order they finished. A plain dict would look for its first key among all those that left.
        self._jobs: OrderedDict[int, FinishedJob] = OrderedDict()
        self._bytes = 0
        self._max_jobs = max_jobs
        self._max_bytes = max_bytes

    def get(self, job_id: int) -> FinishedJob | None:
        return self._jobs.get(job_id)

    def all(self) -> tuple[FinishedJob, ...]:
        """Oldest first."""
        return tuple(self._jobs.values())

    def add(self, job: FinishedJob) -> list[FinishedJob]:
        """Remember `job`; return the ones that had to be forgotten for it."""
        self._jobs[job.id] = job
        self._bytes += len(job.result)
        forgotten = []
        while len(self._jobs) > self._max_jobs or self._bytes > self._max_bytes:
            _, oldest = self._jobs.popitem(last=False)
            self._bytes -= len(oldest.result)
            forgotten.append(oldest)
        return forgotten
