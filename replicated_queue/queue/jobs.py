"""All jobs of a queue that are not finished, by id. One that was put and only waits is kept small.

Most jobs of a long queue were never touched since their put. Such a job is kept as a plain tuple of what the
put said: half as large as a record, and nothing for the garbage collector to look at, as Python leaves tuples
of plain values alone. Its full rounds over 100,000 records stall the event loop for 40 ms on a fast machine.
A job becomes a record when something happens to it, and stays one.
"""

from collections.abc import Iterator

from replicated_queue.queue.job import READY, JobRecord

# topic, data, priority, lease_ms, max_attempts, dedupe_key, created_ms, backoff_ms, needs, ageing_ms: what
# `JobRecord` takes beside the id. Of a job that was ready at once and has neither key nor needs.
Waiting = tuple[str, bytes, int, int, int, None, int, int, tuple[()], int]
TOPIC = 0  # its place in there


class Jobs:
    """A mapping of ids to records, in the order of ids, that is, of age."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[int, JobRecord | Waiting] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, job_id: int) -> bool:
        return job_id in self._kept

    def __iter__(self) -> Iterator[int]:
        return iter(self._kept)

    def __delitem__(self, job_id: int) -> None:
        del self._kept[job_id]

    def __getitem__(self, job_id: int) -> JobRecord:
        """The record, which may be changed. Raises `KeyError`."""
        job = self.get(job_id)
        if job is None:
            raise KeyError(job_id)
        return job

    def get(self, job_id: int) -> JobRecord | None:
        """As `[]`, but None where there is no such job."""
        job = self._kept.get(job_id)
        if isinstance(job, tuple):
            job = self._kept[job_id] = _record(job_id, job)
        return job

    def look(self, job_id: int) -> JobRecord | None:
        """What there is to know of a job, not to be changed."""
        job = self._kept.get(job_id)
        return _record(job_id, job) if isinstance(job, tuple) else job

    def values(self) -> Iterator[JobRecord]:
        """All of them, not to be changed."""
        for job_id, job in self._kept.items():
            yield _record(job_id, job) if isinstance(job, tuple) else job

    def touched(self) -> Iterator[JobRecord]:
        """Those that did more than wait: among them all that are held, delayed or buried."""
        return (job for job in self._kept.values() if not isinstance(job, tuple))

    def of_topic(self, topic: str, *, after: int = 0, only_touched: bool = False) -> Iterator[JobRecord]:
        """Those of a topic with ids above `after`, not to be changed."""
        for job_id, job in self._kept.items():
            if not isinstance(job, tuple):
                if job_id > after and job.topic == topic:
                    yield job
            elif not only_touched and job_id > after and job[TOPIC] == topic:
                yield _record(job_id, job)

    def is_ready(self, job_id: int, rank: int) -> bool:
        """Whether the job is ready, with this place in the line."""
        job = self._kept.get(job_id)
        if job is None or isinstance(job, tuple):
            return job is not None
        return job.state == READY and job.rank == rank

    def keep(self, job: JobRecord) -> None:
        """One more job; if it only waits, the record is not needed."""
        self._kept[job.id] = _as_waiting(job) or job

    def keep_waiting(self, job_id: int, job: Waiting) -> None:
        """One more job, that is ready and to which nothing happened yet."""
        self._kept[job_id] = job


def _record(job_id: int, waiting: Waiting) -> JobRecord:
    job = JobRecord(job_id, *waiting)
    job.state = READY
    return job


def _as_waiting(job: JobRecord) -> Waiting | None:
    """The job as a tuple, if that says all of it: it is as its put made it."""
    if job.state != READY or job.reserves or job.delay_ms or job.dedupe_key is not None or job.needs:
        return None
    return (
        job.topic,
        job.data,
        job.priority,
        job.lease_ms,
        job.max_attempts,
        None,
        job.created_ms,
        job.backoff_ms,
        (),
        job.ageing_ms,
    )
