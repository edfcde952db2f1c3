"""The queue as a state machine: jobs by priority and age, each held by one worker at a time."""

from collections.abc import Generator, Iterator
from itertools import islice
from typing import Final, assert_never

from replicated_queue.errors import AlreadyDone, JobNotFound, LeaseLost, Refusal, WrongState
from replicated_queue.parts import Row, numbers_of, set_numbers, whole
from replicated_queue.queue.backoff import backoff_ms
from replicated_queue.queue.carried import QueueRebuild, early_rows, late_rows
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
    GiveBack,
    Kick,
    Kicked,
    KickJob,
    Nack,
    Pause,
    Purge,
    Purged,
    Put,
    PutMany,
    Reserve,
    Reserved,
    ReserveJob,
    Result,
    SetTopic,
)
from replicated_queue.queue.job import (
    CANCELLED,
    LEASED,
    PLATFORM_PREFIX,
    READY,
    SUCCEEDED,
    JobRecord,
)
from replicated_queue.queue.job_book import JobBook
from replicated_queue.queue.limits import QueueLimits, check_command
from replicated_queue.queue.ready_lines import NOTHING, next_of
from replicated_queue.queue.topic_settings import TopicSettings
from replicated_queue.queue.watcher import QueueWatcher

MAX_RESERVED_BYTES: Final = 1024 * 1024  # of job data in one answer; a single job always fits


