"""The ready jobs of one topic, by turn, in a heap for each set of needs.

Jobs with different needs stand in different heaps, so that an urgent job is never hidden behind one that the
asking worker cannot do. Jobs that age stand apart too, for their turn is counted in time.
"""

from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import chain

from replicated_queue.queue.job import JobRecord
from replicated_queue.queue.jobs import Jobs

Needs = tuple[str, ...]
NOTHING: frozenset[str] = frozenset()  # what a worker has that names no ability
ID_BITS = 48  # enough for a million puts a second over nine years; a place of small rank is a small number
ID_MASK = (1 << ID_BITS) - 1
SLACK = 64  # stale entries that are always allowed, so that small heaps are never rebuilt


class ReadyLines:
    """Heaps of places: a job's rank, and behind it in the same number its id.

    Who leaves a heap other than by its top is not looked for: the entry stays and is skipped when it comes
    up, for it no longer says what the job says. A heap of more than half such entries is rebuilt.
    """

    __slots__ = ("_counts", "_jobs", "_lines")

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs  # all jobs of the queue, by id
        self._lines: dict[tuple[Needs, bool], list[int]] = {}  # (needs, whether they age)
        self._counts: dict[tuple[Needs, bool], int] = {}  # ready ones

    def __len__(self) -> int:
        """Entries, stale ones included."""
        return sum(map(len, self._lines.values()))

    def entered(self, job_id: int, rank: int, *, needs: Needs = (), ages: bool) -> None:
        """The job became ready."""
        key = (needs, ages)
        count = self._counts[key] = self._counts.get(key, 0) + 1
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = []
        heappush(line, rank << ID_BITS | job_id)
        if len(line) > 2 * count + SLACK:
            self._lines[key] = sorted({place for place in line if self._is_ready(place)})  # sorted: a heap

    def left(self, job: JobRecord) -> None:
        """The job is no longer ready."""
        key = (job.needs, job.ageing_ms > 0)
        self._counts[key] -= 1
        if not self._counts[key]:
            del self._counts[key], self._lines[key]

    def count(self, has: frozenset[str]) -> int:
        """How many of them a worker with these abilities may get."""
        return sum(count for (needs, _), count in self._counts.items() if has.issuperset(needs))

    def first(self, has: frozenset[str]) -> JobRecord | None:
        """The job that such a worker gets next."""
        if len(self._lines) != 1:
            return most_urgent(self.heads(has))
        ((needs, _),) = self._lines
        if needs and not has.issuperset(needs):
            return None
        (line,) = self._lines.values()
        jobs = self._jobs
        while True:
            place = line[0]
            job_id = place & ID_MASK
            if jobs.is_ready(job_id, place >> ID_BITS):
                return jobs[job_id]
            heappop(line)

    def heads(self, has: frozenset[str] | None) -> Iterator[JobRecord]:
        """The first job of each heap that such a worker may get; None: of every heap."""
        for (needs, _), line in self._lines.items():
            if has is not None and not has.issuperset(needs):
                continue
            while not self._is_ready(line[0]):  # a heap whose last ready job left is gone
                heappop(line)
            yield self._jobs[line[0] & ID_MASK]

    def _is_ready(self, place: int) -> bool:
        return self._jobs.is_ready(place & ID_MASK, place >> ID_BITS)


def next_of(lines: Sequence[ReadyLines], has: frozenset[str]) -> JobRecord | None:
    """The job of several topics that such a worker gets next."""
    if len(lines) == 1:
        return lines[0].first(has)
    return most_urgent(chain.from_iterable(topic.heads(has) for topic in lines))


def most_urgent(jobs: Iterable[JobRecord]) -> JobRecord | None:
    """The one whose turn it is: by priority, then by age.

    A job that ages has its place in time, `created + priority × step`, and so have others beside it. Hence
    no stream of urgent jobs holds it up for longer than `priority × step`.
    """
    plain: JobRecord | None = None
    aged: JobRecord | None = None
    for job in jobs:
        if job.ageing_ms:
            if aged is None or (job.rank, job.id) < (aged.rank, aged.id):
                aged = job
        elif plain is None or (job.priority, job.id) < (plain.priority, plain.id):
            plain = job
    if aged is None or plain is None:
        return plain or aged
    place = (plain.created_ms + plain.priority * aged.ageing_ms, plain.id)
    return plain if place < (aged.rank, aged.id) else aged
