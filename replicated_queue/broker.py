"""The queue's door on every node: has requests done by the leader, answers other brokers."""

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol, assert_never

from replicated_queue.courier import Courier
from replicated_queue.errors import (
    Busy,
    InvalidRequest,
    MalformedMessage,
    NoQuorum,
    OutcomeUnknown,
    QueueError,
    SessionExpired,
    UnknownVersion,
)
from replicated_queue.interfaces import PeerId
from replicated_queue.leader_desk import LeaderDesk, read_commands
from replicated_queue.letter import Gathering, Letter, read
from replicated_queue.operations import QueueOperations
from replicated_queue.parcel import Done, Parcel
from replicated_queue.queue.codec import command_values, result_of
from replicated_queue.queue.commands import Command, Reserve, ReserveJob, Result
from replicated_queue.queue.job import Job
from replicated_queue.queue.limits import check_command
from replicated_queue.queue.priority_queue import PriorityQueue
from replicated_queue.queue.views import all_stats, page_of_jobs, peek_job, peek_topic, topic_stats
from replicated_queue.queue_state import QUEUE_DOMAIN
from replicated_queue.replicated_log import ReplicatedLog
from replicated_queue.request_codec import (
    Outcomes,
    decode_requests,
    encode_answers,
    encode_stats,
    encode_views,
    jobs_of,
    submit,
)
from replicated_queue.requests import (
    ConfirmLeader,
    ExtendLease,
    LeaderRequest,
    Question,
    ReadFirst,
    ReadJob,
    ReadJobs,
    ReadStats,
    Submit,
)
from replicated_queue.sessions import CLIENT_ID_BYTES, Answer, Bundle, SingleShot, single
from replicated_queue.slots import Slots

DEFAULT_TIMEOUT_SECONDS: Final = 10.0
CATCH_UP_SECONDS: Final = 1.0
Check = Callable[[bytes], object]  # raises QueueError for a command that this program could not apply


class CallPeer(Protocol):
    """`Transport.call` (see `interfaces.py`)."""

    async def call(self, peer: PeerId, frame: bytes, *, timeout_seconds: float) -> bytes: ...


