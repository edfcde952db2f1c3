"""The queue as a state machine: jobs by priority and age, each held by one worker at a time."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import assert_never

from replicated_queue.errors import (
    AlreadyDone,
    Duplicate,
    JobNotFound,
    LeaseLost,
    QueueFull,
    Refusal,
    WrongState,
)
from replicated_queue.queue.commands import (
    Ack,
    Acked,
    AckMany,
    Bury,
    Cancel,
    Command,
    Created,
    Done,
    ExpireLease,
    Kick,
    Kicked,
    KickJob,
    Nack,
    Put,
    PutMany,
    Reserve,
    Reserved,
    Result,
)
from replicated_queue.queue.finished_jobs import FinishedJob, FinishedJobs
from replicated_queue.queue.job import (
    BURIED,
    CANCELLED,
    DELAYED,
    LEASED,
    MAX_REASONS,
    PLATFORM_PREFIX,
    READY,
    SUCCEEDED,
    TRANSITIONS,
    JobRecord,
)
from replicated_queue.queue.limits import QueueLimits, check_command
from replicated_queue.queue.topic import Topic
from replicated_queue.queue.watcher import QueueWatcher


class PriorityQueue:
    """All jobs that are not finished, and what is remembered of those that are."""

    def __init__(self, limits: QueueLimits = QueueLimits()) -> None:  # noqa: B008 (frozen)
        self.limits = limits
        self.jobs: dict[int, JobRecord] = {}  # by id, so by age
        self.topics: dict[str, Topic] = {}  # those that have jobs
        self.finished = FinishedJobs(max_jobs=limits.max_finished, max_bytes=limits.max_finished_bytes)
        self.used_bytes = 0
        self.dropped_buried = 0
        self._now = 0
        self._last_id = 0
        self._buried: dict[int, None] = {}  # of all topics, oldest first
        self._keys: dict[tuple[str, str], int] = {}  # (topic, dedupe key) → job
        self._watcher: QueueWatcher | None = None

    def watch(self, watcher: QueueWatcher) -> None:
        """Tell `watcher` from now on; it is no part of the state."""
        self._watcher = watcher

    def apply(self, command: Command, *, index: int, now: int) -> Result:
        """Run one committed command: the same entries give the same state and results on every replica.

        `index` is the entry's place in the log, `now` cluster time in milliseconds, stamped into the entry by
        the leader that proposed it. Raises `Refusal` when the command is refused; the state is then as
        before.
        """
        assert now >= self._now, "cluster time never runs backwards along the log"
        self._now = now
        check_command(command)
        match command:
            case Put():
                return Created((self._put_all((command,))[0],))
            case Reserve():
                return self._reserve(command, token=index)
            case Ack():
                return self._ack(command.job_id, command.token, command.platform, command.result)
            case AckMany():
                return self._ack_many(command)
            case PutMany():
                return Created(self._put_all(command.puts))
            case Nack():
                return self._nack(command)
            case ExpireLease():
                return self._expire(command)
            case Bury():
                return self._bury(command)
            case Kick():
                return self._kick(command)
            case KickJob():
                return self._kick_job(command)
            case Cancel():
                return self._cancel(command)
            case _:
                assert_never(command)

    def check_lease(self, job_id: int, token: int, *, platform: bool = True) -> JobRecord:
        """The job, if this lease still holds it. Raises `LeaseLost`, `AlreadyDone` or `JobNotFound`."""
        job = self._find(job_id, platform=platform)
        if job.state != LEASED or job.token != token:
            raise LeaseLost(job_id=job_id)
        return job

    def available(self, topic: str, *, now: int) -> int:
        """How many jobs a reserve stamped `now` would find at least: those that are due count as one."""
        line = self.topics.get(topic)
        if line is None:
            return 0
        delayed = line.first_delayed()
        return line.counts[READY] + (1 if delayed is not None and delayed[0] <= now else 0)

    def next_due(self, topic: str) -> int | None:
        """Cluster time at which the next delayed job of the topic becomes ready."""
        line = self.topics.get(topic)
        first = line.first_delayed() if line is not None else None
        return first[0] if first is not None else None

    def leases(self) -> Iterator[tuple[int, int, int]]:
        """(job id, token, granted milliseconds) of every job that is held."""
        return ((job.id, job.token, job.granted_ms) for job in self.jobs.values() if job.state == LEASED)

    def digest(self) -> bytes:
        """Hash of the whole state; equal on all replicas at one applied index."""
        digest = blake2b(digest_size=16)
        head = (self._now, self._last_id, self.used_bytes, self.dropped_buried, tuple(self._buried))
        # ascii(), unlike repr(), does not depend on the Unicode tables of the interpreter.
        digest.update(ascii(head).encode())
        for job_id in sorted(self.jobs):
            digest.update(ascii(self.jobs[job_id].row()).encode())
        for finished in self.finished.all():
            digest.update(ascii(finished).encode())
        for name in sorted(self.topics):
            topic = self.topics[name]
            digest.update(ascii((name, topic.total_put, topic.total_succeeded, list(topic.buried))).encode())
        digest.update(ascii(sorted(self._keys.items())).encode())
        return digest.digest()

    def _put_all(self, puts: tuple[Put, ...]) -> tuple[int, ...]:
        known = [self._known(put) for put in puts]
        self._check_room([put for put, job_id in zip(puts, known, strict=True) if job_id is None])
        # Looked up again: two puts of one entry may have the same key.
        return tuple(self._known(put) or self._put(put) for put in puts)

    def _known(self, put: Put) -> int | None:
        """The unfinished job of the same dedupe key. Raises `Duplicate` when that key was done lately."""
        if put.dedupe_key is None:
            return None
        job_id = self._keys.get((put.topic, put.dedupe_key))
        if job_id is None or job_id in self.jobs:
            return job_id
        done = self.finished.get(job_id)
        if done is not None and self._now - done.finished_ms < self.limits.dedupe_window_ms:
            raise Duplicate(job_id=job_id)
        return None

    def _check_room(self, puts: list[Put]) -> None:
        limits = self.limits
        # The platform's own jobs have room left when the queue is full of others'.
        share = 1.0 if all(put.platform for put in puts) else 1.0 - limits.platform_share
        if len(self.jobs) + len(puts) > limits.max_jobs * share:
            raise QueueFull(what=f"{len(self.jobs)} jobs")
        more_bytes = sum(len(put.data) + len(put.dedupe_key or "") for put in puts)
        if self.used_bytes + more_bytes > limits.max_bytes * share:
            raise QueueFull(what=f"{self.used_bytes} bytes of job data")

    def _put(self, put: Put) -> int:
        self._last_id += 1
        job = JobRecord(
            self._last_id,
            put.topic,
            put.data,
            put.priority,
            put.lease_ms,
            put.max_attempts,
            put.dedupe_key,
            self._now,
        )
        topic = self.topics.get(put.topic)
        if topic is None:
            topic = self.topics[put.topic] = Topic(put.topic, self.jobs)
        self.jobs[job.id] = job
        self.used_bytes += job.size_bytes
        topic.total_put += 1
        if put.dedupe_key is not None:
            self._keys[put.topic, put.dedupe_key] = job.id
        self._make_available(job, "put", delay_ms=put.delay_ms)
        return job.id

    def _reserve(self, command: Reserve, *, token: int) -> Reserved:
        topics = [self.topics[name] for name in command.topics if name in self.topics]
        for topic in topics:
            self._wake_due(topic)
        taken: list[int] = []
        while len(taken) < command.count:
            heads = [(first, topic) for topic in topics if (first := topic.first_ready()) is not None]
            if not heads:
                break
            (_, job_id), topic = min(heads, key=_urgency)
            topic.take_ready()
            self._lease(self.jobs[job_id], command, token=token)
            taken.append(job_id)
        return Reserved(token, tuple(taken))

    def _lease(self, job: JobRecord, command: Reserve, *, token: int) -> None:
        self._enter(job, "reserve", LEASED)
        job.attempts += 1
        job.token = token
        job.worker = command.worker
        job.granted_ms = command.lease_ms if command.lease_ms is not None else job.lease_ms
        if self._watcher is not None:
            self._watcher.lease_started(job.id, token, job.granted_ms)

    def _ack(self, job_id: int, token: int, platform: bool, result: bytes) -> Done:
        job = self.check_lease(job_id, token, platform=platform)
        self.topics[job.topic].total_succeeded += 1
        self._finish(job, "ack", SUCCEEDED, result=result)
        return Done()

    def _ack_many(self, command: AckMany) -> Acked:
        lost = []
        for job_id, token in command.leases:
            try:
                self._ack(job_id, token, command.platform, b"")
            except Refusal:
                lost.append(job_id)
        return Acked(tuple(lost))

    def _nack(self, command: Nack) -> Done:
        job = self.check_lease(command.job_id, command.token, platform=command.platform)
        job.nacks += 1
        self._attempt_failed(job, "nack", command.reason or "given back", delay_ms=command.delay_ms)
        return Done()

    def _expire(self, command: ExpireLease) -> Done:
        job = self.jobs.get(command.job_id)
        if job is not None and job.state == LEASED and job.token == command.token:
            job.timeouts += 1
            self._attempt_failed(job, "expire", "its lease ran out", delay_ms=0)
        return Done()

    def _attempt_failed(self, job: JobRecord, event: str, reason: str, *, delay_ms: int) -> None:
        self._note(job, f"attempt {job.attempts}: {reason}")
        if 0 < job.max_attempts <= job.attempts:
            self._set_aside(job, event)
        else:
            self._make_available(job, event, delay_ms=delay_ms)

    def _bury(self, command: Bury) -> Done:
        job = self.check_lease(command.job_id, command.token, platform=command.platform)
        self._note(job, f"attempt {job.attempts}: {command.reason or 'buried by its worker'}")
        self._set_aside(job, "bury")
        return Done()

    def _kick(self, command: Kick) -> Kicked:
        topic = self.topics.get(command.topic)
        if topic is None:
            return Kicked(0)
        ids = list(topic.buried)[: command.bound]
        if not topic.buried:
            self._wake_due(topic)  # these are ready already and not kicked
            while len(ids) < command.bound and (first := topic.first_delayed()) is not None:
                topic.take_delayed()
                ids.append(first[1])
        for job_id in ids:
            self._kick_one(self.jobs[job_id])
        return Kicked(len(ids))

    def _kick_job(self, command: KickJob) -> Done:
        job = self._find(command.job_id, platform=command.platform)
        if job.state in (BURIED, DELAYED):
            self._kick_one(job)
        elif job.state == LEASED:
            raise WrongState(job_id=job.id, state=job.state, wanted="buried or delayed")
        return Done()  # one that is ready already is what the kick wanted

    def _kick_one(self, job: JobRecord) -> None:
        job.attempts = 0  # else the next failure would bury it again at once
        self._make_available(job, "kick", delay_ms=0)

    def _cancel(self, command: Cancel) -> Done:
        job = self._find(command.job_id, platform=command.platform)
        if job.state == LEASED and not command.force and job.token != command.token:
            if command.token is not None:
                raise LeaseLost(job_id=job.id)
            raise WrongState(job_id=job.id, state=job.state, wanted="not leased")
        self._finish(job, "cancel", CANCELLED, result=b"")
        return Done()

    def _find(self, job_id: int, *, platform: bool) -> JobRecord:
        job = self.jobs.get(job_id)
        if job is not None and (platform or not job.topic.startswith(PLATFORM_PREFIX)):
            return job
        done = self.finished.get(job_id)
        if done is not None and (platform or not done.topic.startswith(PLATFORM_PREFIX)):
            raise AlreadyDone(job_id=job_id, state=done.state)
        raise JobNotFound(job_id=job_id)

    def _wake_due(self, topic: Topic) -> None:
        while (first := topic.first_delayed()) is not None and first[0] <= self._now:
            topic.take_delayed()
            self._make_available(self.jobs[first[1]], "due", delay_ms=0)

    def _make_available(self, job: JobRecord, event: str, *, delay_ms: int) -> None:
        """Ready, or ready after a delay."""
        topic = self.topics[job.topic]
        if delay_ms > 0:
            job.due_ms = self._now + delay_ms
            self._enter(job, event, DELAYED)
            topic.add_delayed(job)
            if self._watcher is not None:
                self._watcher.job_delayed(job.topic)
        else:
            job.due_ms = 0
            self._enter(job, event, READY)
            topic.add_ready(job)
            if self._watcher is not None:
                self._watcher.job_ready(job.topic)

    def _set_aside(self, job: JobRecord, event: str) -> None:
        self._enter(job, event, BURIED)
        self.topics[job.topic].buried[job.id] = None
        self._buried[job.id] = None
        if len(self._buried) > self.limits.max_buried:
            self.dropped_buried += 1
            self._finish(self.jobs[next(iter(self._buried))], "drop", CANCELLED, result=b"")

    def _finish(self, job: JobRecord, event: str, state: str, *, result: bytes) -> None:
        self._enter(job, event, state)
        topic = self.topics[job.topic]
        del self.jobs[job.id]
        self.used_bytes -= job.size_bytes
        if topic.is_empty:
            del self.topics[job.topic]
        done = FinishedJob(
            job.id,
            job.topic,
            state,
            job.priority,
            job.attempts,
            job.worker,
            job.dedupe_key,
            job.created_ms,
            self._now,
            result,
        )
        if state == CANCELLED:
            self._forget_key(done)  # a job that was called off may be put again
        for forgotten in self.finished.add(done):
            self._forget_key(forgotten)

    def _forget_key(self, job: FinishedJob) -> None:
        if job.dedupe_key is not None and self._keys.get((job.topic, job.dedupe_key)) == job.id:
            del self._keys[job.topic, job.dedupe_key]

    def _note(self, job: JobRecord, reason: str) -> None:
        job.reasons = (*job.reasons, reason)[-MAX_REASONS:]

    def _enter(self, job: JobRecord, event: str, state: str) -> None:
        assert (job.state, event, state) in TRANSITIONS, (job.id, job.state, event, state)
        counts = self.topics[job.topic].counts
        before = job.state
        if before in counts:
            counts[before] -= 1
        if state in counts:
            counts[state] += 1
        job.state = state
        if before == BURIED:
            del self._buried[job.id], self.topics[job.topic].buried[job.id]
        elif before == LEASED:
            job.token = 0
            job.granted_ms = 0
            if self._watcher is not None:
                self._watcher.lease_ended(job.id)


def _urgency(head: tuple[tuple[int, int], Topic]) -> tuple[int, int]:
    return head[0]
