"""Brings requests to the leader, wherever it is, and asks again until it is answered or the deadline has
come.

A request is always asked again as the same bytes, so the log does it once. Requests of one turn of the loop
go to another node in one frame. Those of a bundle are answered together, but for reserves that found nothing
and may wait: each of these goes on by itself.
"""

import asyncio
import errno
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from replicated_queue.answer_size import MOST_ASKED_BYTES, most_bytes
from replicated_queue.errors import (
    Busy,
    NoQuorum,
    NotLeader,
    OutcomeUnknown,
    QueueError,
)
from replicated_queue.interfaces import PeerId
from replicated_queue.leader_desk import NOTHING_READY, LeaderDesk, found_nothing
from replicated_queue.parcel import Done, Parcel
from replicated_queue.replicated_log import ReplicatedLog
from replicated_queue.request_codec import Outcome, Outcomes, decode_answers, encode_requests, submit
from replicated_queue.requests import ForgetWaiter, LeaderRequest, Submit
from replicated_queue.sessions import EXPIRED, NO_ANSWERS, REUSED, Answer, why_unanswered
from replicated_queue.unread_jobs import giving_back, takes_jobs

CALL_SECONDS: Final = 3.0  # for an answer of the leader, beyond what a reserve waits there
LONGEST_RETRY_SECONDS: Final = 0.1
GIVE_BACK_SECONDS: Final = 10.0
MAX_BATCH: Final = 128
MAX_BATCH_BYTES: Final = 512 * 1024
MAX_WAIT_SECONDS: Final = 600.0
# The frame did not leave this node.
NOT_SENT: Final = {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL}

FOUND_NOTHING: Final = (NOTHING_READY, list(NOTHING_READY))  # said here, or by another node's leader

Call = Callable[..., Awaitable[bytes]]  # Transport.call


