"""What only the leader does for the queue: proposes, lets reserves wait, remembers leases and ends them.

All of it is memory. A new leader begins with an empty line of waiters (they ask again) and grants every held
lease one full term. With nothing to do there is no timer and no entry.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, assert_never

from replicated_queue.errors import Busy, LeaseLost, NotLeader, QueueError
from replicated_queue.leases import LeaseTable
from replicated_queue.queue.codec import DONE, JOBS, command_of, command_values, is_refusal
from replicated_queue.queue.commands import ExpireLease, Reserve, ReserveJob
from replicated_queue.queue.job import LEASED, MAX_LEASE_MS, MIN_LEASE_MS, Job, check_number
from replicated_queue.queue.priority_queue import PriorityQueue
from replicated_queue.queue.ready_lines import NOTHING
from replicated_queue.queue_state import QUEUE_DOMAIN
from replicated_queue.replicated_log import ReplicatedLog
from replicated_queue.request_codec import Outcome, Outcomes, encode_bundle, jobs_values
from replicated_queue.requests import ConfirmLeader, ExtendLease, ForgetWaiter, LeaderRequest, Submit
from replicated_queue.sessions import NO_ANSWERS, Answer, Bundle, single
from replicated_queue.waiting_line import Key, Waiter, WaitingLine

Reply = Callable[[Outcomes], None]
NOTHING_READY: Final = jobs_values((), is_logged=False)
SHORTEST_TIMER_SECONDS: Final = 0.001


class _Reservation:
    """A reserve on its way into the log; `place` is its own among the requests of its bundle."""

    __slots__ = ("count", "has", "place", "topics")

    def __init__(self, command: Reserve | ReserveJob, place: int) -> None:
        self.place = place
        self.topics: tuple[str, ...] = ()
        self.has = NOTHING
        self.count = 1
        if isinstance(command, Reserve):
            topics = command.topics
            self.topics = topics if len(topics) == 1 else tuple(dict.fromkeys(topics))
            self.has = frozenset(command.has) if command.has else NOTHING
            self.count = command.count


class _Waiting:
    """A reserve that waits, with all that is needed to go on with it."""

    __slots__ = ("replies", "request", "reservation")

    def __init__(self, request: Submit, reservation: _Reservation, reply: Reply) -> None:
        self.request = request
        self.reservation = reservation
        self.replies = [reply]

    def reply(self, outcomes: Outcomes) -> None:
        for reply in self.replies:
            reply(outcomes)


class LeaderDesk:
    """Takes requests while this node leads; every request is answered once, through its `reply`."""

    def __init__(self, *, log: ReplicatedLog, queue: PriorityQueue, clock: Callable[[], float]) -> None:
        self._log = log
        self._queue = queue
        self._clock = clock
        self._is_open = False
        self._leases = LeaseTable()
        self._waiting: WaitingLine[_Waiting] = WaitingLine()
        self._taking: dict[str, int] = {}  # topic → jobs that reserves on their way into the log may take
        self._woken: dict[str, None] = {}  # topics to look at in the next turn of the loop
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        queue.watch(self)
        log.on_leadership(self._leadership_changed)

    @property
    def waiting_count(self) -> int:
        """How many reserves wait here."""
        return len(self._waiting)

    def handle(self, request: LeaderRequest, reply: Reply) -> None:
        """Do what is asked, now or later. The reply may come before this returns."""
        if not self._is_open:
            reply(NotLeader(self._log.leader_id))
            return
        try:
            match request:
                case Submit():
                    self._submit(request, reply)
                case ExtendLease():
                    self._when_confirmed(reply, partial(self._extend, request))
                case ConfirmLeader():
                    self._when_confirmed(reply, _done)
                case ForgetWaiter():
                    self.forget((request.client_id, request.slot, request.sequence))
                    reply((DONE,))
                case _:
                    assert_never(request)
        except QueueError as error:
            reply(error)

    def forget(self, key: Key) -> None:
        """Nobody waits any more for this reserve. If somebody does after all, it is asked again."""
        waiter = self._waiting.remove(key)
        if waiter is not None:
            waiter.ticket.reply(NotLeader(self._log.leader_id))

    def close(self) -> None:
        """The node stops: wake up no more."""
        self._leadership_changed(False, 0)

    def job_ready(self, topic: str) -> None:
        """Part of `QueueWatcher`, as are the next three."""
        if self._waiting.anybody(topic):
            self._wake(topic)

    def job_delayed(self, topic: str) -> None:
        if self._waiting.anybody(topic):
            self._arm()

    def lease_started(self, job_id: int, token: int, lease_ms: int) -> None:
        if not self._is_open:
            return
        self._leases.advance(self._clock())
        self._leases.grant(job_id, token, lease_ms / 1000)
        if len(self._leases) == 1 or lease_ms < 1000:  # else the timer fires within a second anyway
            self._arm()

    def lease_ended(self, job_id: int) -> None:
        self._leases.end(job_id)

    def _leadership_changed(self, is_leader: bool, term: int) -> None:
        self._is_open = is_leader
        self._leases.clear()
        if is_leader:
            self._leases.advance(self._clock())
            for job_id, token, granted_ms in self._queue.leases():
                self._leases.grant(job_id, token, granted_ms / 1000)
            self._arm()
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for waiter in self._waiting.take_all():
            waiter.ticket.reply(NotLeader(self._log.leader_id))

    def _submit(self, request: Submit, reply: Reply) -> None:
        """Into the log with it, but for reserves that would find nothing there."""
        bundle = request.bundle
        if bundle.domain != QUEUE_DOMAIN:
            self._log.propose(request.data, reply, part=bundle, is_alone=True)
            return
        reservations: list[_Reservation] = []
        idle: list[int] = []  # places of reserves that find nothing
        now_ms = self._log.now_ms
        for place, command in enumerate(bundle.commands):
            if type(command) is not Reserve and type(command) is not ReserveJob:
                continue
            reservation = _Reservation(command, place)
            is_asked_by_id = type(command) is ReserveJob
            if request.repeated or is_asked_by_id or self._finds_free(reservation, now_ms):
                self._take(reservation)
                reservations.append(reservation)
            else:
                idle.append(place)
        if not idle:
            self._propose(request, reservations, reply)
        elif bundle.size == 1:
            self._wait(request, _Reservation(bundle.commands[0], 0), reply)
        else:
            self._propose_others(request, reservations, idle, reply)

    def _propose_others(
        self, request: Submit, reservations: list[_Reservation], idle: list[int], reply: Reply
    ) -> None:
        """All of a bundle but its idle reserves, which are answered with it."""
        bundle = request.bundle
        left_out = set(idle)
        places = [place for place in range(bundle.size) if place not in left_out]
        if not places:
            reply([NOTHING_READY] * bundle.size)  # nothing enters the log while nothing is ready
            return

        def answered(answers: Outcomes) -> None:
            if isinstance(answers, QueueError):
                reply(answers)
                return
            whole: list[Outcome] = [NOTHING_READY] * bundle.size
            for place, answer in zip(places, answers, strict=True):
                whole[place] = answer
            reply(whole)

        for reservation in reservations:
            reservation.place = places.index(reservation.place)
        rest = bundle.only(places)
        self._propose(Submit(encode_bundle(rest), rest), reservations, answered)

    def _wait(self, request: Submit, reservation: _Reservation, reply: Reply) -> None:
        if not request.waits:
            reply((NOTHING_READY,))  # a first look: who wants to know for certain asks again
            return
        wait_ms = request.waits[0]
        if wait_ms <= 0:
            self._when_confirmed(reply, _nothing_ready)
            return
        bundle = request.bundle
        slot, sequence, _ = next(iter(bundle.each()))
        key = (bundle.client_id, slot, sequence)
        if (known := self._waiting.find(key)) is not None:
            known.ticket.replies.append(reply)  # by another way; whoever still reads an answer gets the same
            return
        deadline = self._clock() + wait_ms / 1000
        waiting = _Waiting(request, reservation, reply)
        self._waiting.add(Waiter(key, reservation.topics, reservation.has, deadline, waiting))
        self._arm()

    def _finds_free(self, newcomer: _Reservation, now_ms: int) -> bool:
        """Whether a newcomer may take a job: there is one, and nobody waited for it before."""
        for topic in newcomer.topics:
            if self._free(topic, newcomer.has, now_ms) > 0 and self._next_in_line(topic) is None:
                return True
        return False

    def _next_in_line(self, topic: str) -> Waiter[_Waiting] | None:
        """Who has waited longest of those for whom there is a job."""
        if self._waiting.anybody(topic):
            now_ms = self._log.now_ms
            for waiter in self._waiting.firsts(topic):
                if self._free(topic, waiter.has, now_ms) > 0:
                    return waiter
        return None

    def _free(self, topic: str, has: frozenset[str], now_ms: int) -> int:
        return self._queue.available(topic, has, now=now_ms) - self._taking.get(topic, 0)

    def _propose(self, request: Submit, reservations: list[_Reservation], reply: Reply) -> None:
        """Propose a bundle whose reserves are counted as taking already."""
        done = partial(self._reserved, reservations, reply) if reservations else reply
        try:
            self._log.propose(request.data, done, part=request.bundle)
        except QueueError:
            for reservation in reservations:
                self._untake(reservation)
            raise

    def _take(self, reservation: _Reservation) -> None:
        for topic in reservation.topics:
            self._taking[topic] = self._taking.get(topic, 0) + reservation.count

    def _untake(self, reservation: _Reservation) -> None:
        for topic in reservation.topics:
            self._taking[topic] -= reservation.count
            if self._taking[topic] <= 0:
                del self._taking[topic]
            if self._waiting.anybody(topic):
                self._wake(topic)

    def _reserved(self, reservations: list[_Reservation], reply: Reply, outcomes: Outcomes) -> None:
        """Put the jobs themselves into the answers."""
        for reservation in reservations:
            self._untake(reservation)
        if not isinstance(outcomes, QueueError):
            outcomes = list(outcomes)
            for reservation in reservations:
                answer = outcomes[reservation.place]
                if answer not in NO_ANSWERS and not is_refusal(answer):
                    outcomes[reservation.place] = jobs_values(self._jobs(answer))
        reply(outcomes)

    def _jobs(self, reserved: Answer) -> list[Job]:
        """The jobs with their data; of a repeated request only those whose lease still holds."""
        jobs = []
        token = reserved[1]
        for job_id in reserved[2] if len(reserved) > 2 else ():
            job = self._queue.jobs.get(job_id)
            if job is not None and job.state == LEASED and job.token == token:
                lease_seconds = job.granted_ms / 1000
                jobs.append(
                    Job(job.id, job.topic, job.data, job.priority, job.attempts, job.token, lease_seconds)
                )
        return jobs

    def _when_confirmed(self, reply: Reply, answer: Callable[[], Outcomes]) -> None:
        """Answer from memory, if this node leads still: one that was replaced does not know (ReadIndex)."""

        def confirmed(outcome: int | QueueError) -> None:
            if isinstance(outcome, QueueError):
                reply(outcome)
            elif not self._is_open:
                reply(NotLeader(self._log.leader_id))
            else:
                try:
                    reply(answer())
                except QueueError as error:
                    reply(error)

        self._log.confirm(confirmed)

    def _extend(self, request: ExtendLease) -> Outcomes:
        if request.lease_ms is not None:
            check_number("the lease in ms", request.lease_ms, low=MIN_LEASE_MS, high=MAX_LEASE_MS)
        self._queue.check_lease(request.job_id, request.token, platform=request.platform)
        self._leases.advance(self._clock())
        seconds = request.lease_ms / 1000 if request.lease_ms is not None else None
        if not self._leases.extend(request.job_id, request.token, seconds):
            raise LeaseLost(job_id=request.job_id)
        if seconds is not None and seconds < 1:
            self._arm()
        return (DONE,)

    def _wake(self, topic: str) -> None:
        if not self._woken:
            asyncio.get_running_loop().call_soon(self._serve_woken)
        self._woken[topic] = None

    def _serve_woken(self) -> None:
        topics = list(self._woken)
        self._woken.clear()
        for topic in topics:
            self._serve(topic)

    def _serve(self, topic: str) -> None:
        """Give the topic's free jobs to those who waited longest."""
        while self._is_open and (waiter := self._next_in_line(topic)) is not None:
            self._waiting.remove(waiter.key)
            waiting = waiter.ticket
            self._take(waiting.reservation)
            try:
                self._propose(waiting.request, [waiting.reservation], waiting.reply)
            except (NotLeader, Busy) as error:
                waiting.reply(error)

    def _arm(self) -> None:
        """See to it that the timer fires when the next thing is due, if anything is."""
        waits = [self._leases.seconds_to_next(), self._seconds_to_waiter(), self._seconds_to_due()]
        known = [seconds for seconds in waits if seconds is not None]
        if not known or not self._is_open:
            return
        loop = asyncio.get_running_loop()
        at = loop.time() + max(min(known), SHORTEST_TIMER_SECONDS)
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = loop.call_at(at, self._timer_fired)

    def _seconds_to_waiter(self) -> float | None:
        deadline = self._waiting.next_deadline()
        return max(0.0, deadline - self._clock()) if deadline is not None else None

    def _seconds_to_due(self) -> float | None:
        """Until a delayed job that somebody waits for is due."""
        now_ms = self._log.now_ms
        dues = [self._queue.next_due(topic) for topic in self._waiting.topics()]
        # What is due already waits for a reserve on its way into the log; its end looks again.
        known = [due for due in dues if due is not None and due > now_ms]
        return (min(known) - now_ms) / 1000 if known else None

    def _timer_fired(self) -> None:
        self._timer = None
        self._leases.advance(self._clock())
        for job_id, token in self._leases.take_due():
            self._expire(job_id, token)
        for topic in self._waiting.topics():
            self._serve(topic)
        for waiter in self._waiting.take_overdue(self._clock()):
            self._when_confirmed(waiter.ticket.reply, _nothing_ready)
        self._arm()

    def _expire(self, job_id: int, token: int) -> None:
        command = ExpireLease(job_id, token)
        bundle = single(QUEUE_DOMAIN, command_values(command))._replace(commands=(command,))
        with suppress(NotLeader, Busy):  # asked again in a second, if this node still leads
            self._log.propose(encode_bundle(bundle), lambda _: None, part=bundle)


def _nothing_ready() -> Outcomes:
    return (NOTHING_READY,)


def _done() -> Outcomes:
    return (DONE,)


def read_commands(bundle: Bundle) -> Bundle:
    """The same, its commands read. Raises `MalformedMessage` or `UnknownVersion`."""
    return bundle._replace(commands=list(map(command_of, bundle.requests[2::3])))


def found_nothing(answer: Answer) -> bool:
    """Whether a reserve is answered that no job was ready, and did not enter the log."""
    return type(answer) in (tuple, list) and len(answer) == 2 and answer[0] == JOBS and answer[1] is False
