"""What all beanstalk clients of a node share: which tubes there are, who is here, what was asked so far."""

import asyncio
import os
import platform
import resource
import secrets
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from replicated_queue.beanstalk.protocol import MAX_JOB_BYTES
from replicated_queue.beanstalk.reports import TubeUse, report_of_door, report_of_tube
from replicated_queue.broker import Broker
from replicated_queue.errors import JobNotFound
from replicated_queue.queue.commands import GiveBack
from replicated_queue.queue.job import LEASED, PLATFORM_PREFIX, Job, JobView
from replicated_queue.queue.priority_queue import PriorityQueue
from replicated_queue.queue.views import all_stats, peek_job, peek_topic, topic_stats

DEFAULT_TUBE: Final = "default"  # always exists
MAX_CONNECTIONS: Final = 1_024
LONGEST_WAIT_SECONDS: Final = 300.0  # of one request to the leader; a longer wait asks again
PROTOCOL_VERSION: Final = "1.12"
# The commands that `stats` counts, in its order.
COUNTED: Final = (
    "put", "peek", "peek-ready", "peek-delayed", "peek-buried", "reserve", "reserve-with-timeout", "delete",
    "release", "use", "watch", "ignore", "bury", "kick", "touch", "stats", "stats-job", "stats-tube",
    "list-tubes", "list-tube-used", "list-tubes-watched", "pause-tube",
)  # fmt: skip


class Guest(Protocol):
    """A client, as far as the others' answers depend on it."""

    used: str
    watched: list[str]
    is_producer: bool
    is_worker: bool
    is_waiting: bool


class Hall:
    """Reads are answered from `state`, to which the broker's log applies."""

    def __init__(
        self,
        broker: Broker,
        state: PriorityQueue,
        *,
        now_ms: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.queue = broker
        self.clock = clock
        self.is_draining = False
        self.total_jobs = 0  # put through this door
        self.deadlines: dict[int, float] = {}  # of leases held through this door, by job
        self.longest_wait_seconds = LONGEST_WAIT_SECONDS
        self._state = state
        self._now_ms = now_ms
        self.id = secrets.token_hex(8)
        self._sessions: dict[Guest, None] = {}
        self._commands: Counter[str] = Counter()
        self._leaving: set[str] = set()  # workers whose leases are looked for
        self._held: dict[str, list[Job]] = {}  # by the newest look that ended well
        self._looks = 0  # that have begun
        self._newest_look = 0  # that ended well
        self._looking = asyncio.Lock()
        self._total_connections = 0
        self._began = clock()

    def enter(self, session: Guest) -> bool:
        """A client comes; False if there are too many."""
        self._total_connections += 1
        if len(self._sessions) >= MAX_CONNECTIONS:
            return False
        self._sessions[session] = None
        return True

    def leave(self, session: Guest) -> None:
        self._sessions.pop(session, None)

    def count(self, verb: str) -> None:
        self._commands[verb] += 1

    @property
    def now_ms(self) -> int:
        return self._now_ms()

    async def reserved_by(self, worker: str) -> list[Job]:
        """Jobs leased to a client that left in the middle of its reserve.

        An entry of our own comes after that reserve, if it got into the log; it changes nothing. Who leaves
        while it is under way shares the next one: a fleet of workers often leaves at once.
        """
        known = self._looks
        self._leaving.add(worker)
        try:
            async with self._looking:
                if self._newest_look <= known:  # no look that ended well began after we came
                    await self._look_at_leases()
                return self._held.get(worker, [])
        finally:
            self._leaving.discard(worker)

    async def _look_at_leases(self) -> None:
        self._looks += 1
        number = self._looks
        await self.queue._command(GiveBack(((0, 0),)))
        self._held = {worker: [] for worker in self._leaving}
        for job in self._state.jobs.touched():
            if job.state == LEASED and job.worker in self._held:
                found = Job(job.id, job.topic, b"", job.priority, job.attempts, job.token, 0)
                self._held[job.worker].append(found)
        self._newest_look = number

    async def job(self, job_id: int) -> JobView | None:
        """A job that is not finished."""
        await self.queue.be_current()
        try:
            job = peek_job(self._state, job_id, now=self.now_ms, platform=False)
        except JobNotFound:
            return None
        return job if job_id in self._state.jobs else None

    async def first_job(self, tube: str, state: str) -> JobView | None:
        await self.queue.be_current()
        found = peek_topic(self._state, tube, state, now=self.now_ms, platform=False)
        return found[0] if found else None

    async def has_tube(self, tube: str) -> bool:
        await self.queue.be_current()
        if tube == DEFAULT_TUBE or (tube in self._state.topics and not tube.startswith(PLATFORM_PREFIX)):
            return True
        return any(tube == session.used or tube in session.watched for session in self._sessions)

    async def tubes(self) -> list[str]:
        """Tubes with jobs, tubes somebody here uses or watches, and `default`."""
        await self.queue.be_current()
        names = {DEFAULT_TUBE, *(name for name in self._state.topics if not name.startswith(PLATFORM_PREFIX))}
        for session in self._sessions:
            names.update((session.used, *session.watched))
        return sorted(names)

    async def report_of_tube(self, tube: str) -> bytes | None:
        if not await self.has_tube(tube):
            return None
        stats = topic_stats(self._state, tube, now=self.now_ms, platform=False)
        watchers = [session for session in self._sessions if tube in session.watched]
        use = TubeUse(
            using=sum(session.used == tube for session in self._sessions),
            watching=len(watchers),
            waiting=sum(session.is_waiting for session in watchers),
        )
        return report_of_tube(tube, stats, use)

    async def report(self) -> bytes:
        tubes = await self.tubes()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        system = os.uname()
        facts: dict[str, object] = {f"cmd-{verb}": self._commands[verb] for verb in COUNTED}
        facts |= {
            "job-timeouts": self._state.expired,
            "total-jobs": self.total_jobs,
            "max-job-size": MAX_JOB_BYTES,
            "current-tubes": len(tubes),
            "current-connections": len(self._sessions),
            "current-producers": sum(session.is_producer for session in self._sessions),
            "current-workers": sum(session.is_worker for session in self._sessions),
            "current-waiting": sum(session.is_waiting for session in self._sessions),
            "total-connections": self._total_connections,
            "pid": os.getpid(),
            "version": f'"{PROTOCOL_VERSION}"',
            "rusage-utime": f"{usage.ru_utime:.6f}",
            "rusage-stime": f"{usage.ru_stime:.6f}",
            "uptime": int(self.clock() - self._began),
            "binlog-oldest-index": 0,
            "binlog-current-index": 0,
            "binlog-records-migrated": 0,
            "binlog-records-written": 0,
            "binlog-max-size": 0,
            "draining": str(self.is_draining).lower(),
            "id": self.id,
            "hostname": system.nodename,
            "os": system.version,
            "platform": platform.machine(),
        }
        rows = all_stats(self._state, now=self.now_ms, platform=False)
        return report_of_door(rows.values(), facts)
