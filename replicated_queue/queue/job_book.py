"""All jobs of a queue and where each stands: the moves between states, with all that must move along."""

from hashlib import blake2b

from replicated_queue.errors import QueueFull
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
)
from replicated_queue.queue.limits import QueueLimits
from replicated_queue.queue.topic import Topic
from replicated_queue.queue.watcher import QueueWatcher


class JobBook:
    """Keeps counts, heaps, bounds and dedupe keys true to the states of the jobs. Checks no permission."""

    def __init__(self, limits: QueueLimits) -> None:
        self.limits = limits
        self.jobs: dict[int, JobRecord] = {}  # by id, so by age
        self.topics: dict[str, Topic] = {}  # those that have jobs
        self.idle_topics: dict[str, Topic] = {}  # the last that had jobs or were paused; longest idle first
        self.finished = FinishedJobs(max_jobs=limits.max_finished, max_bytes=limits.max_finished_bytes)
        self.keys = DedupeKeys(self.jobs, self.finished, window_ms=limits.dedupe_window_ms)
        self.buried: dict[int, None] = {}  # of all topics, oldest first
        self.used_bytes = 0
        self.dropped_buried = 0
        self.expired = 0
        self.now = 0  # cluster time of the command that runs
        self.watcher: QueueWatcher | None = None

    def add(self, job: JobRecord, *, delay_ms: int) -> None:
        """A job that was put."""
        topic = self.topics.get(job.topic)
        if topic is None:
            topic = self.idle_topics.pop(job.topic, None) or Topic(job.topic, self.jobs)
            self.topics[job.topic] = topic
        self.jobs[job.id] = job
        self.used_bytes += job.size_bytes
        topic.total_put += 1
        self.keys.remember(job)
        job.delay_ms = delay_ms
        self.make_available(job, "put", delay_ms=delay_ms)

    def topic(self, name: str) -> Topic:
        """The topic; one without jobs is remembered from now on."""
        topic = self.topics.get(name)
        if topic is None:
            topic = self.idle_topics.pop(name, None) or Topic(name, self.jobs)
            self.keep_idle(topic)
        return topic

    def digest(self, last_id: int) -> bytes:
        """Hash of everything; equal on all replicas at one applied index."""
        digest = blake2b(digest_size=16)
        head = (self.now, last_id, self.used_bytes, self.dropped_buried, self.expired, tuple(self.buried))
        # ascii(), unlike repr(), does not depend on the Unicode tables of the interpreter.
        digest.update(ascii(head).encode())
        for job_id in sorted(self.jobs):
            digest.update(ascii(self.jobs[job_id].row()).encode())
        for finished in self.finished.all():
            digest.update(ascii(finished).encode())
        for name in sorted(self.topics):
            digest.update(ascii(self.topics[name].digest_row()).encode())
        for topic in self.idle_topics.values():  # their order counts: the first is forgotten first
            digest.update(ascii(topic.digest_row()).encode())
        digest.update(ascii(self.keys.rows()).encode())
        return digest.digest()

    def check_room(self, puts: list[Put]) -> None:
        limits = self.limits
        # The platform's own jobs have room left when the queue is full of others'.
        share = 1.0 if all(put.platform for put in puts) else 1.0 - limits.platform_share
        if len(self.jobs) + len(puts) > limits.max_jobs * share:
            raise QueueFull(what=f"{len(self.jobs)} jobs")
        more_bytes = sum(len(put.data) + len(put.dedupe_key or "") for put in puts)
        if self.used_bytes + more_bytes > limits.max_bytes * share:
            raise QueueFull(what=f"{self.used_bytes} bytes of job data")

    def wake_due(self, topic: Topic) -> None:
        while (first := topic.first_delayed()) is not None and first[0] <= self.now:
            topic.take_delayed()
            self.make_available(self.jobs[first[1]], "due", delay_ms=0)

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
            topic.add_ready(job)
            if self.watcher is not None:
                self.watcher.job_ready(job.topic)

    def set_aside(self, job: JobRecord, event: str) -> None:
        job.buries += 1
        self.enter(job, event, BURIED)
        self.topics[job.topic].buried[job.id] = None
        self.buried[job.id] = None
        if len(self.buried) > self.limits.max_buried:
            self.dropped_buried += 1
            self.finish(self.jobs[next(iter(self.buried))], "drop", CANCELLED, result=b"")

    def finish(self, job: JobRecord, event: str, state: str, *, result: bytes) -> None:
        self.enter(job, event, state)
        topic = self.topics[job.topic]
        del self.jobs[job.id]
        self.used_bytes -= job.size_bytes
        if event == "cancel":
            topic.total_cancelled += 1
        if topic.is_empty:
            del self.topics[job.topic]
            self.keep_idle(topic)
        done = FinishedJob(
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
        if state == CANCELLED:
            self.keys.forget(done)  # a job that was called off may be put again
        for forgotten in self.finished.add(done):
            self.keys.forget(forgotten)

    def note(self, job: JobRecord, reason: str) -> None:
        job.reasons = (*job.reasons, reason)[-MAX_REASONS:]

    def enter(self, job: JobRecord, event: str, state: str) -> None:
        assert (job.state, event, state) in TRANSITIONS, (job.id, job.state, event, state)
        topic = self.topics[job.topic]
        counts = topic.counts
        before = job.state
        if job.priority < URGENT_BELOW:
            topic.urgent += (state == READY) - (before == READY)
        if before in counts:
            counts[before] -= 1
        if state in counts:
            counts[state] += 1
        job.state = state
        if before == BURIED:
            del self.buried[job.id], topic.buried[job.id]
        elif before == LEASED:
            job.token = 0
            job.granted_ms = 0
            if self.watcher is not None:
                self.watcher.lease_ended(job.id)

    def keep_idle(self, topic: Topic) -> None:
        self.idle_topics[topic.name] = topic
        if len(self.idle_topics) > self.limits.max_idle_topics:
            del self.idle_topics[next(iter(self.idle_topics))]
