"""The jobs of one topic: who is next, who comes later, who is set aside."""

from heapq import heappop, heappush

from replicated_queue.queue.job import BURIED, DELAYED, LEASED, READY, URGENT_BELOW, JobRecord, TopicStats

SLACK = 64  # stale heap entries that are always allowed, so that small topics are never rebuilt


class Topic:
    """Two heaps of tuples and a line of buried jobs.

    Who leaves a heap other than by its top is not looked for: the entry stays and is skipped when it comes
    up, for it no longer says what the job says. A heap of more than half such entries is rebuilt.
    """

    __slots__ = (
        "_delayed",
        "_jobs",
        "_ready",
        "buried",
        "counts",
        "name",
        "pause_ms",
        "paused_until",
        "pauses",
        "total_cancelled",
        "total_put",
        "total_succeeded",
        "urgent",
    )

    def __init__(self, name: str, jobs: dict[int, JobRecord]) -> None:
        self.name = name
        self.counts = {READY: 0, DELAYED: 0, LEASED: 0, BURIED: 0}
        self.buried: dict[int, None] = {}  # in the order they were buried
        self.total_put = 0
        self.total_succeeded = 0
        self.total_cancelled = 0
        self.urgent = 0  # ready ones that beanstalkd would call so
        self.pauses = 0
        self.pause_ms = 0
        self.paused_until = 0  # cluster time
        self._jobs = jobs  # all jobs of the queue, by id
        self._ready: list[tuple[int, int]] = []  # (priority, id)
        self._delayed: list[tuple[int, int]] = []  # (due_ms, id)

    @property
    def is_empty(self) -> bool:
        return not any(self.counts.values())

    def add_ready(self, job: JobRecord) -> None:
        heappush(self._ready, (job.priority, job.id))
        if len(self._ready) > 2 * self.counts[READY] + SLACK:
            self._ready = sorted({entry for entry in self._ready if self._is_ready(entry)})  # sorted: a heap

    def add_delayed(self, job: JobRecord) -> None:
        heappush(self._delayed, (job.due_ms, job.id))
        if len(self._delayed) > 2 * self.counts[DELAYED] + SLACK:
            self._delayed = sorted({entry for entry in self._delayed if self._is_delayed(entry)})

    def first_ready(self) -> tuple[int, int] | None:
        """(priority, id) of the job that is next."""
        while self._ready and not self._is_ready(self._ready[0]):
            heappop(self._ready)
        return self._ready[0] if self._ready else None

    def take_ready(self) -> None:
        """Remove what `first_ready` answered."""
        heappop(self._ready)

    def first_delayed(self) -> tuple[int, int] | None:
        """(due_ms, id) of the job that becomes ready next."""
        while self._delayed and not self._is_delayed(self._delayed[0]):
            heappop(self._delayed)
        return self._delayed[0] if self._delayed else None

    def take_delayed(self) -> None:
        """Remove what `first_delayed` answered."""
        heappop(self._delayed)

    def due(self, now: int) -> list[JobRecord]:
        """Delayed jobs that are due, though no command has made them ready yet."""
        ids = {entry[1] for entry in self._delayed if entry[0] <= now and self._is_delayed(entry)}
        return [self._jobs[job_id] for job_id in sorted(ids)]

    def next_of(self, state: str, now: int) -> JobRecord | None:
        """The job that would be reserved, become ready, or be kicked first."""
        if state == READY:
            first = self.first_ready()
            ready = [self._jobs[first[1]]] if first else []
            return min(ready + self.due(now), key=lambda job: (job.priority, job.id), default=None)
        if state == DELAYED:
            later = [entry for entry in self._delayed if entry[0] > now and self._is_delayed(entry)]
            return self._jobs[min(later)[1]] if later else None
        first_buried = next(iter(self.buried), None)
        return self._jobs[first_buried] if first_buried is not None else None

    def digest_row(self) -> tuple[object, ...]:
        """Everything beside the jobs that must be equal on all replicas."""
        totals = (self.total_put, self.total_succeeded, self.total_cancelled)
        return self.name, totals, self.pauses, self.pause_ms, self.paused_until, list(self.buried)

    def stats(self, now: int) -> TopicStats:
        due = self.due(now)
        first = self.first_ready()
        is_paused = self.paused_until > now
        return TopicStats(
            ready=self.counts[READY] + len(due),
            delayed=self.counts[DELAYED] - len(due),
            leased=self.counts[LEASED],
            buried=self.counts[BURIED],
            total_put=self.total_put,
            total_succeeded=self.total_succeeded,
            oldest_ready_ms=max(0, now - self._jobs[first[1]].created_ms) if first else 0,
            urgent=self.urgent + sum(1 for job in due if job.priority < URGENT_BELOW),
            total_cancelled=self.total_cancelled,
            pauses=self.pauses,
            pause_ms=self.pause_ms if is_paused else 0,
            pause_left_ms=self.paused_until - now if is_paused else 0,
        )

    def _is_ready(self, entry: tuple[int, int]) -> bool:
        job = self._jobs.get(entry[1])
        return job is not None and job.state == READY and job.priority == entry[0]

    def _is_delayed(self, entry: tuple[int, int]) -> bool:
        job = self._jobs.get(entry[1])
        return job is not None and job.state == DELAYED and job.due_ms == entry[0]