class PriorityQueue:
    """All jobs that are not finished, and what is remembered of those that are."""

    def __init__(self, limits: QueueLimits = QueueLimits()) -> None:  # noqa: B008 (frozen)
        self._stand_on(JobBook(limits))
        self._last_id = 0

    @property
    def used_bytes(self) -> int:
        """Of job data and the texts with it."""
        return self._book.used_bytes

    @property
    def expired(self) -> int:
        """How many leases have run out so far."""
        return self._book.expired

    @property
    def dropped_buried(self) -> int:
        """How many buried jobs had to go, because there were too many or they were too old."""
        return self._book.dropped_buried

    def watch(self, watcher: QueueWatcher) -> None:
        """Tell `watcher` from now on; it is no part of the state."""
        self._book.watcher = watcher

    def apply(self, command: Command, *, index: int, now: int) -> Result:
        """Run one committed command: the same entries give the same state and results on every replica.

        `index` is the entry's place in the log, `now` cluster time in milliseconds, stamped into the entry by
        the leader that proposed it. Raises `Refusal` when the command is refused; the state is then as
        before.
        """
        assert now >= self._book.now, "cluster time never runs backwards along the log"
        self._book.now = now
        check_command(command, self.topics)
        if self._book.buried:
            self._book.drop_old_buried()
        match command:
            case Put():
                return Created((self._put_one(command),))
            case Reserve():
                return self._reserve(command, token=index)
            case ReserveJob():
                return self._reserve_job(command, token=index)
            case Ack():
                return self._ack(command.job_id, command.token, command.platform, command.result)
            case AckMany():
                return self._ack_many(command)
            case PutMany():
                return Created(self._put_all(command.puts))
            case Nack():
                return self._nack(command)
            case GiveBack():
                return self._give_back(command)
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
            case Pause():
                return self._pause(command)
            case Purge():
                return self._purge(command)
            case SetTopic():
                return self._set_topic(command)
            case _:
                assert_never(command)

    def check_lease(self, job_id: int, token: int, *, platform: bool = True) -> JobRecord:
        """The job, if this lease still holds it. Raises `LeaseLost`, `AlreadyDone` or `JobNotFound`."""
        job = self._find(job_id, platform=platform)
        if job.state != LEASED or job.token != token:
            raise LeaseLost(job_id=job_id)
        return job

    def available(self, topic: str, has: frozenset[str] = NOTHING, *, now: int) -> int:
        """How many jobs a worker that `has` these abilities would find now.

        Delayed ones that are due count as one, whatever they need.
        """
        line = self.topics.get(topic)
        if line is None or line.paused_until > now:
            return 0
        ready = line.ready.count(has) if line.needs else line.counts[READY]
        delayed = line.first_delayed()
        return ready + (1 if delayed is not None and delayed[0] <= now else 0)

    def next_due(self, topic: str) -> int | None:
        """Cluster time at which the next delayed job becomes ready, or the topic's pause ends."""
        line = self.topics.get(topic)
        if line is not None and line.paused_until > self._book.now:
            return line.paused_until
        first = line.first_delayed() if line is not None else None
        return first[0] if first is not None else None

    def leases(self) -> Iterator[tuple[int, int, int]]:
        """(job id, token, granted milliseconds) of every job that is held."""
        return ((job.id, job.token, job.granted_ms) for job in self.jobs.touched() if job.state == LEASED)

    def digest(self) -> bytes:
        """Hash of the whole state; equal on all replicas at one applied index."""
        return whole(self.digest_steps())

    def digest_steps(self) -> Generator[None, None, bytes]:
        return self._book.digest_steps(self._last_id)

    def early_rows(self) -> Iterator[Row]:
        """These three are `Part` of a snapshot; first the jobs, while others of them change."""
        return early_rows(self._book)

    def rows(self) -> Iterator[Row]:
        return late_rows(self._book, numbers_of(self))

    def rebuild(self) -> QueueRebuild:
        return QueueRebuild(JobBook(self._book.limits), self._become)

    def _become(self, book: JobBook, numbers: dict[str, int]) -> None:
        book.watcher = self._book.watcher
        self._stand_on(book)
        set_numbers(self, numbers)

    def _stand_on(self, book: JobBook) -> None:
        self._book = book
        self.jobs = book.jobs
        self.topics = book.topics  # those that have jobs or settings
        self.idle_topics = book.idle_topics
        self.finished = book.finished

    def _put_one(self, put: Put) -> int:
        if put.dedupe_key is not None:
            return self._put_all((put,))[0]
        self._book.check_room_of_one(put)
        return self._put(put)

    def _put_all(self, puts: tuple[Put, ...]) -> tuple[int, ...]:
        known = [self._book.keys.known(put, now=self._book.now) for put in puts]
        self._book.check_room([put for put, job_id in zip(puts, known, strict=True) if job_id is None])
        # Looked up again: two puts of one entry may have the same key.
        return tuple(self._book.keys.known(put, now=self._book.now) or self._put(put) for put in puts)

    def _put(self, put: Put) -> int:
        self._last_id += 1
        self._book.put(self._last_id, put)
        return self._last_id

    def _reserve(self, command: Reserve, *, token: int) -> Reserved:
        now = self._book.now
        topics = [
            topic
            for name in command.topics
            if (topic := self.topics.get(name)) is not None and topic.paused_until <= now
        ]
        self._book.wake_due(topics)
        taken: list[int] = []
        has = frozenset(command.has) if command.has else NOTHING
        room_bytes = MAX_RESERVED_BYTES
        while len(taken) < command.count:
            job = next_of([topic.ready for topic in topics], has)
            if job is None or (taken and len(job.data) > room_bytes):
                break
            room_bytes -= len(job.data)
            self._lease(job, command, token=token)
            taken.append(job.id)
        return Reserved(token, tuple(taken))

    def _reserve_job(self, command: ReserveJob, *, token: int) -> Reserved:
        job = self._find(command.job_id, platform=command.platform)
        if job.state == LEASED:
            raise WrongState(job_id=job.id, state=job.state, wanted="not leased")
        self._lease(job, command, token=token)
        return Reserved(token, (job.id,))

    def _lease(self, job: JobRecord, command: Reserve | ReserveJob, *, token: int) -> None:
        self._book.enter(job, "reserve", LEASED)
        job.attempts += 1
        job.reserves += 1
        job.token = token
        self._book.name_worker(job, command.worker)
        job.granted_ms = command.lease_ms if command.lease_ms is not None else job.lease_ms
        job.due_ms = self._book.now + job.granted_ms
        if self._book.watcher is not None:
            self._book.watcher.lease_started(job.id, token, job.granted_ms)

    def _ack(self, job_id: int, token: int, platform: bool, result: bytes) -> Done:
        job = self.check_lease(job_id, token, platform=platform)
        self.topics[job.topic].total_succeeded += 1
        self._book.finish(job, "ack", SUCCEEDED, result=result)
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
        if command.priority is not None:
            job.priority = command.priority
        if command.delay_ms is not None:
            job.delay_ms = command.delay_ms
        self._attempt_failed(job, "nack", command.reason or "given back", delay_ms=command.delay_ms)
        return Done()

    def _give_back(self, command: GiveBack) -> Acked:
        lost = []
        for job_id, token in command.leases:
            try:
                job = self.check_lease(job_id, token, platform=command.platform)
            except Refusal:
                lost.append(job_id)
                continue
            if command.unseen:
                job.attempts -= 1
                self._book.make_available(job, "nack", delay_ms=0)
            else:
                self._attempt_failed(job, "nack", "its worker is gone")
        return Acked(tuple(lost))

    def _expire(self, command: ExpireLease) -> Done:
        job = self.jobs.get(command.job_id)
        if job is not None and job.state == LEASED and job.token == command.token:
            job.timeouts += 1
            self._book.expired += 1
            self._attempt_failed(job, "expire", "its lease ran out")
        return Done()

    def _attempt_failed(
        self, job: JobRecord, event: str, reason: str, *, delay_ms: int | None = None
    ) -> None:
        self._book.note(job, f"attempt {job.attempts}: {reason}")
        self.topics[job.topic].total_failed += 1
        if delay_ms is None:  # a worker that crashes again and again must not get the job again and again
            delay_ms = backoff_ms(job.backoff_ms, attempts=job.attempts, job_id=job.id)
        if 0 < job.max_attempts <= job.attempts:
            self._book.set_aside(job, event, token=0)
        else:
            self._book.make_available(job, event, delay_ms=delay_ms)

    def _bury(self, command: Bury) -> Done:
        job = self.jobs.get(command.job_id)
        if job is not None and job.buried_token and job.buried_token == command.token:
            return Done()  # the same worker asks again
        job = self.check_lease(command.job_id, command.token, platform=command.platform)
        if command.priority is not None:
            job.priority = command.priority
        self._book.note(job, f"attempt {job.attempts}: {command.reason or 'buried by its worker'}")
        self._book.set_aside(job, "bury", token=command.token)
        return Done()

    def _kick(self, command: Kick) -> Kicked:
        topic = self.topics.get(command.topic)
        if topic is None:
            return Kicked(0)
        are_buried = bool(topic.buried)
        ids = list(topic.buried)[: command.bound]
        if not (are_buried or command.only_buried):
            self._book.wake_due([topic])  # these are ready already and not kicked
            ids = topic.take_later(self._book.now, command.bound)
        for job_id in ids:
            self._kick_one(self.jobs[job_id])
        return Kicked(len(ids), are_buried)

    def _kick_job(self, command: KickJob) -> Kicked:
        job = self._find(command.job_id, platform=command.platform)
        if job.state == LEASED:
            raise WrongState(job_id=job.id, state=job.state, wanted="buried or delayed")
        if job.state_at(self._book.now) == READY:
            return Kicked(0)  # is already what the kick wanted
        self._kick_one(job)
        return Kicked(1)

    def _kick_one(self, job: JobRecord) -> None:
        job.kicks += 1
        job.attempts = 0  # else the next failure would bury it again at once
        self._book.make_available(job, "kick", delay_ms=0)

    def _cancel(self, command: Cancel) -> Done:
        job = self._find(command.job_id, platform=command.platform)
        if job.state == LEASED and not command.force and job.token != command.token:
            if command.token is not None:
                raise LeaseLost(job_id=job.id)
            raise WrongState(job_id=job.id, state=job.state, wanted="not leased")
        self._book.finish(job, "cancel", CANCELLED, result=b"")
        return Done()

    def _pause(self, command: Pause) -> Done:
        topic = self._book.topic(command.topic)
        topic.pauses += 1
        topic.pause_ms = command.pause_ms
        topic.paused_until = self._book.now + command.pause_ms
        if self._book.watcher is not None:
            self._book.watcher.job_delayed(topic.name)
            self._book.watcher.job_ready(topic.name)
        return Done()

    def _set_topic(self, command: SetTopic) -> Done:
        before = self._book.settings_of(command.topic)
        after = TopicSettings(
            max_jobs=before.max_jobs if command.max_jobs is None else command.max_jobs,
            max_bytes=before.max_bytes if command.max_bytes is None else command.max_bytes,
            ageing_ms=before.ageing_ms if command.ageing_ms is None else command.ageing_ms,
            is_draining=before.is_draining if command.is_draining is None else command.is_draining,
        )
        self._book.change_settings(command.topic, after)
        return Done()

    def _purge(self, command: Purge) -> Purged:
        """Looks at every job of the queue: for a person's hand, not for a loop."""
        found = (job.id for job in self.jobs.of_topic(command.topic) if job.state != LEASED)
        ids = list(islice(found, command.bound))
        for job_id in ids:
            self._book.finish(self.jobs[job_id], "cancel", CANCELLED, result=b"")
        return Purged(len(ids))

    def _find(self, job_id: int, *, platform: bool) -> JobRecord:
        job = self.jobs.get(job_id)
        if job is not None and (platform or not job.topic.startswith(PLATFORM_PREFIX)):
            return job
        done = self.finished.get(job_id)
        if done is not None and (platform or not done.topic.startswith(PLATFORM_PREFIX)):
            raise AlreadyDone(job_id=job_id, state=done.state)
        raise JobNotFound(job_id=job_id)
