"""All jobs of a queue that are not finished, by id. One that was put and only waits is kept small.

Most jobs of a long queue were never touched since their put. Such a job is kept as a plain tuple of what the
put said: a third as large as a record, and nothing for the garbage collector to look at, as Python leaves
tuples of plain values alone. Its full rounds over 100,000 records stall the event loop for 40 ms on a fast
machine. A job becomes a record when something happens to it, and stays one.
"""

from collections.abc import Iterator

from replicated_queue.queue.job import READY, JobRecord

Wishes = tuple[int, int, int, int]  # lease_ms, max_attempts, backoff_ms, ageing_ms: nearly always the same
# Topic, data, priority, created_ms; and the wishes, where they are not those of the topic's first job. It is
# of a job that was ready at once and has neither key nor needs.
Waiting = tuple[str, bytes, int, int] | tuple[str, bytes, int, int, int, int, int, int]
TOPIC = 0  # its place in there


class Jobs:
    """A mapping of ids to records, in the order of ids, that is, of age."""

    __slots__ = ("_kept", "_usual")

    def __init__(self) -> None:
        self._kept: dict[int, JobRecord | Waiting] = {}
        self._usual: dict[str, Wishes] = {}  # by topic, while it has jobs

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
            job = self._kept[job_id] = self._record(job_id, job)
        return job

    def look(self, job_id: int) -> JobRecord | None:
        """What there is to know of a job, not to be changed."""
        job = self._kept.get(job_id)
        return self._record(job_id, job) if isinstance(job, tuple) else job

    def values(self) -> Iterator[JobRecord]:
        """All of them, not to be changed."""
        for job_id, job in self._kept.items():
            yield self._record(job_id, job) if isinstance(job, tuple) else job

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
                yield self._record(job_id, job)

    def is_ready(self, job_id: int, rank: int) -> bool:
        """Whether the job is ready, with this place in the line."""
        job = self._kept.get(job_id)
        if job is None or isinstance(job, tuple):
            return job is not None
        return job.state == READY and job.rank == rank

    def keep(self, job: JobRecord) -> None:
        """One more job; if it only waits, the record is not needed."""
        if job.state != READY or job.reserves or job.delay_ms or job.dedupe_key is not None or job.needs:
            self._kept[job.id] = job
        else:
            wishes = (job.lease_ms, job.max_attempts, job.backoff_ms, job.ageing_ms)
            self.keep_waiting(job.id, job.topic, job.data, job.priority, job.created_ms, wishes)

    def keep_waiting(
        self, job_id: int, topic: str, data: bytes, priority: int, created_ms: int, wishes: Wishes
    ) -> None:
        """One more job, that is ready and to which nothing happened yet."""
        usual = self._usual.setdefault(topic, wishes)
        if wishes == usual:
            self._kept[job_id] = (topic, data, priority, created_ms)
        else:
            self._kept[job_id] = (topic, data, priority, created_ms, *wishes)

    def topic_ended(self, topic: str) -> None:
        """The topic has no jobs any more."""
        self._usual.pop(topic, None)

    def _record(self, job_id: int, waiting: Waiting) -> JobRecord:
        topic, data, priority, created_ms, *own = waiting
        lease_ms, max_attempts, backoff_ms, ageing_ms = own or self._usual[topic]
        job = JobRecord(
            job_id, topic, data, priority, lease_ms, max_attempts, None, created_ms, backoff_ms, (), ageing_ms
        )
        job.state = READY
        return job
