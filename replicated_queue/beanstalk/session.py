"""One beanstalk client: the tube it uses, those it watches, the jobs it holds, and what it is answered."""

import asyncio
from collections.abc import Awaitable, Callable
from math import inf
from typing import Final

from replicated_queue.beanstalk.hall import DEFAULT_TUBE, Hall
from replicated_queue.beanstalk.protocol import BAD_FORMAT, Refused, Request
from replicated_queue.beanstalk.reports import list_of, report_of_job
from replicated_queue.errors import (
    AlreadyDone,
    Busy,
    InvalidRequest,
    JobNotFound,
    LeaseLost,
    NoQuorum,
    OutcomeUnknown,
    QueueError,
    QueueFull,
    TopicDraining,
    WrongState,
)
from replicated_queue.queue.job import PLATFORM_PREFIX, Job, JobView
from replicated_queue.queue.limits import MAX_TOPICS_PER_RESERVE

MARGIN_SECONDS: Final = 1.0  # before the end of a lease: from then on a reserve answers DEADLINE_SOON
NOT_FOUND: Final = b"NOT_FOUND\r\n"
DRAINING: Final = b"DRAINING\r\n"
OUT_OF_MEMORY: Final = b"OUT_OF_MEMORY\r\n"
INTERNAL_ERROR: Final = b"INTERNAL_ERROR\r\n"
NOT_THERE: Final = (JobNotFound, AlreadyDone, WrongState, LeaseLost)


