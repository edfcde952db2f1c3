"""The queue's door on every node: has requests done by the leader, answers other brokers."""

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from hashlib import blake2b
from typing import Final, Protocol, assert_never

from replicated_queue.courier import Courier, Parcel
from replicated_queue.errors import (
    InvalidRequest,
    MalformedMessage,
    QueueError,
    SessionExpired,
    UnknownVersion,
)
from replicated_queue.interfaces import PeerId
from replicated_queue.leader_desk import LeaderDesk, ReplicatedLog
from replicated_queue.operations import QueueOperations
from replicated_queue.queue.codec import decode_command, decode_result, encode_command
from replicated_queue.queue.commands import Command, Reserve, ReserveJob, Result
from replicated_queue.queue.job import Job
from replicated_queue.queue.limits import check_command
from replicated_queue.queue.priority_queue import PriorityQueue
from replicated_queue.queue.views import all_stats, page_of_jobs, peek_job, peek_topic, topic_stats
from replicated_queue.queue_state import QUEUE_DOMAIN
from replicated_queue.request_codec import (
    Outcome,
    decode_envelope,
    decode_jobs,
    decode_requests,
    encode_envelope,
    encode_outcomes,
    encode_stats,
    encode_views,
)
from replicated_queue.requests import (
    ExtendLease,
    LeaderRequest,
    Question,
    ReadFirst,
    ReadJob,
    ReadJobs,
    ReadStats,
    ReserveJobs,
    Submit,
)
from replicated_queue.sessions import CLIENT_ID_BYTES, Envelope
from replicated_queue.slots import Slots

DEFAULT_TIMEOUT_SECONDS: Final = 10.0
CATCH_UP_SECONDS: Final = 1.0
Check = Callable[[bytes], object]  # raises QueueError for a command that this program could not apply


class CallPeer(Protocol):
    """`Transport.call` (see `interfaces.py`)."""

    async def call(self, peer: PeerId, frame: bytes, *, timeout_seconds: float) -> bytes: ...


