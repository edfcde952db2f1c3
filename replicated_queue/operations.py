"""What can be done with a queue, under the same names in a client far away and inside a node."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Final

from replicated_queue.errors import LeaseLost
from replicated_queue.kicking import kick_in_parts
from replicated_queue.queue.commands import (
    DEFAULT_BACKOFF_MS,
    DEFAULT_LEASE_MS,
    DEFAULT_MAX_ATTEMPTS,
    LOW_PRIORITY,
    MAX_JOBS_PER_COMMAND,
    Ack,
    Acked,
    AckMany,
    Bury,
    Cancel,
    Command,
    Created,
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
    ReserveJob,
    Result,
    SetTopic,
)
from replicated_queue.queue.job import MAX_TEXT_BYTES, Job, JobView, TopicStats
from replicated_queue.request_codec import decode_stats, decode_views
from replicated_queue.requests import ExtendLease, Question, ReadFirst, ReadJob, ReadJobs, ReadStats

DEFAULT_LEASE: Final = DEFAULT_LEASE_MS / 1000
DEFAULT_BACKOFF: Final = DEFAULT_BACKOFF_MS / 1000
LONGEST_WAIT: Final = 600.0  # of one request; a longer wait asks again
MAX_ENTRY_DATA_BYTES: Final = 128 * 1024  # of a put_many, before it is cut into several entries


class QueueOperations(ABC):
    """The verbs of the queue. Times are seconds.

    Whatever changes something is done once, however often it had to be asked on the way. It raises a
    `Refusal` (`LeaseLost`, `QueueFull`, …) when the queue decided against it, `NoQuorum`, `NodeUnreachable`
    or `Busy` when nothing was done, and `OutcomeUnknown` when it may have been done.
    """

    platform: bool = False  # whether topics that begin with `pinode.` exist for this asker

    async def put(
        self,
        topic: str,
        data: bytes,
        *,
        priority: int = LOW_PRIORITY,
        delay: float = 0,
        lease: float = DEFAULT_LEASE,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        dedupe_key: str | None = None,
        backoff: float = DEFAULT_BACKOFF,
        needs: Sequence[str] = (),
        ages: bool = True,
    ) -> int:
        """Add a job and return its id; with a dedupe key the id of the unfinished job that has it already.

        After a failed attempt it waits `backoff`, twice as long after each further one. It is given only to
        workers that have all its `needs`. `ages`: takes part in the ageing of its topic, if that is on.
        """
        command = Put(
            topic,
            data,
            priority,
            _milliseconds(delay),
            _milliseconds(lease),
            max_attempts,
            dedupe_key,
            self.platform,
            _milliseconds(backoff),
            tuple(needs),
            ages,
        )
        created = await self._command(command)
        assert isinstance(created, Created)
        return created.job_ids[0]

    async def put_many(
        self,
        topic: str,
        datas: Iterable[bytes],
        *,
        priority: int = LOW_PRIORITY,
        delay: float = 0,
        lease: float = DEFAULT_LEASE,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        backoff: float = DEFAULT_BACKOFF,
        needs: Sequence[str] = (),
    ) -> list[int]:
        """Add jobs, as many as fit into one entry at a time; the jobs of one entry are added all or none."""
        delay_ms, lease_ms, backoff_ms = map(_milliseconds, (delay, lease, backoff))
        wants = tuple(needs)

        def put_of(data: bytes) -> Put:
            return Put(
                topic,
                data,
                priority,
                delay_ms,
                lease_ms,
                max_attempts,
                None,
                self.platform,
                backoff_ms,
                wants,
            )

        job_ids: list[int] = []
        for chunk in _chunks(datas):
            created = await self._command(PutMany(tuple(map(put_of, chunk))))
            assert isinstance(created, Created)
            job_ids += created.job_ids
        return job_ids

    async def reserve(
        self,
        topics: str | Sequence[str],
        *,
        wait: float = 0,
        worker: str = "",
        lease: float | None = None,
        has: Sequence[str] = (),
    ) -> Job | None:
        """Lease the most urgent job of the topics that a worker with all of `has` can do, waiting for one."""
        jobs = await self.reserve_many(topics, 1, wait=wait, worker=worker, lease=lease, has=has)
        return jobs[0] if jobs else None

    async def reserve_many(
        self,
        topics: str | Sequence[str],
        count: int,
        *,
        wait: float = 0,
        worker: str = "",
        lease: float | None = None,
        has: Sequence[str] = (),
    ) -> list[Job]:
        """Lease up to `count` jobs (but no more than 1 MiB of data), as soon as there is one."""
        names = (topics,) if isinstance(topics, str) else tuple(topics)
        lease_ms = _milliseconds(lease) if lease is not None else None
        command = Reserve(names, _cut(worker) if worker else "", lease_ms, count, self.platform, tuple(has))
        clock = asyncio.get_running_loop().time
        until = clock() + wait
        while True:
            jobs = await self._reserve(command, wait=min(wait, LONGEST_WAIT))
            # An early empty answer is rare: somebody else took the job this one was woken for.
            if jobs or (wait := until - clock()) <= 0:
                return list(jobs)

    async def extend(self, job: Job, *, lease: float | None = None) -> None:
        """Begin the lease anew, as long as before or `lease` long. Raises `LeaseLost`."""
        lease_ms = _milliseconds(lease) if lease is not None else None
        await self._extend(ExtendLease(job.id, job.token, lease_ms, self.platform))

    async def ack(self, job: Job, *, result: bytes = b"") -> None:
        """The job is done. Raises `LeaseLost` if it is no longer ours, `AlreadyDone` if it is finished."""
        await self._command(Ack(job.id, job.token, result, self.platform))

    async def ack_many(self, jobs: Sequence[Job]) -> None:
        """All these are done. Raises `LeaseLost` naming those not ours; the others count as done."""
        lost: list[int] = []
        for start in range(0, len(jobs), MAX_JOBS_PER_COMMAND):
            leases = tuple((job.id, job.token) for job in jobs[start : start + MAX_JOBS_PER_COMMAND])
            result = await self._command(AckMany(leases, self.platform))
            assert isinstance(result, Acked)
            lost += result.lost
        if lost:
            raise LeaseLost(job_id=lost[0], job_ids=lost)

    async def nack(
        self, job: Job, *, delay: float | None = None, reason: str = "", priority: int | None = None
    ) -> None:
        """This attempt failed: ready again after `delay` (None: the job's back-off), or buried if it was the
        last attempt.
        """
        delay_ms = _milliseconds(delay) if delay is not None else None
        await self._command(Nack(job.id, job.token, delay_ms, _cut(reason), self.platform, priority))

    async def bury(self, job: Job, *, reason: str = "", priority: int | None = None) -> None:
        """Set the job aside until somebody kicks or cancels it."""
        await self._command(Bury(job.id, job.token, _cut(reason), self.platform, priority))

    async def give_back(self, jobs: Sequence[Job], *, unseen: bool = False) -> None:
        """The worker of these jobs ends: an attempt has failed, of all but those whose lease has ended.

        `unseen`: it never got to know of them, so there was no attempt.
        """
        for start in range(0, len(jobs), MAX_JOBS_PER_COMMAND):
            leases = tuple((job.id, job.token) for job in jobs[start : start + MAX_JOBS_PER_COMMAND])
            await self._command(GiveBack(leases, self.platform, unseen))

    async def kick(self, topic: str, bound: int = 1) -> int:
        """Make up to `bound` buried jobs ready, or delayed ones if none is buried; return how many."""

        async def kick(wanted: int, only_buried: bool) -> Kicked:
            result = await self._command(Kick(topic, wanted, self.platform, only_buried))
            assert isinstance(result, Kicked)
            return result

        return await kick_in_parts(bound, kick)

    async def kick_job(self, job_id: int) -> bool:
        """Make one buried or delayed job ready; False if it is ready already."""
        result = await self._command(KickJob(job_id, self.platform))
        return isinstance(result, Kicked) and result.count > 0

    async def reserve_job(self, job_id: int, *, worker: str = "", lease: float | None = None) -> Job:
        """Lease this one job, whatever its turn. Raises `WrongState` when somebody holds it."""
        lease_ms = _milliseconds(lease) if lease is not None else None
        jobs = await self._reserve(ReserveJob(job_id, _cut(worker), lease_ms, self.platform), wait=0)
        if not jobs:
            raise LeaseLost(job_id=job_id)  # asked again for so long that the lease has ended
        return jobs[0]

    async def pause(self, topic: str, seconds: float) -> None:
        """Give out no job of the topic for so long; with 0 the pause ends now."""
        await self._command(Pause(topic, _milliseconds(seconds), self.platform))

    async def set_topic(
        self,
        topic: str,
        *,
        max_jobs: int | None = None,
        max_bytes: int | None = None,
        ageing: float | None = None,
        draining: bool | None = None,
    ) -> None:
        """Give a topic bounds of its own (0: none), ageing (seconds a priority counts; 0: off), or an end of
        new jobs. What is not named stays as it was.
        """
        ageing_ms = _milliseconds(ageing) if ageing is not None else None
        await self._command(SetTopic(topic, max_jobs, max_bytes, ageing_ms, draining, self.platform))

    async def purge(self, topic: str) -> int:
        """Cancel all jobs of the topic that nobody holds; return how many."""
        purged = 0
        while True:
            result = await self._command(Purge(topic, MAX_JOBS_PER_COMMAND, self.platform))
            assert isinstance(result, Purged)
            purged += result.count
            if result.count < MAX_JOBS_PER_COMMAND:
                return purged

    async def cancel(self, job: int | Job, *, force: bool = False) -> None:
        """Remove a job. One that somebody holds goes only to its holder (`cancel(job)`) or by force."""
        job_id, token = (job, None) if isinstance(job, int) else (job.id, job.token)
        await self._command(Cancel(job_id, token, force, self.platform))

    async def stats(self, topic: str) -> TopicStats:
        """Counts of one topic, as the asked node has them."""
        return decode_stats(await self._read(ReadStats(topic, self.platform)))[topic]

    async def topics(self) -> dict[str, TopicStats]:
        """Counts of every topic that has jobs or settings."""
        return decode_stats(await self._read(ReadStats(None, self.platform)))

    async def peek(self, job_id: int) -> JobView:
        """One job, also one that finished lately. Raises `JobNotFound`."""
        return decode_views(await self._read(ReadJob(job_id, self.platform)))[0]

    async def peek_first(self, topic: str, state: str) -> JobView | None:
        """The topic's first job that is "ready", "delayed" or "buried"."""
        views = decode_views(await self._read(ReadFirst(topic, state, self.platform)))
        return views[0] if views else None

    async def list(
        self, topic: str, *, state: str | None = None, after: int = 0, limit: int = 100
    ) -> tuple[JobView, ...]:
        """Jobs of a topic with ids above `after`, ascending; finished ones only by naming their state.

        At most `limit`, and about 1 MiB; none means that there are no more.
        """
        question = ReadJobs(topic, state, after, limit, self.platform)
        return tuple(decode_views(await self._read(question)))

    @abstractmethod
    async def _command(self, command: Command) -> Result:
        """Bring the command into the log once; return its result or raise its refusal."""

    @abstractmethod
    async def _reserve(self, command: Reserve | ReserveJob, *, wait: float) -> Sequence[Job]:
        """Jobs, or none after `wait` seconds (rarely earlier)."""

    @abstractmethod
    async def _extend(self, request: ExtendLease) -> None:
        """Ask the leader to begin the lease anew."""

    @abstractmethod
    async def _read(self, question: Question) -> bytes:
        """Encoded rows, as the asked node has them."""


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000) if seconds else 0


def _cut(text: str) -> str:
    """A reason or a worker's name may be of any length; what is kept of it is bounded."""
    return text.encode(errors="replace")[:MAX_TEXT_BYTES].decode(errors="ignore")


def _chunks(datas: Iterable[bytes]) -> "Iterable[list[bytes]]":
    chunk: list[bytes] = []
    size_bytes = 0
    for data in datas:
        if chunk and (size_bytes + len(data) > MAX_ENTRY_DATA_BYTES or len(chunk) == MAX_JOBS_PER_COMMAND):
            yield chunk
            chunk, size_bytes = [], 0
        chunk.append(data)
        size_bytes += len(data)
    if chunk:
        yield chunk
