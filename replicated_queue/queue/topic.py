"""The jobs of one topic: who is next, who comes later, who is set aside."""

from heapq import heappop, heappush, nsmallest
from typing import Final

from replicated_queue.queue.job import BURIED, DELAYED, LEASED, READY, URGENT_BELOW, JobRecord, TopicStats
from replicated_queue.queue.jobs import Jobs
from replicated_queue.queue.ready_lines import SLACK, Needs, ReadyLines, most_urgent
from replicated_queue.queue.topic_settings import TopicSettings

UNSET = TopicSettings()
NONE: Final = {READY: 0, DELAYED: 0, LEASED: 0, BURIED: 0}


class Topic:
    """Lines of ready jobs, a heap of delayed ones and a line of buried ones.

    The heap of delayed jobs has stale entries as those of `ReadyLines` have.
    """

    __slots__ = (
        "_delayed",
        "_jobs",
        "buried",
        "counts",
        "name",
        "needs",
        "pause_ms",
        "paused_until",
        "pauses",
        "ready",
        "settings",
        "total_buried",
        "total_cancelled",
        "total_failed",
        "total_put",
        "total_succeeded",
        "urgent",
        "used_bytes",
    )

    def __init__(self, name: str, jobs: Jobs) -> None:
        self.name = name
        self.counts = dict(NONE)
        self.buried: dict[int, None] = {}  # in the order they were buried
        self.settings = UNSET
        self.used_bytes = 0  # of its jobs' data and texts
        self.needs: dict[Needs, int] = {}  # how many jobs have which; those without are not counted
        self.total_put = 0
        self.total_succeeded = 0
        self.total_cancelled = 0
        self.total_failed = 0  # attempts
        self.total_buried = 0
        self.urgent = 0  # ready ones that beanstalkd would call so
        self.pauses = 0
        self.pause_ms = 0
        self.paused_until = 0  # cluster time
        self.ready = ReadyLines(jobs)
        self._jobs = jobs  # all jobs of the queue, by id
        self._delayed: list[tuple[int, int]] = []  # (due_ms, id)

    @property
    def is_idle(self) -> bool:
        """Whether it has neither jobs nor settings, so that it may be forgotten."""
        return self.counts == NONE and self.settings == UNSET

    @property
    def job_count(self) -> int:
        """How many jobs are not finished."""
        return sum(self.counts.values())

    def add_delayed(self, job: JobRecord) -> None:
        heappush(self._delayed, (job.due_ms, job.id))
        if len(self._delayed) > 2 * self.counts[DELAYED] + SLACK:
            self._delayed = sorted({entry for entry in self._delayed if self._is_delayed(entry)})

    def first_delayed(self) -> tuple[int, int] | None:
        """(due_ms, id) of the job that becomes ready next."""
        while self._delayed and not self._is_delayed(self._delayed[0]):
            heappop(self._delayed)
        return self._delayed[0] if self._delayed else None

    def take_delayed(self) -> None:
        """Remove what `first_delayed` answered; a job that came back at the same time stands there twice."""
        first = heappop(self._delayed)
        while self._delayed and self._delayed[0] == first:
            heappop(self._delayed)

    def take_later(self, now: int, most: int) -> list[int]:
        """Ids of delayed jobs that are not due, the earliest first; they are not delayed any more."""
        first = self.first_delayed()
        if first is not None and first[0] <= now:  # more are due than one command wakes: look behind them
            later = {entry for entry in self._delayed if entry[0] > now and self._is_delayed(entry)}
            return [job_id for _, job_id in nsmallest(most, later)]
        taken: list[int] = []
        while len(taken) < most and (first := self.first_delayed()) is not None:
            self.take_delayed()
            taken.append(first[1])
        return taken

    def due(self, now: int) -> list[JobRecord]:
        """Delayed jobs that are due, though no command has made them ready yet.

        Below an entry of the heap, at twice its place plus 1 and 2, stand none that are earlier.
        """
        heap, size = self._delayed, len(self._delayed)
        found: dict[int, JobRecord] = {}
        places = [0]
        while places:  # layer by layer, as there may be many
            places = [place for place in places if place < size and heap[place][0] <= now]
            for due_ms, job_id in map(heap.__getitem__, places):
                job = self._jobs.get(job_id)
                if job is not None and job.state == DELAYED and job.due_ms == due_ms:
                    found[job_id] = job
            places = [below for place in places for below in (2 * place + 1, 2 * place + 2)]
        return list(found.values())

    def next_of(self, state: str, now: int) -> JobRecord | None:
        """The job that would be reserved, become ready, or be kicked first."""
        if state == READY:
            return most_urgent((*self.ready.heads(None), *self.due(now)))
        if state == DELAYED:
            later = self._first_after(now)
            return self._jobs[later[1]] if later is not None else None
        first_buried = next(iter(self.buried), None)
        return self._jobs[first_buried] if first_buried is not None else None

    def digest_row(self) -> tuple[object, ...]:
        """Everything beside the jobs that must be equal on all replicas."""
        totals = (
            self.total_put,
            self.total_succeeded,
            self.total_cancelled,
            self.total_failed,
            self.total_buried,
        )
        pause = (self.pauses, self.pause_ms, self.paused_until)
        needs = sorted(self.needs.items())
        return self.name, totals, pause, self.settings, self.used_bytes, needs, list(self.buried)

    def stats(self, now: int) -> TopicStats:
        due = self.due(now)
        first = most_urgent(self.ready.heads(None))
        is_paused = self.paused_until > now
        return TopicStats(
            ready=self.counts[READY] + len(due),
            delayed=self.counts[DELAYED] - len(due),
            leased=self.counts[LEASED],
            buried=self.counts[BURIED],
            total_put=self.total_put,
            total_succeeded=self.total_succeeded,
            oldest_ready_ms=max(0, now - first.created_ms) if first else 0,
            urgent=self.urgent + sum(1 for job in due if job.priority < URGENT_BELOW),
            total_cancelled=self.total_cancelled,
            pauses=self.pauses,
            pause_ms=self.pause_ms if is_paused else 0,
            pause_left_ms=self.paused_until - now if is_paused else 0,
            total_failed=self.total_failed,
            total_buried=self.total_buried,
            used_bytes=self.used_bytes,
            max_jobs=self.settings.max_jobs,
            max_bytes=self.settings.max_bytes,
            ageing_ms=self.settings.ageing_ms,
            is_draining=self.settings.is_draining,
        )

    def _first_after(self, now: int) -> tuple[int, int] | None:
        """(due_ms, id) of the first delayed job that is not due. Nothing later than it is looked at."""
        first: tuple[int, int] | None = None
        places = [0]
        while places:
            place = places.pop()
            if place >= len(self._delayed) or (first is not None and self._delayed[place] >= first):
                continue
            entry = self._delayed[place]
            if entry[0] > now and self._is_delayed(entry):
                first = entry
            else:
                places += (2 * place + 1, 2 * place + 2)
        return first

    def _is_delayed(self, entry: tuple[int, int]) -> bool:
        job = self._jobs.get(entry[1])
        return job is not None and job.state == DELAYED and job.due_ms == entry[0]