class Broker(QueueOperations):
    """One a node. Its verbs act for members; `platform_queue` acts for pinode itself.

    `queue` is the queue inside the state machine that `log` applies to. `domains` says for each other domain
    of the log how to recognise a command that can be applied: what another node hands in is looked at before
    it enters.
    """

    def __init__(
        self,
        *,
        log: ReplicatedLog,
        queue: PriorityQueue,
        transport: CallPeer,
        domains: Mapping[str, Check] | None = None,
        client_id: bytes | None = None,
        clock: Callable[[], float] = time.monotonic,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        self._log = log
        self._queue = queue
        self._domains = dict(domains or {})
        self._client_id = client_id or secrets.token_bytes(CLIENT_ID_BYTES)
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._slots = Slots()
        self._desk = LeaderDesk(log=log, queue=queue, clock=clock)
        self._courier = Courier(log=log, desk=self._desk, call=transport.call, clock=clock)
        self._behind: list[tuple[int, asyncio.Future[None]]] = []  # who waits until this node is so far
        log.on_applied(self._applied)
        self.platform_queue: QueueOperations = _PlatformQueue(self)

    @property
    def applied_index(self) -> int:
        """How far this node is."""
        return self._log.applied_index

    async def run(self) -> None:
        """Run until cancelled; nothing reaches other nodes before."""
        try:
            await self._courier.run()
        finally:
            self._desk.close()

    async def submit(
        self,
        domain: str,
        command: Any,
        *,
        once: SingleShot | None = None,
        timeout_seconds: float | None = None,
    ) -> Answer:
        """Have the command applied once and return what its domain answered.

        `command` is its bytes; of the queue it is a `Command`, and the answer its values.

        With `once` it is done once for all who use that key and sequence, on any node, within a day; else it
        is a request of this process. When this returns, this node has applied it too (waiting a second at
        most), so that its own reads show it.
        Raises `NoQuorum` or `Busy` when nothing was done by the deadline, `OutcomeUnknown` when it may have
        been, `KeyReused`.
        """
        if once is not None:
            request = submit(_shot(domain, command, once))
            answer = await self.send(request, timeout_seconds=timeout_seconds)
        else:
            answer = await self._send_numbered(domain, command, timeout_seconds=timeout_seconds)
        await self.catch_up()
        return answer

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Let `work` run as a child of `run`."""
        self._courier.spawn(work)

    def send(
        self,
        request: LeaderRequest,
        *,
        timeout_seconds: float | None = None,
        unread: Callable[[Answer], None] | None = None,
    ) -> "asyncio.Future[Answer]":
        """Bring one request that is alone in its bundle to the leader. Cancel to withdraw it; `unread` is
        given the answer that has just come then.
        """
        seconds = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        letter = Letter(unread)
        parcel = self.begin(request, timeout_seconds=seconds, done=letter.done)
        letter.parcel = letter.parcel or parcel
        letter.answer.add_done_callback(lambda _: letter.withdraw(self._courier))
        return letter.answer

    def begin(self, request: LeaderRequest, *, timeout_seconds: float, done: Done) -> Parcel:
        """Bring the requests, whose commands are read, to the leader; `done` hears of it, perhaps at once."""
        return self._courier.send(request, timeout_seconds=timeout_seconds, done=done)

    def withdraw(self, parcel: Parcel, place: int | None = None, *, asks_again: bool = False) -> None:
        """Nobody waits for these outcomes any more, or for that of one of them; see `Courier.withdraw`."""
        self._courier.withdraw(parcel, place, asks_again=asks_again)

    async def answer(self, frame: bytes) -> bytes:
        """Answer a call of another node's broker. Cancel it when the caller is gone."""
        try:
            requests = decode_requests(frame)
        except (MalformedMessage, UnknownVersion) as error:
            return encode_answers(self.applied_index, [error])
        gathering = Gathering(len(requests))
        try:
            for place, request in enumerate(requests):
                self._handle(request, partial(gathering.put, place))
            outcomes = await gathering.outcomes  # first: what they were answered from counts
            return encode_answers(self.applied_index, outcomes)
        finally:
            if not gathering.outcomes.done() or gathering.outcomes.cancelled():
                self._forget(requests)

    async def be_current(self) -> bool:
        """Wait until this node shows all that any node has answered by now (ReadIndex), a second at most.

        False when nobody answered who leads: then it shows what it knew, as a minority does.
        """
        if not self._log.has_quorum:
            return False
        try:
            await self.send(ConfirmLeader(), timeout_seconds=CATCH_UP_SECONDS)
        except (NoQuorum, OutcomeUnknown, Busy):
            return False
        await self.catch_up()
        return True

    async def read_current(self, question: Question) -> bytes:
        """Answer from what this node has applied, once that is current; see `be_current`. Raises refusals."""
        await self.be_current()
        return self.read(question)

    def read(self, question: Question) -> bytes:
        """Answer from what this node has applied. Raises refusals."""
        now = self._log.now_ms
        match question:
            case ReadStats():
                topic = question.topic
                if topic is None:
                    return encode_stats(all_stats(self._queue, now=now, platform=question.platform))
                stats = topic_stats(self._queue, topic, now=now, platform=question.platform)
                return encode_stats({topic: stats})
            case ReadJob():
                job_id, platform = question.job_id, question.platform
                return encode_views([peek_job(self._queue, job_id, now=now, platform=platform)])
            case ReadFirst():
                topic, platform = question.topic, question.platform
                return encode_views(
                    peek_topic(self._queue, topic, question.state, now=now, platform=platform)
                )
            case ReadJobs():
                views = page_of_jobs(
                    self._queue,
                    question.topic,
                    state=question.state,
                    after=question.after,
                    limit=question.limit,
                    now=now,
                    platform=question.platform,
                )
                return encode_views(views)
            case _:
                assert_never(question)

    def _handle(self, request: LeaderRequest, reply: Callable[[Outcomes], None]) -> None:
        try:
            checked = self._checked(request) if isinstance(request, Submit) else request
        except QueueError as error:
            reply(error)
        else:
            self._desk.handle(checked, reply)

    def _checked(self, request: Submit) -> Submit:
        """What no replica could apply must not enter the log, for it would stop them all."""
        bundle = request.bundle
        if bundle.domain == QUEUE_DOMAIN:
            return request._replace(bundle=read_commands(bundle))
        check = self._domains.get(bundle.domain)
        if check is None:
            raise InvalidRequest(f"the leader knows no domain {bundle.domain!r}; it may be an older version.")
        if bundle.size != 1:
            raise InvalidRequest(f"a request of {bundle.domain!r} is alone in its entry.")
        for _, _, command in bundle.each():
            check(command)
        return request

    def _forget(self, requests: list[LeaderRequest]) -> None:
        for request in requests:
            if isinstance(request, Submit) and request.waits:
                for slot, sequence, _ in request.bundle.each():
                    self._desk.forget((request.bundle.client_id, slot, sequence))

    async def _send_numbered(
        self,
        domain: str,
        command: Any,
        *,
        waits: Sequence[int] = (),
        timeout_seconds: float | None = None,
        unread: Callable[[Answer], None] | None = None,
    ) -> Answer:
        lingers = any(waits)
        until = self._clock() + max(waits, default=0) / 1000
        while True:
            slot, sequence = await self._slot(until if lingers else None, timeout_seconds)
            if lingers:
                waits = [max(1, min(wait_ms, round((until - self._clock()) * 1000))) for wait_ms in waits]
            try:
                since = max(self._log.applied_index, self._courier.known_index)
                bundle = _bundle(domain, command, self._client_id, slot=slot, sequence=sequence, since=since)
                request = submit(bundle, waits=waits)
                return await read(self.send(request, timeout_seconds=timeout_seconds, unread=unread), unread)
            except SessionExpired as expired:
                # Our session was forgotten while we were silent, and we are behind: its answer told how far.
                if not expired.surely_not_done:
                    raise
            finally:
                self._slots.give_back(slot, lingers=lingers)

    async def _slot(self, until: float | None, timeout_seconds: float | None) -> tuple[int, int]:
        """Raises `Busy` when none is free in time: nothing was asked then. Who lingers does so `until`."""
        if until is not None:
            seconds = until - self._clock()
        else:
            seconds = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        taken = self._slots.take_free(lingers=until is not None)
        if taken is not None:
            return taken
        try:
            async with asyncio.timeout(seconds):
                return await self._slots.take(lingers=until is not None)
        except TimeoutError:
            raise Busy() from None

    async def catch_up(self, *, timeout_seconds: float = CATCH_UP_SECONDS) -> bool:
        """Wait until this node has applied what the leader had when it last answered; whether it has."""
        index = self._courier.known_index
        if self._log.applied_index >= index:
            return True
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._behind.append((index, reached))
        await asyncio.wait([reached], timeout=timeout_seconds)
        self._behind = [waiting for waiting in self._behind if waiting[1] is not reached]
        return reached.done()

    def _applied(self, index: int) -> None:
        for wanted, reached in self._behind:
            if wanted <= index and not reached.done():
                reached.set_result(None)

    async def reserve_once(
        self, command: Reserve | ReserveJob, once: SingleShot, *, wait: float, repeated: bool
    ) -> list[Job]:
        """As other reserves. `repeated`: it is known to be in the log, so that it is answered from there."""
        check_command(command)
        waits = (round(max(0.0, wait) * 1000),)
        request = submit(_shot(QUEUE_DOMAIN, command, once), waits=waits, repeated=repeated)
        return jobs_of(await self.send(request))

    async def _command(self, command: Command) -> Result:
        check_command(command)
        return result_of(await self.submit(QUEUE_DOMAIN, command))

    async def _reserve(self, command: Reserve | ReserveJob, *, wait: float) -> list[Job]:
        check_command(command)
        waits = (round(max(0.0, wait) * 1000),)
        unread = partial(self._courier.give_back, platform=command.platform)
        return jobs_of(await self._send_numbered(QUEUE_DOMAIN, command, waits=waits, unread=unread))

    async def _extend(self, request: ExtendLease) -> None:
        result_of(await self.send(request))

    async def _read(self, question: Question) -> bytes:
        return await self.read_current(question)


class _PlatformQueue(QueueOperations):
    """The same verbs for pinode itself: topics that begin with `pinode.` exist."""

    platform = True

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def _command(self, command: Command) -> Result:
        return await self._broker._command(command)

    async def _reserve(self, command: Reserve | ReserveJob, *, wait: float) -> list[Job]:
        return await self._broker._reserve(command, wait=wait)

    async def _extend(self, request: ExtendLease) -> None:
        await self._broker._extend(request)

    async def _read(self, question: Question) -> bytes:
        return await self._broker.read_current(question)


def _bundle(domain: str, command: Any, client_id: bytes, **numbers: Any) -> Bundle:
    """A bundle of one, its command read."""
    values = command_values(command) if domain == QUEUE_DOMAIN else command
    return single(domain, values, client_id, **numbers)._replace(commands=(command,))


def _shot(domain: str, command: Any, once: SingleShot) -> Bundle:
    numbers = {"sequence": once.sequence, "since": once.fingerprint}
    return _bundle(domain, command, once.client_id, single_shot=True, **numbers)