class Courier:
    """Keeps every request until it is done. Needs `run` only to ask other nodes."""

    def __init__(
        self, *, log: ReplicatedLog, desk: LeaderDesk, call: Call, clock: Callable[[], float]
    ) -> None:
        self._log = log
        self._desk = desk
        self._call = call
        self._clock = clock
        self.known_index = 0  # how far a leader was that answered us: our own changes are not above it
        self._parcels: dict[Parcel, None] = {}
        self._outbox: list[Parcel] = []
        self._tasks: asyncio.TaskGroup | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        log.on_leadership(self._leadership_changed)
        log.on_leader(self._abandon_former_leader)

    async def run(self) -> None:
        """Own the calls to other nodes until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                try:
                    await asyncio.get_running_loop().create_future()
                finally:
                    self._tasks = None  # a group that ends takes in nobody
        finally:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Let `work` run as a child of `run`; it is dropped when that has ended."""
        if self._tasks is None:
            work.close()
        else:
            self._tasks.create_task(work)

    def send(self, request: LeaderRequest, *, timeout_seconds: float, done: Done) -> Parcel:
        """Call `done` with the leader's answers, perhaps before this returns. See `withdraw`.

        An outcome is an answer, the leader's refusal, `NoQuorum` or `Busy` if nothing was done by the
        deadline, or `OutcomeUnknown` if it may have been.
        """
        parcel = Parcel(request, done, self._clock(), timeout_seconds)
        self._start(parcel)
        return parcel

    def withdraw(self, parcel: Parcel, place: int | None = None, *, asks_again: bool = False) -> None:
        """Nobody waits for the answers any more, or for that of one place of several.

        Of a reserve that waits, no job should go to nobody. One that was leased meanwhile is given back,
        unless the same request may be asked again by another way, as a single shot always may: then whoever
        asks gets that very job.
        """
        if parcel.is_done:
            return
        if place is not None and parcel.size > 1:
            parcel.withdrawn.add(place)
            return
        parcel.is_done = True
        del self._parcels[parcel]
        asked = parcel.request
        asks_again = asks_again or (isinstance(asked, Submit) and asked.bundle.single_shot)
        if not asks_again:
            parcel.withdrawn.update(range(parcel.size))
        if not parcel.has_asked or not isinstance(parcel.request, Submit):
            return
        bundle = parcel.request.bundle
        slot, sequence, _ = next(iter(bundle.each()))
        self._desk.forget((bundle.client_id, slot, sequence))
        if parcel.call is None:
            return
        if asks_again or bundle.client_id is None or self._tasks is None:
            parcel.call.cancel()
        if parcel.leader is not None and bundle.client_id is not None:
            request = ForgetWaiter(bundle.client_id, slot, sequence)
            self.spawn(self._forget_at(parcel.leader, request, parcel.call))

    def give_back(self, answer: Outcome, *, platform: bool) -> None:
        """A reserve was answered so, and nobody is there: its jobs are for others."""
        command = giving_back(answer, platform=platform)
        if command is not None:
            self.send(command, timeout_seconds=GIVE_BACK_SECONDS, done=_unheard)

    def _start(self, parcel: Parcel) -> None:
        self._parcels[parcel] = None
        if self._timer is None or self._timer_at > parcel.deadline:
            self._arm(parcel.deadline)
        self._dispatch(parcel)

    def _dispatch(self, parcel: Parcel) -> None:
        parcel.retry_at = None
        if self._log.is_leader:
            parcel.under_way = True
            self._desk.handle(self._request(parcel), partial(self._answered, parcel))
        elif self._log.leader_id is None or self._tasks is None:
            self._retry(parcel)
        else:
            parcel.under_way = True
            if not self._outbox:
                asyncio.get_running_loop().call_soon(self._flush)
            self._outbox.append(parcel)

    def _request(self, parcel: Parcel) -> LeaderRequest:
        """The request as it is asked now: with the rest of its wait, and whether it is a repetition."""
        request = parcel.request
        if not isinstance(request, Submit):
            return request
        waits: Sequence[int] = ()
        if parcel.has_asked:
            waits = (round(max(0.0, parcel.wait_until - self._clock()) * 1000),)
        return request._replace(waits=waits, repeated=request.repeated or parcel.maybe_done)

    def _flush(self) -> None:
        parcels = [parcel for parcel in self._outbox if not parcel.is_done]
        self._outbox.clear()
        leader = self._log.leader_id
        if leader is None or self._log.is_leader or self._tasks is None:
            for parcel in parcels:
                self._retry(parcel)
            return
        batch: list[Parcel] = []
        size_bytes = answer_bytes = 0
        for parcel in parcels:
            if parcel.has_asked:
                self._begin_call(leader, [parcel])  # its answer must not hold up others
                continue
            more_bytes, answer = _size_bytes(parcel.request), _most_answer_bytes(parcel.request)
            if batch and (
                len(batch) == MAX_BATCH
                or size_bytes + more_bytes > MAX_BATCH_BYTES
                or answer_bytes + answer > MOST_ASKED_BYTES
            ):
                self._begin_call(leader, batch)
                batch, size_bytes, answer_bytes = [], 0, 0
            batch.append(parcel)
            size_bytes, answer_bytes = size_bytes + more_bytes, answer_bytes + answer
        if batch:
            self._begin_call(leader, batch)

    def _begin_call(self, leader: PeerId, parcels: list[Parcel]) -> None:
        assert self._tasks is not None
        requests = [self._request(parcel) for parcel in parcels]
        task = self._tasks.create_task(self._ask(leader, parcels, requests))
        for parcel in parcels:
            parcel.leader = leader
            parcel.call = task

    async def _ask(self, leader: PeerId, parcels: list[Parcel], requests: list[LeaderRequest]) -> None:
        first = requests[0]  # who waits at the leader is asked for alone
        wait_ms = first.waits[0] if isinstance(first, Submit) and first.waits else 0
        timeout_seconds = wait_ms / 1000 + CALL_SECONDS
        outcomes: list[Outcomes]
        try:
            async with asyncio.timeout(timeout_seconds):
                frame = await self._call(leader, encode_requests(requests), timeout_seconds=timeout_seconds)
            index, outcomes = decode_answers(frame, sizes=[parcel.size for parcel in parcels])
            self.known_index = max(self.known_index, index)
        except TimeoutError:
            outcomes = [OutcomeUnknown()] * len(requests)
        except OSError as error:
            was_sent = error.errno not in NOT_SENT and not isinstance(error, ConnectionRefusedError)
            failure = OutcomeUnknown() if was_sent else NotLeader()
            outcomes = [failure] * len(requests)
        except QueueError:
            outcomes = [OutcomeUnknown()] * len(requests)  # an answer that cannot be read
        for parcel, outcome in zip(parcels, outcomes, strict=True):
            if parcel.call is asyncio.current_task():
                self._answered(parcel, outcome)

    def _answered(self, parcel: Parcel, outcome: Outcomes) -> None:
        parcel.under_way = False
        parcel.call = None
        if parcel.withdrawn and isinstance(parcel.request, Submit) and not isinstance(outcome, QueueError):
            outcome = self._without_unread(parcel.withdrawn, parcel.request, outcome)
        if parcel.is_done:
            return
        if not isinstance(outcome, QueueError):
            self._deliver(parcel, outcome)
            return
        match outcome:
            case OutcomeUnknown():
                parcel.maybe_done = True
                self._retry(parcel)
            case NotLeader():
                self._retry(parcel)
            case Busy():
                parcel.last_busy = outcome
                self._retry(parcel, after_seconds=outcome.retry_after_seconds)
            case _:
                self._finish(parcel, outcome)

    def _without_unread(
        self, places: set[int], request: Submit, outcomes: Sequence[Outcome]
    ) -> list[Outcome]:
        """Give back what reserves at these places took."""
        kept = list(outcomes)
        for place in places:
            command = request.bundle.commands[place]
            if takes_jobs(command):
                self.give_back(kept[place], platform=command.platform)
                kept[place] = NOTHING_READY
        return kept

    def _deliver(self, parcel: Parcel, answers: Sequence[Answer]) -> None:
        request = parcel.request
        found: list[Outcome | Parcel] = list(answers)
        if EXPIRED in found or REUSED in found:
            is_new = not (parcel.maybe_done or (isinstance(request, Submit) and request.repeated))
            found = [
                why_unanswered(answer, surely_not_done=is_new) if answer in NO_ANSWERS else answer
                for answer in found
            ]
        waiting: list[Parcel] = []
        if isinstance(request, Submit) and not parcel.has_asked:
            waiting = self._let_wait(parcel, request, found)
        self._conclude(parcel, found)
        for single in waiting:
            if not single.is_done:
                self._start(single)

    def _let_wait(self, parcel: Parcel, request: Submit, found: list["Outcome | Parcel"]) -> list[Parcel]:
        """Reserves that found nothing at once: each asks again by itself, and waits at the leader.

        Also for no time: only what is asked so is answered by a leader that is certain to be one.
        """
        waiting: list[Parcel] = []
        if not any(nothing in found for nothing in FOUND_NOTHING):
            return waiting  # nearly always, and looking at each in Python costs more than all of this
        now = self._clock()
        for place, answer in enumerate(found):
            if place in parcel.withdrawn or not found_nothing(answer):
                continue
            wait_ms = request.waits[place] if request.waits else 0
            until = parcel.sent_at + min(wait_ms / 1000, MAX_WAIT_SECONDS)
            alone = request if parcel.size == 1 else submit(request.bundle.only((place,)))
            single = Parcel(alone, parcel.done, now, parcel.timeout_seconds, place=parcel.place + place)
            single.has_asked = True
            single.wait_until = until
            single.deadline = until + parcel.timeout_seconds
            found[place] = single
            waiting.append(single)
        return waiting

    def _retry(self, parcel: Parcel, *, after_seconds: float | None = None) -> None:
        parcel.under_way = False
        if after_seconds is None:
            after_seconds = parcel.retry_seconds
            parcel.retry_seconds = min(2 * parcel.retry_seconds, LONGEST_RETRY_SECONDS)
        parcel.retry_at = self._clock() + after_seconds
        self._arm(parcel.retry_at)

    def _leadership_changed(self, is_leader: bool, term: int) -> None:
        """What waits for a leader need not wait longer."""
        if is_leader:
            for parcel in [parcel for parcel in self._parcels if parcel.retry_at is not None]:
                self._dispatch(parcel)

    def _finish(self, parcel: Parcel, error: QueueError) -> None:
        self._conclude(parcel, [error] * parcel.size)

    def _conclude(self, parcel: Parcel, outcomes: "Sequence[Outcome | Parcel]") -> None:
        parcel.is_done = True
        del self._parcels[parcel]
        parcel.call = None
        parcel.done(parcel.place, outcomes)

    async def _forget_at(self, leader: PeerId, request: ForgetWaiter, call: "asyncio.Task[None]") -> None:
        """Have the waiter leave the line, and hear of the job it was given just before."""
        with suppress(OSError, TimeoutError):  # then the reserve gives up at its own deadline
            async with asyncio.timeout(CALL_SECONDS):
                await self._call(leader, encode_requests([request]), timeout_seconds=CALL_SECONDS)
                await asyncio.wait([call])
        call.cancel()

    def _arm(self, at: float) -> None:
        """One timer for all: see to it that it fires by `at`."""
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        delay = max(0.001, at - self._clock())
        self._timer = asyncio.get_running_loop().call_later(delay, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        now = self._clock()
        for parcel in list(self._parcels):
            if now >= parcel.deadline:
                self._give_up(parcel, now)
            elif parcel.retry_at is not None and parcel.retry_at <= now:
                self._dispatch(parcel)
        next_at = [min(parcel.deadline, parcel.retry_at or parcel.deadline) for parcel in self._parcels]
        if next_at:
            self._arm(min(next_at))

    def _abandon_former_leader(self) -> None:
        for parcel in list(self._parcels):
            if parcel.call is not None and self._log.leader_id not in (None, parcel.leader):
                self._abandon(parcel)

    def _abandon(self, parcel: Parcel) -> None:
        """Another node leads now: whoever was asked may never answer."""
        call, parcel.call = parcel.call, None
        parcel.maybe_done = True
        if call is not None and parcel.has_asked:
            call.cancel()  # a batch goes on for the others; its answer is no longer read for this one
        self._dispatch(parcel)

    def _give_up(self, parcel: Parcel, now: float) -> None:
        if parcel.maybe_done or parcel.under_way:
            self._finish(parcel, OutcomeUnknown())
        elif parcel.last_busy is not None:
            self._finish(parcel, parcel.last_busy)
        else:
            self._finish(parcel, NoQuorum(waited_seconds=now - parcel.sent_at))


def _unheard(place: int, outcomes: "Sequence[Outcome | Parcel]") -> None:
    """If it was not done, the leases end by themselves."""


def _most_answer_bytes(request: LeaderRequest) -> int:
    return most_bytes(request.bundle.commands) if isinstance(request, Submit) else 0


def _size_bytes(request: LeaderRequest) -> int:
    return len(request.data) if isinstance(request, Submit) else 32