class Session:
    """What beanstalkd keeps of a connection. Requests are answered one after the other."""

    def __init__(self, hall: Hall, *, worker: str) -> None:
        self.used = DEFAULT_TUBE
        self.watched = [DEFAULT_TUBE]
        self.is_producer = False
        self.is_worker = False
        self.is_waiting = False  # in a reserve
        self._hall = hall
        self._worker = worker
        self._held: dict[int, tuple[Job, float]] = {}  # by id: without its data, and when its lease ends
        self._has_time = True  # to wait for a job
        self._waiting: asyncio.Timeout | None = None  # for one, that comes or that does not
        self._may_hold_more = False  # a reserve was given up that may have taken one
        self._answers: dict[str, Callable[[Request], Awaitable[bytes]]] = {
            "put": self._put,
            "use": self._use,
            "reserve": self._reserve,
            "reserve-with-timeout": self._reserve,
            "reserve-job": self._reserve_job,
            "delete": self._delete,
            "release": self._release,
            "bury": self._bury,
            "touch": self._touch,
            "watch": self._watch,
            "ignore": self._ignore,
            "peek": self._peek,
            "peek-ready": self._peek_first,
            "peek-delayed": self._peek_first,
            "peek-buried": self._peek_first,
            "kick": self._kick,
            "kick-job": self._kick_job,
            "stats": self._stats,
            "stats-job": self._stats_job,
            "stats-tube": self._stats_tube,
            "list-tubes": self._list_tubes,
            "list-tube-used": self._list_tube_used,
            "list-tubes-watched": self._list_tubes_watched,
            "pause-tube": self._pause_tube,
        }

    async def answer(self, request: Request | Refused) -> bytes:
        """Do it and say how it went. A refusal of the queue is put into the protocol's words."""
        self._hall.count(request.verb)
        if isinstance(request, Refused):
            return request.answer
        try:
            return await self._answers[request.verb](request)
        except NOT_THERE:
            return NOT_FOUND
        except QueueFull:
            return OUT_OF_MEMORY
        except TopicDraining:
            return DRAINING
        except (NoQuorum, Busy):  # nothing was done
            return DRAINING if request.verb == "put" else INTERNAL_ERROR
        except InvalidRequest:
            return BAD_FORMAT
        except QueueError:
            return INTERNAL_ERROR

    def wait_no_longer(self) -> None:
        """The client sends no more: reserves give what there is, now and from now on, as in beanstalkd."""
        self._has_time = False
        if self._waiting is not None:
            self._waiting.reschedule(0)

    async def close(self, *, was_reserving: bool) -> None:
        """The client is gone: its jobs are ready for others at once."""
        jobs = [job for job, _ in self._held.values()]
        if was_reserving or self._may_hold_more:
            jobs += await self._hall.reserved_by(self._worker)
        for job in jobs:
            self._drop(job.id)
        if jobs:
            await self._hall.queue.give_back(jobs)

    async def _put(self, request: Request) -> bytes:
        self.is_producer = True
        if self._hall.is_draining:
            return DRAINING
        priority, delay, lease = request.numbers
        job_id = await self._hall.queue.put(
            self.used,
            request.body,
            priority=priority,
            delay=delay,
            lease=max(lease, 1),
            max_attempts=0,  # a beanstalk job is tried for as long as its workers like,
            backoff=0,  # as soon as they like,
            ages=False,  # and its priority alone counts
        )
        self._hall.total_jobs += 1
        return b"INSERTED %d\r\n" % job_id

    async def _use(self, request: Request) -> bytes:
        if _is_platform(request.tube):
            return BAD_FORMAT
        self.used = request.tube
        return b"USING %s\r\n" % request.tube.encode()

    async def _reserve(self, request: Request) -> bytes:
        clock = self._hall.clock
        self.is_worker = self.is_waiting = True
        seconds = request.numbers[0] if request.numbers else -1
        until = clock() + seconds if seconds >= 0 else inf
        try:
            while True:
                until = until if self._has_time else min(until, clock())
                margin = self._soonest_deadline() - MARGIN_SECONDS
                job = await self._reserve_within(min(until, margin) - clock())
                if job is not None:
                    return self._hold(job)
                if clock() >= margin:
                    return b"DEADLINE_SOON\r\n"
                if clock() >= until:
                    return b"TIMED_OUT\r\n"
        finally:
            self.is_waiting = False

    async def _reserve_within(self, seconds: float) -> Job | None:
        """Without a leader a reserve goes on waiting, as it would without a job."""
        wait = min(max(seconds, 0.0), self._hall.longest_wait_seconds)
        try:
            async with asyncio.timeout(None) as self._waiting:
                return await self._hall.queue.reserve(self.watched, wait=wait, worker=self._worker)
        except (OutcomeUnknown, TimeoutError):
            self._may_hold_more = True
            return None
        except (NoQuorum, Busy):
            return None
        finally:
            self._waiting = None

    async def _reserve_job(self, request: Request) -> bytes:
        job = await self._hall.queue.reserve_job(request.numbers[0], worker=self._worker)
        self.is_worker = True
        return self._hold(job)

    def _hold(self, job: Job) -> bytes:
        deadline = self._hall.clock() + job.lease_seconds
        self._held[job.id] = (job._replace(data=b""), deadline)
        self._hall.deadlines[job.id] = deadline
        return b"RESERVED %d %d\r\n%s\r\n" % (job.id, len(job.data), job.data)

    def _held_job(self, job_id: int) -> Job:
        if job_id not in self._held:
            raise JobNotFound(job_id=job_id)
        return self._held[job_id][0]

    def _drop(self, job_id: int) -> None:
        _, deadline = self._held.pop(job_id, (None, None))
        if self._hall.deadlines.get(job_id) == deadline:  # else another client has it by now
            self._hall.deadlines.pop(job_id, None)

    def _soonest_deadline(self) -> float:
        """Of the leases that have not ended yet."""
        now = self._hall.clock()
        return min((deadline for _, deadline in self._held.values() if deadline > now), default=inf)

    async def _end_lease(self, job_id: int, work: Awaitable[None]) -> None:
        """Whatever comes of it, the job is no longer held, unless it may be that nothing was done."""
        try:
            await work
        except NOT_THERE:
            self._drop(job_id)
            raise
        self._drop(job_id)

    async def _delete(self, request: Request) -> bytes:
        job_id, queue = request.numbers[0], self._hall.queue
        if job_id in self._held:
            try:
                await self._end_lease(job_id, queue.ack(self._held_job(job_id)))
                return b"DELETED\r\n"
            except LeaseLost:
                pass  # it is ready again, and so anybody's to delete
        await queue.cancel(job_id)
        return b"DELETED\r\n"

    async def _release(self, request: Request) -> bytes:
        job_id, priority, delay = request.numbers
        job = self._held_job(job_id)
        await self._end_lease(job_id, self._hall.queue.nack(job, delay=delay, priority=priority))
        return b"RELEASED\r\n"

    async def _bury(self, request: Request) -> bytes:
        job_id, priority = request.numbers
        job = self._held_job(job_id)
        await self._end_lease(job_id, self._hall.queue.bury(job, priority=priority))
        return b"BURIED\r\n"

    async def _touch(self, request: Request) -> bytes:
        job = self._held_job(request.numbers[0])
        try:
            await self._hall.queue.extend(job)
        except LeaseLost:
            self._drop(job.id)
            raise
        deadline = self._hall.clock() + job.lease_seconds
        self._held[job.id] = (job, deadline)
        self._hall.deadlines[job.id] = deadline
        return b"TOUCHED\r\n"

    async def _watch(self, request: Request) -> bytes:
        if _is_platform(request.tube):
            return BAD_FORMAT
        if request.tube not in self.watched:
            if len(self.watched) >= MAX_TOPICS_PER_RESERVE:
                return OUT_OF_MEMORY
            self.watched.append(request.tube)
        return b"WATCHING %d\r\n" % len(self.watched)

    async def _ignore(self, request: Request) -> bytes:
        if request.tube in self.watched:
            if len(self.watched) == 1:
                return b"NOT_IGNORED\r\n"
            place = self.watched.index(request.tube)
            last = self.watched.pop()
            if place < len(self.watched):  # beanstalkd moves the last one there
                self.watched[place] = last
        return b"WATCHING %d\r\n" % len(self.watched)

    async def _peek(self, request: Request) -> bytes:
        return _found(await self._hall.job(request.numbers[0]))

    async def _peek_first(self, request: Request) -> bytes:
        state = request.verb.removeprefix("peek-")
        return _found(await self._hall.first_job(self.used, state))

    async def _kick(self, request: Request) -> bytes:
        return b"KICKED %d\r\n" % await self._hall.queue.kick(self.used, request.numbers[0])

    async def _kick_job(self, request: Request) -> bytes:
        was_kicked = await self._hall.queue.kick_job(request.numbers[0])
        return b"KICKED\r\n" if was_kicked else NOT_FOUND

    async def _stats(self, request: Request) -> bytes:
        return await self._hall.report()

    async def _stats_job(self, request: Request) -> bytes:
        job = await self._hall.job(request.numbers[0])
        if job is None:
            return NOT_FOUND
        deadline = self._hall.deadlines.get(job.id)
        seconds_left = deadline - self._hall.clock() if deadline is not None else None
        return report_of_job(job, now=self._hall.now_ms, seconds_left=seconds_left)

    async def _stats_tube(self, request: Request) -> bytes:
        return await self._hall.report_of_tube(request.tube) or NOT_FOUND

    async def _list_tubes(self, request: Request) -> bytes:
        return list_of(await self._hall.tubes())

    async def _list_tube_used(self, request: Request) -> bytes:
        return b"USING %s\r\n" % self.used.encode()

    async def _list_tubes_watched(self, request: Request) -> bytes:
        return list_of(self.watched)

    async def _pause_tube(self, request: Request) -> bytes:
        if not await self._hall.has_tube(request.tube):
            return NOT_FOUND

        await self._hall.queue.pause(request.tube, request.numbers[0])
        return b"PAUSED\r\n"


def _is_platform(tube: str) -> bool:
    return tube.startswith(PLATFORM_PREFIX)


def _found(job: JobView | None) -> bytes:
    if job is None:
        return NOT_FOUND
    return b"FOUND %d %d\r\n%s\r\n" % (job.id, len(job.data), job.data)
