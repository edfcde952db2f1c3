"""All jobs of a queue and where each stands: the moves between states, with all that must move along."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from hashlib import blake2b

from replicated_queue.errors import QueueFull, TopicDraining
from replicated_queue.queue.commands import Put
from replicated_queue.queue.dedupe_keys import DedupeKeys
from replicated_queue.queue.finished_jobs import FinishedJob, FinishedJobs
from replicated_queue.queue.job import (
    BURIED,
    CANCELLED,
    DELAYED,
    LEASED,
    MAX_REASONS,
    READY,
    TRANSITIONS,
    URGENT_BELOW,
    JobRecord,
    rank_of,
    text_bytes,
)
from replicated_queue.queue.jobs import Jobs
from replicated_queue.queue.limits import MAX_DIFFERENT_NEEDS, QueueLimits
from replicated_queue.queue.topic import UNSET, Topic
from replicated_queue.queue.topic_settings import TopicSettings
from replicated_queue.queue.touched import Touched
from replicated_queue.queue.watcher import QueueWatcher

HASHED_A_STEP = 100
WOKEN_AT_ONCE = 1_000  # by one command, so that no command is long; a reserve finds the others the next time


class JobBook:
    """Keeps counts, heaps, bounds and dedupe keys true to the states of the jobs. Checks no permission."""

    def __init__(self, limits: QueueLimits) -> None:
        self.limits = limits
        self.jobs = Jobs()
        self.topics: dict[str, Topic] = {}  # those that have jobs or settings
        self.idle_topics: dict[str, Topic] = {}  # the last that had jobs or were paused; longest idle first
        self.finished = FinishedJobs(max_jobs=limits.max_finished, max_bytes=limits.max_finished_bytes)
        self.keys = DedupeKeys(self.jobs, self.finished, window_ms=limits.dedupe_window_ms)
        self.buried: dict[int, None] = {}  # of all topics, oldest first
        self.used_bytes = 0
        self.set_topics = 0  # how many have settings of their own
        self.dropped_buried = 0
        self.expired = 0
        self.now = 0  # cluster time of the command that runs
        self.watcher: QueueWatcher | None = None
        self.touched: Touched | None = None  # while a snapshot is taken (`carried.py`)
        # Most jobs, bytes and topics, by whether a job is the platform's: its own have room left when all is
        # full of others'.
        share = 1.0 - limits.platform_share
        self.bounds = {
            True: (limits.max_jobs, limits.max_bytes, limits.max_topics),
            False: (limits.max_jobs * share, limits.max_bytes * share, limits.max_topics * share),
        }

    def put(self, job_id: int, put: Put) -> None:
        """A new job."""
        topic = self.open_topic(put.topic)
        ageing_ms = topic.settings.ageing_ms if put.ages else 0
        if put.delay_ms or put.dedupe_key is not None or put.needs:
            self._put_special(job_id, topic, put, ageing_ms)
        else:
            self._put_plain(job_id, topic, put, ageing_ms)
        topic.total_put += 1

    def _put_plain(self, job_id: int, topic: Topic, put: Put, ageing_ms: int) -> None:
        """Without delay, key and needs: nearly all are so."""
        name, priority, created_ms = topic.name, put.priority, self.now  # one text for all jobs of the topic
        wishes = (put.lease_ms, put.max_attempts, put.backoff_ms, ageing_ms)
        self.jobs.keep_waiting(job_id, name, put.data, priority, created_ms, wishes)
        size_bytes = len(put.data)
        self.used_bytes += size_bytes
        topic.used_bytes += size_bytes
        topic.counts[READY] += 1
        topic.urgent += priority < URGENT_BELOW
        topic.ready.entered(job_id, rank_of(priority, created_ms, ageing_ms), ages=ageing_ms > 0)
        if self.touched is not None:
            self.touched.jobs.add(job_id)
            self.touched.topics.add(name)
        if self.watcher is not None:
            self.watcher.job_ready(name)

    def _put_special(self, job_id: int, topic: Topic, put: Put, ageing_ms: int) -> None:
        job = JobRecord(
            job_id,
            topic.name,
            put.data,
            put.priority,
            put.lease_ms,
            put.max_attempts,
            put.dedupe_key,
            self.now,
            put.backoff_ms,
            put.needs and put.needs_in_order,
            ageing_ms,
        )
        self.jobs.keep(job)
        self.used_bytes += job.size_bytes
        topic.used_bytes += job.size_bytes
        if job.needs:
            topic.needs[job.needs] = topic.needs.get(job.needs, 0) + 1
        if job.dedupe_key is not None:
            self.keys.remember(job)
        job.delay_ms = put.delay_ms
        self.make_available(job, "put", delay_ms=put.delay_ms)

    def check_room_of_one(self, put: Put) -> None:
        """As `check_room`, of one put without a key: nearly all are so."""
        most_jobs, most_bytes, _ = self.bounds[put.platform]
        topic = self.topics.get(put.topic)
        if (
            len(self.jobs) + 1 > most_jobs
            or self.used_bytes + len(put.data) > most_bytes
            or put.needs
            or topic is None
            or topic.settings is not UNSET
        ):
            self.check_room((put,))

    def open_topic(self, name: str) -> Topic:
        """The topic, which has jobs or settings from now on."""
        topic = self.topics.get(name)
        if topic is None:
            topic = self.idle_topics.pop(name, None) or Topic(name, self.jobs)
            self.topics[name] = topic
        if self.touched is not None:
            self.touched.topics.add(name)
        return topic

    def topic(self, name: str) -> Topic:
        """The topic; one without jobs is remembered from now on."""
        topic = self.open_topic(name)
        self.close_if_idle(topic)
        return topic

    def digest_steps(self, last_id: int) -> Generator[None, None, bytes]:
        """Hash of everything, in steps of some rows; equal on all replicas at one applied index."""
        digest = blake2b(digest_size=16)
        for place, row in enumerate(self._digest_rows(last_id)):
            # ascii(), unlike repr(), does not depend on the Unicode tables of the interpreter.
            digest.update(ascii(row).encode())
            if place % HASHED_A_STEP == 0:
                yield
        return digest.digest()

    def _digest_rows(self, last_id: int) -> Iterator[object]:
        yield self.now, last_id, self.used_bytes, self.dropped_buried, self.expired, tuple(self.buried)
        yield len(self.keys)
        for job_id in sorted(self.jobs):
            job = self.jobs.look(job_id)
            assert job is not None
            yield job.row(), self.keys.holds(job)
        for finished in self.finished.all():
            yield finished, self.keys.holds(finished)
        for name in sorted(self.topics):
            yield self.topics[name].digest_row()
        for topic in self.idle_topics.values():  # their order counts: the first is forgotten first
            yield topic.digest_row()

    def settings_of(self, topic: str) -> TopicSettings:
        """Those of a topic that exists, else those of any other."""
        known = self.topics.get(topic)
        return known.settings if known is not None else UNSET

    def change_settings(self, name: str, settings: TopicSettings) -> None:
        """Raises `QueueFull` if too many topics have settings of their own."""
        if settings != UNSET and self.settings_of(name) == UNSET:
            if self.set_topics >= self.limits.max_set_topics:
                raise QueueFull(what=f"{self.set_topics} topics with settings of their own")
            self.set_topics += 1
        elif settings == UNSET and self.settings_of(name) != UNSET:
            self.set_topics -= 1
        topic = self.open_topic(name)
        topic.settings = settings
        self.close_if_idle(topic)

    def check_room(self, puts: Sequence[Put]) -> None:
        """Refuse jobs for which the queue or their topic has no room, or takes none."""
        most_jobs, most_bytes, most_topics = self.bounds[all(put.platform for put in puts)]
        if len(self.jobs) + len(puts) > most_jobs:
            raise QueueFull(what=f"{len(self.jobs)} jobs")
        if self.used_bytes + sum(map(put_bytes, puts)) > most_bytes:
            raise QueueFull(what=f"{self.used_bytes} bytes of job data")
        new_topics = {put.topic for put in puts if put.topic not in self.topics}
        if new_topics and len(self.topics) + len(new_topics) > most_topics:
            raise QueueFull(what=f"{len(self.topics)} topics with jobs")
        if len(puts) == 1:
            self._check_topic_room(puts[0].topic, puts)
            return
        by_topic: dict[str, list[Put]] = {}
        for put in puts:
            by_topic.setdefault(put.topic, []).append(put)
        for name, wanted in by_topic.items():
            self._check_topic_room(name, wanted)

    def _check_topic_room(self, name: str, puts: Sequence[Put]) -> None:
        topic = self.topics.get(name)
        if topic is not None and topic.settings != UNSET:
            settings, count = topic.settings, topic.job_count
            if settings.is_draining:
                raise TopicDraining(topic=name)
            if settings.max_jobs and count + len(puts) > settings.max_jobs:
                raise QueueFull(what=f"{count} of {settings.max_jobs} jobs in topic {name!r}")
            if settings.max_bytes and topic.used_bytes + sum(map(put_bytes, puts)) > settings.max_bytes:
                raise QueueFull(what=f"{topic.used_bytes} of {settings.max_bytes} bytes in topic {name!r}")
        needs = {put.needs_in_order for put in puts if put.needs}
        if needs and len(needs.union(topic.needs if topic is not None else ())) > MAX_DIFFERENT_NEEDS:
            raise QueueFull(what=f"jobs of {MAX_DIFFERENT_NEEDS} different needs in topic {name!r}")

    def wake_due(self, topics: Iterable[Topic]) -> None:
        """Make delayed jobs ready that are due, the earliest first; some of them, if there are many."""
        most = WOKEN_AT_ONCE
        for topic in topics:
            while most > 0 and (first := topic.first_delayed()) is not None and first[0] <= self.now:
                topic.take_delayed()
                self.make_available(self.jobs[first[1]], "due", delay_ms=0)
                most -= 1

    def make_available(self, job: JobRecord, event: str, *, delay_ms: int) -> None:
        """Ready, or ready after a delay."""
        topic = self.topics[job.topic]
        if delay_ms > 0:
            job.due_ms = self.now + delay_ms
            self.enter(job, event, DELAYED)
            topic.add_delayed(job)
            if self.watcher is not None:
                self.watcher.job_delayed(job.topic)
        else:
            job.due_ms = 0
            self.enter(job, event, READY)
            if self.watcher is not None:
                self.watcher.job_ready(job.topic)

    def set_aside(self, job: JobRecord, event: str, *, token: int) -> None:
        """Bury the job; `token` of the worker that asked for it, 0 if nobody did."""
        topic = self.topics[job.topic]
        job.buries += 1
        topic.total_buried += 1
        self.enter(job, event, BURIED)
        job.buried_token = token
        job.due_ms = self.now + self.limits.max_buried_ms
        topic.buried[job.id] = None
        self.buried[job.id] = None
        if len(self.buried) > self.limits.max_buried:
            self._drop(next(iter(self.buried)))

    def drop_old_buried(self) -> None:
        """Those that nobody has looked after for too long."""
        while self.buried and self.jobs[oldest := next(iter(self.buried))].due_ms <= self.now:
            self._drop(oldest)

    def _drop(self, job_id: int) -> None:
        self.dropped_buried += 1
        self.finish(self.jobs[job_id], "drop", CANCELLED, result=b"")

    def finish(self, job: JobRecord, event: str, state: str, *, result: bytes) -> None:
        self.enter(job, event, state)
        topic = self.topics[job.topic]
        del self.jobs[job.id]
        self.used_bytes -= job.size_bytes
        topic.used_bytes -= job.size_bytes
        if job.needs:
            topic.needs[job.needs] -= 1
            if not topic.needs[job.needs]:
                del topic.needs[job.needs]
        if event == "cancel":
            topic.total_cancelled += 1
        self.close_if_idle(topic)
        done = FinishedJob._make(
            (
                job.id,
                job.topic,
                state,
                job.priority,
                job.attempts,
                job.worker,
                job.dedupe_key,
                job.created_ms,
                self.now,
                result,
            )
        )
        if state == CANCELLED:
            self.keys.forget(done)  # a job that was called off may be put again
        for forgotten in self.finished.add(done):
            self.keys.forget(forgotten)

    def note(self, job: JobRecord, reason: str) -> None:
        """Why an attempt failed; the newest reasons are kept."""
        before = sum(map(text_bytes, job.reasons))
        job.reasons = (*job.reasons, reason)[-MAX_REASONS:]
        self._grow(job, sum(map(text_bytes, job.reasons)) - before)

    def name_worker(self, job: JobRecord, worker: str) -> None:
        """Who holds the job now."""
        if worker != job.worker:
            more_bytes = text_bytes(worker) - text_bytes(job.worker)
            job.worker = worker
            self._grow(job, more_bytes)

    def _grow(self, job: JobRecord, more_bytes: int) -> None:
        job.size_bytes += more_bytes
        self.used_bytes += more_bytes
        self.topics[job.topic].used_bytes += more_bytes

    def enter(self, job: JobRecord, event: str, state: str) -> None:
        assert (job.state, event, state) in TRANSITIONS, (job.id, job.state, event, state)
        if self.touched is not None:
            self.touched.jobs.add(job.id)
            self.touched.topics.add(job.topic)
        topic = self.topics[job.topic]
        counts = topic.counts
        before = job.state
        job.state = state
        if before in counts:
            counts[before] -= 1
            if before == READY:
                topic.urgent -= job.priority < URGENT_BELOW
                topic.ready.left(job)
            elif before == LEASED:
                job.token = 0
                job.granted_ms = 0
                if self.watcher is not None:
                    self.watcher.lease_ended(job.id)
            elif before == BURIED:
                del self.buried[job.id], topic.buried[job.id]
                job.buried_token = 0
        if state in counts:
            counts[state] += 1
            if state == READY:
                topic.urgent += job.priority < URGENT_BELOW
                topic.ready.entered(job.id, job.rank, needs=job.needs, ages=job.ageing_ms > 0)

    def close_if_idle(self, topic: Topic) -> None:
        """A topic without jobs and settings is among those whose counts may be forgotten."""
        if not topic.is_idle:
            return
        self.jobs.topic_ended(topic.name)
        del self.topics[topic.name]
        self.idle_topics[topic.name] = topic
        if len(self.idle_topics) > self.limits.max_idle_topics:
            del self.idle_topics[next(iter(self.idle_topics))]


def put_bytes(put: Put) -> int:
    """What the job of this put will count; see `JobRecord.weigh`."""
    return len(put.data) + text_bytes(put.dedupe_key or "") + sum(map(text_bytes, put.needs_in_order))
