"""The queue as rows of a snapshot, and built again from them.

All slots of a record are carried by name, whatever they are: a field that is added tomorrow needs no line
here. What follows from the jobs (counts, heaps) is not carried; a new table refuses to be forgotten.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from replicated_queue.errors import UnknownVersion
from replicated_queue.parts import Row, numbers_of, set_numbers
from replicated_queue.queue.finished_jobs import FinishedJob
from replicated_queue.queue.job import BURIED, DELAYED, READY, URGENT_BELOW, JobRecord
from replicated_queue.queue.job_book import JobBook
from replicated_queue.queue.topic import Topic
from replicated_queue.queue.touched import Touched

JOBS_A_STEP = 250
FEW = 500  # jobs and topics that are told at the very moment of the snapshot
MOST_ROUNDS = 8  # of telling again what changed, until only few are left
JOB_FIELDS = tuple(JobRecord.__slots__)
NEW_JOB = JobRecord(0, "", b"", 0, 0, 0, None, 0)
FINISHED_FIELDS = FinishedJob._fields
# What of a topic follows from its jobs, or is carried as a row of its own.
DERIVED = {"_delayed", "_jobs", "buried", "counts", "needs", "ready", "urgent", "used_bytes"}
TOPIC_FIELDS = tuple(name for name in Topic.__slots__ if name not in DERIVED)
# The tables of the book; each has rows below. Numbers are carried unasked.
TABLES = {"jobs", "topics", "idle_topics", "finished", "keys", "buried"}
NOT_CARRIED = {"limits", "bounds", "watcher", "touched"}


def early_rows(book: JobBook) -> Iterator[Row]:
    """Jobs and topics. What changes meanwhile is noted in the book and told again, the last by `late_rows`.

    Topics without jobs are not among them: there are few, and their order counts.
    """
    touched = book.touched = Touched()
    try:
        yield ["job fields", JOB_FIELDS]
        yield from _told_rows(book, list(book.jobs), list(book.topics), touched)
        for _ in range(MOST_ROUNDS):
            if len(touched) <= FEW:
                break
            again, touched = touched, Touched()
            book.touched = touched
            yield from _told_rows(book, sorted(again.jobs), sorted(again.topics), touched)
    except GeneratorExit:  # nobody wants the rest
        book.touched = None
        raise


def _told_rows(book: JobBook, ids: Iterable[int], names: Iterable[str], touched: Touched) -> Iterator[Row]:
    """Those as they are when they are taken, but for what will be told again."""
    for job_id in ids:
        if job_id not in touched.jobs:
            yield _job_row(book, job_id)
    for name in names:
        if name not in touched.topics:
            yield _named_topic_row(book, name)


def _job_row(book: JobBook, job_id: int) -> Row:
    job = book.jobs.look(job_id)
    return ["job", *job.row()] if job is not None else ["gone", job_id]


def _named_topic_row(book: JobBook, name: str) -> Row:
    topic = book.topics.get(name)
    return _topic_row("topic", topic) if topic is not None else ["topic gone", name]


def late_rows(book: JobBook, queue_numbers: dict[str, int]) -> Iterator[Row]:
    """Everything else as it is now, and what was touched since."""
    touched, book.touched = book.touched or Touched(), None
    unknown = {name for name, value in vars(book).items() if type(value) is not int} - TABLES - NOT_CARRIED
    assert not unknown, f"say in {__name__} how {unknown} is carried"
    now: list[Row] = [["numbers", numbers_of(book)], ["queue numbers", queue_numbers]]
    now += [_named_topic_row(book, name) for name in sorted(touched.topics)]
    now += [_topic_row("idle topic", topic) for topic in book.idle_topics.values()]
    now += [["buried", list(book.buried)]]
    now += [_job_row(book, job_id) for job_id in sorted(touched.jobs)]
    finished, keys = book.finished.all(), book.keys.copy()

    def lazily() -> Iterator[Row]:
        yield from now
        yield ["finished fields", FINISHED_FIELDS]
        for done in finished:
            yield ["finished", *(getattr(done, name) for name in FINISHED_FIELDS)]
        for (topic, key), job_id in keys.items():
            yield ["key", topic, key, job_id]

    return lazily()


def _topic_row(kind: str, topic: Topic) -> Row:
    plain = {name: _plain(getattr(topic, name)) for name in TOPIC_FIELDS}
    return [kind, plain, list(topic.buried)]


def _plain(value: Any) -> Any:
    if type(value) in (int, str) or not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _like(default: Any, plain: Any) -> Any:
    """What `_plain` made plain; a record gets its defaults where the other program had no such field."""
    if not dataclasses.is_dataclass(default):
        return plain
    names = {field.name for field in dataclasses.fields(default)}
    kind: Any = type(default)
    return kind(**{name: value for name, value in plain.items() if name in names})


class QueueRebuild:
    """`Rebuild` of a `PriorityQueue`, which becomes `book` with the numbers of its own."""

    def __init__(self, book: JobBook, become: Callable[[JobBook, dict[str, int]], None]) -> None:
        self._become = become
        self._book = book  # new and empty
        self._numbers: dict[str, int] = {}
        self._queue_numbers: dict[str, int] = {}
        self._jobs: dict[int, JobRecord] = {}
        self._finished_fields: list[str] = []
        self._job_places: list[tuple[int, str]] = []  # where in a row which field stands
        self._job_defaults: list[tuple[str, Any]] = []

    def take(self, row: Row) -> None:
        """See `Rebuild`."""
        kind, *values = row
        match kind:
            case "job":
                job = self._job(values)
                self._jobs[job.id] = job
            case "gone":
                self._jobs.pop(values[0], None)
            case "finished":
                named = dict(zip(self._finished_fields, values, strict=True))
                known = {name: _tuples(named[name]) for name in FINISHED_FIELDS if name in named}
                self._book.finished.add(FinishedJob(**known))
            case "job fields":
                self._learn_fields(values[0])
            case "finished fields":
                self._finished_fields = values[0]
            case "topic":
                self._topic(self._book.topics, *values)
            case "topic gone":
                self._book.topics.pop(values[0], None)
            case "idle topic":
                self._topic(self._book.idle_topics, *values)
            case "key":
                self._book.keys.put(*values)
            case "buried":
                self._book.buried.update(dict.fromkeys(values[0]))
            case "numbers":
                self._numbers = values[0]
            case "queue numbers":
                self._queue_numbers = values[0]
            case _:
                raise UnknownVersion(kind)

    def link(self) -> Iterator[None]:
        """See `Rebuild`: put the jobs into their topics, by age."""
        for place, job_id in enumerate(sorted(self._jobs)):
            self._link_one(self._jobs[job_id])
            if place % JOBS_A_STEP == 0:
                yield
        set_numbers(self._book, self._numbers)

    def become(self) -> None:
        """See `Rebuild`."""
        self._become(self._book, self._queue_numbers)

    def _learn_fields(self, names: list[str]) -> None:
        """What a row of a job has; fields of a newer program are skipped, new ones here get their default."""
        self._job_places = [(place, name) for place, name in enumerate(names) if name in JOB_FIELDS]
        missing = [name for name in JOB_FIELDS if name not in names]
        self._job_defaults = [(name, getattr(NEW_JOB, name)) for name in missing]

    def _job(self, values: list[Any]) -> JobRecord:
        job = JobRecord.__new__(JobRecord)
        for name, default in self._job_defaults:
            setattr(job, name, default)
        for place, name in self._job_places:
            value = values[place]
            setattr(job, name, tuple(value) if type(value) is list else value)
        return job

    def _topic(self, topics: dict[str, Topic], plain: dict[str, Any], buried: Iterable[int]) -> None:
        topic = topics[plain["name"]] = Topic(plain["name"], self._book.jobs)
        topic.buried.update(dict.fromkeys(buried))
        for name in TOPIC_FIELDS:
            default = getattr(topic, name)
            value = plain.get(name, default)
            if (
                dataclasses.is_dataclass(default)
                and not isinstance(default, type)
                and isinstance(value, dict)
            ):
                known = {field.name for field in dataclasses.fields(default)}
                value = type(default)(**{key: item for key, item in value.items() if key in known})
            setattr(topic, name, value)

    def _link_one(self, job: JobRecord) -> None:
        topic = self._book.topics[job.topic]
        job.topic = topic.name  # one text for all its jobs
        self._book.jobs.keep(job)
        topic.counts[job.state] += 1
        topic.used_bytes += job.size_bytes
        if job.needs:
            topic.needs[job.needs] = topic.needs.get(job.needs, 0) + 1
        if job.state == READY:
            topic.ready.entered(job.id, job.rank, needs=job.needs, ages=job.ageing_ms > 0)
            topic.urgent += job.priority < URGENT_BELOW
        elif job.state == DELAYED:
            topic.add_delayed(job)
        elif job.state == BURIED:
            assert job.id in topic.buried and job.id in self._book.buried, job.id


def _tuples(value: Any) -> Any:
    return tuple(value) if type(value) is list else value