class Broker(QueueOperations):
    """One a node. Its verbs act for members; `platform_queue` acts for pinode itself.

    `queue` is the queue inside the state machine that `log` applies to. `domains` says for each domain of the
    log how to recognise a command that can be applied: what another node hands in is looked at before it
    enters.
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
        self._domains: dict[str, Check] = {QUEUE_DOMAIN: decode_command, **(domains or {})}
        self._client_id = client_id or secrets.token_bytes(CLIENT_ID_BYTES)
        self._timeout_seconds = timeout_seconds
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
        command: bytes,
        *,
        client_id: bytes | None = None,
        sequence: int = 1,
        timeout_seconds: float | None = None,
    ) -> bytes:
        """Have the command applied once and return what its domain answered.

        Without `client_id` it is a request of this process. With one (an idempotency key, or its hash) it is
        done once for all who use that id and sequence, on any node, within a day. When this returns, this
        node has applied it too (waiting a second at most), so that its own reads show it.
        Raises `NoQuorum` or `Busy` when nothing was done by the deadline, `OutcomeUnknown` when it may have
        been.
        """
        if client_id is not None:
            key = blake2b(client_id, digest_size=CLIENT_ID_BYTES).digest()
            envelope = Envelope(domain, command, key, sequence=sequence, single_shot=True)
            answer = await self.send(Submit(encode_envelope(envelope)), timeout_seconds=timeout_seconds)
        else:
            answer = await self._send_numbered(domain, command, Submit, timeout_seconds=timeout_seconds)
        await self.catch_up()
        return answer

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Let `work` run as a child of `run`."""
        self._courier.spawn(work)

    def send(
        self, request: LeaderRequest, *, timeout_seconds: float | None = None
    ) -> "asyncio.Future[bytes]":
        """Bring a request whose entry is already in its envelope to the leader. Cancel to withdraw it."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        seconds = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        parcel = self.begin(request, timeout_seconds=seconds, done=partial(_settle, answer))
        answer.add_done_callback(lambda _: self.withdraw(parcel))
        return answer

    def begin(
        self, request: LeaderRequest, *, timeout_seconds: float, done: Callable[[Outcome], None]
    ) -> Parcel:
        """Bring the request to the leader and call `done` with its outcome, perhaps at once."""
        return self._courier.send(request, timeout_seconds=timeout_seconds, done=done)

    def withdraw(self, parcel: Parcel) -> None:
        """Nobody waits for this outcome any more."""
        self._courier.withdraw(parcel)

    async def answer(self, frame: bytes) -> bytes:
        """Answer a call of another node's broker. Cancel it when the caller is gone."""
        try:
            requests = decode_requests(frame)
        except (MalformedMessage, UnknownVersion) as error:
            return encode_outcomes(self.applied_index, [error])
        gathering = _Gathering(len(requests))
        try:
            for place, request in enumerate(requests):
                self._handle(request, partial(gathering.put, place))
            outcomes = await gathering.outcomes
            return encode_outcomes(self.applied_index, outcomes)
        finally:
            if not gathering.outcomes.done() or gathering.outcomes.cancelled():
                self._forget(requests)

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

    def _handle(self, request: LeaderRequest, reply: Callable[[Outcome], None]) -> None:
        try:
            if isinstance(request, Submit | ReserveJobs):
                self._check_entry(request.envelope)
        except QueueError as error:
            reply(error)
        else:
            self._desk.handle(request, reply)

    def _check_entry(self, entry: bytes) -> None:
        """What no replica could apply must not enter the log, for it would stop them all."""
        envelope = decode_envelope(entry)
        check = self._domains.get(envelope.domain)
        if check is None:
            raise InvalidRequest(
                f"the leader knows no domain {envelope.domain!r}; it may be an older version."
            )
        check(envelope.command)

    def _forget(self, requests: list[LeaderRequest]) -> None:
        for request in requests:
            if isinstance(request, ReserveJobs):
                envelope = decode_envelope(request.envelope)
                self._desk.forget((envelope.client_id, envelope.slot, envelope.sequence))

    async def _send_numbered(
        self,
        domain: str,
        command: bytes,
        request: Callable[[bytes], LeaderRequest],
        *,
        timeout_seconds: float | None = None,
    ) -> bytes:
        while True:
            slot, sequence = await self._slots.take()
            try:
                since = max(self._log.applied_index, self._courier.known_index)
                envelope = Envelope(domain, command, self._client_id, slot, sequence, since)
                return await self.send(request(encode_envelope(envelope)), timeout_seconds=timeout_seconds)
            except SessionExpired as expired:
                # Our session was forgotten while we were silent, and we are behind: its answer told how far.
                if not expired.surely_not_done:
                    raise
            finally:
                self._slots.give_back(slot)

    async def catch_up(self) -> None:
        """Wait until this node has applied what the leader had when it last answered, a second at most."""
        index = self._courier.known_index
        if self._log.applied_index >= index:
            return
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._behind.append((index, reached))
        await asyncio.wait([reached], timeout=CATCH_UP_SECONDS)
        self._behind = [waiting for waiting in self._behind if waiting[1] is not reached]

    def _applied(self, index: int) -> None:
        for wanted, reached in self._behind:
            if wanted <= index and not reached.done():
                reached.set_result(None)

    async def _command(self, command: Command) -> Result:
        check_command(command)
        return decode_result(await self.submit(QUEUE_DOMAIN, encode_command(command)))

    async def _reserve(self, command: Reserve | ReserveJob, *, wait: float) -> list[Job]:
        check_command(command)
        request = partial(ReserveJobs, wait_ms=round(max(0.0, wait) * 1000))
        return decode_jobs(await self._send_numbered(QUEUE_DOMAIN, encode_command(command), request))

    async def _extend(self, request: ExtendLease) -> None:
        decode_result(await self.send(request))

    async def _read(self, question: Question) -> bytes:
        return self.read(question)


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
        return self._broker.read(question)


def _settle(answer: "asyncio.Future[bytes]", outcome: Outcome) -> None:
    if answer.done():
        return
    if isinstance(outcome, QueueError):
        answer.set_exception(outcome)
        answer.exception()  # who asked may be gone: an error nobody reads is no news
    else:
        answer.set_result(outcome)


class _Gathering:
    """Outcomes of one frame, as they come in."""

    def __init__(self, count: int) -> None:
        self.outcomes: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self._found: list[Outcome | None] = [None] * count
        self._missing = count
        if count == 0:
            self.outcomes.set_result([])

    def put(self, place: int, outcome: Outcome) -> None:
        self._found[place] = outcome
        self._missing -= 1
        if not self._missing and not self.outcomes.done():
            self.outcomes.set_result([found for found in self._found if found is not None])
