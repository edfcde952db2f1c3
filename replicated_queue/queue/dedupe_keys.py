"""Dedupe keys: which job has which key, so that a put that comes twice makes one job."""

from replicated_queue.errors import Duplicate
from replicated_queue.queue.commands import Put
from replicated_queue.queue.finished_jobs import FinishedJob, FinishedJobs
from replicated_queue.queue.job import JobRecord
from replicated_queue.queue.jobs import Jobs


class DedupeKeys:
    """Keys by topic. One is held while its job is not finished, and for a time after it succeeded."""

    def __init__(self, jobs: Jobs, finished: FinishedJobs, *, window_ms: int) -> None:
        self._jobs = jobs
        self._finished = finished
        self._window_ms = window_ms
        self._keys: dict[tuple[str, str], int] = {}  # (topic, key) → job

    def known(self, put: Put, *, now: int) -> int | None:
        """The unfinished job of the same key. Raises `Duplicate` when that key was done lately."""
        if put.dedupe_key is None:
            return None
        job_id = self._keys.get((put.topic, put.dedupe_key))
        if job_id is None or job_id in self._jobs:
            return job_id
        done = self._finished.get(job_id)
        if done is not None and now - done.finished_ms < self._window_ms:
            raise Duplicate(job_id=job_id)
        return None

    def remember(self, job: JobRecord) -> None:
        if job.dedupe_key is not None:
            self._keys[job.topic, job.dedupe_key] = job.id

    def forget(self, job: FinishedJob) -> None:
        if job.dedupe_key is not None and self._keys.get((job.topic, job.dedupe_key)) == job.id:
            del self._keys[job.topic, job.dedupe_key]

    def copy(self) -> dict[tuple[str, str], int]:
        """All of them, to be carried by a snapshot."""
        return self._keys.copy()

    def put(self, topic: str, key: str, job_id: int) -> None:
        """One that a snapshot has carried."""
        self._keys[topic, key] = job_id

    def __len__(self) -> int:
        return len(self._keys)

    def holds(self, job: JobRecord | FinishedJob) -> bool:
        """Whether the job's key is this job's. Each key is some job's that is known."""
        return job.dedupe_key is not None and self._keys.get((job.topic, job.dedupe_key)) == job.id
