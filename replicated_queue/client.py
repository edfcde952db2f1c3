"""A client of the queue for any asyncio program: finds a node that answers, has each request done once."""

import asyncio
import os
import secrets
import ssl
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from replicated_queue.client_link import ClientLink, NodeAddress, client_context, connect
from replicated_queue.client_requests import Pending, bundled, runs_of
from replicated_queue.errors import (
    Busy,
    ClientClosed,
    MalformedMessage,
    NodeUnreachable,
    NoQuorum,
    NotAuthorized,
    OutcomeUnknown,
    QueueError,
    SessionExpired,
)
from replicated_queue.operations import QueueOperations
from replicated_queue.queue.codec import command_values, error_of, is_refusal, result_of
from replicated_queue.queue.commands import Command, GiveBack, Reserve, ReserveJob, Result
from replicated_queue.queue.job import Job
from replicated_queue.queue.limits import check_command
from replicated_queue.request_codec import STILL_WAITS, Outcome, encode_ask, encode_hello, jobs_of
from replicated_queue.requests import ExtendLease, Hello, Question, Request, Withdraw
from replicated_queue.sessions import CLIENT_ID_BYTES, Answer
from replicated_queue.slots import Slots
from replicated_queue.unread_jobs import leases_in, takes_jobs

GRACE_SECONDS: Final = 1.0  # beyond the deadline, for the node's own answer that the deadline has come
FIRST_ROUND_SECONDS: Final = 0.05  # between two rounds over the nodes, doubled each time
LONGEST_ROUND_SECONDS: Final = 1.0
SOCKET_NAME: Final = "queue.sock"


class QueueClient(QueueOperations):
    """The queue, from outside: `async with QueueClient(["pi1:7300"], token=…, ca="ca.pem") as queue`.

    Holds one connection, to the first node that welcomes it, and finds another when that breaks. All requests
    share it, and those of one turn of the loop travel as one. Each is repeated under its number until it is
    answered or `timeout` seconds (beyond what a reserve waits) have passed.
    """

    def __init__(
        self,
        servers: Sequence[str],
        *,
        token: str = "",
        ca: str | Path | None = None,
        timeout: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not servers:
            raise ValueError("name at least one node, for example QueueClient(['pi1:7300'], ...)")
        self._places: list[NodeAddress | Path] = [NodeAddress.parse(server) for server in servers]
        self._token = token.encode()
        self._ca = ca
        self._timeout = timeout
        self._clock = clock
        self._context: ssl.SSLContext | None = None
        self._client_id = secrets.token_bytes(CLIENT_ID_BYTES)
        self._slots = Slots()
        self._last_number = 0
        self._pending: dict[int, Pending] = {}
        self._new: list[Pending] = []  # of this turn
        self._link: ClientLink | None = None
        self._needed = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # while the client is open
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._last_index = 0
        self._last_failure = ""

    @classmethod
    def local(cls, path: str | Path | None = None, *, timeout: float = 10.0) -> "QueueClient":
        """On a node: through its own socket (`path`, or a data directory that has it; else the usual one)."""
        place = Path(path) if path is not None else _usual_data_dir()
        client = cls(["localhost"], timeout=timeout)
        client._places = [place / SOCKET_NAME if place.is_dir() or path is None else place]
        client.platform = True
        return client

    async def __aenter__(self) -> Self:
        if self._context is None and not isinstance(self._places[0], Path):
            self._context = await asyncio.to_thread(client_context, self._ca)
        self._loop = asyncio.get_running_loop()
        self._keeper = asyncio.create_task(self._keep_connected(), name="queue client")
        self._needed.set()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        if self._link is not None:
            for pending in self._pending.values():
                if pending.is_sent and pending.takes_jobs:  # it is not asked again
                    self._link.send(encode_ask(pending.number, 0, Withdraw()))
            self._link.close()
            await asyncio.wait([self._link.lost], timeout=GRACE_SECONDS)
        self._loop = None
        for pending in (*self._pending.values(), *self._new):
            may_be_done = pending.is_sent or pending.is_repeated
            self._fail(pending, OutcomeUnknown() if may_be_done else ClientClosed())
        self._slots.close()

    async def _command(self, command: Command) -> Result:
        return result_of(await self._numbered(command))

    async def _reserve(self, command: Reserve | ReserveJob, *, wait: float) -> list[Job]:
        until = self._clock() + wait if wait > 0 else 0.0
        return jobs_of(await self._numbered(command, wait_until=until))

    async def _extend(self, request: ExtendLease) -> None:
        result_of(await self._unnumbered(request))

    async def _read(self, question: Question) -> bytes:
        answer: bytes = await self._unnumbered(question)
        return answer

    async def _numbered(self, command: Command, *, wait_until: float = 0.0) -> Answer:
        """Bring a command into the log under a number of our session."""
        check_command(command)
        values = command_values(command)
        while True:
            lingers = wait_until > 0
            slot, sequence = self._slots.take_free(lingers=lingers) or await self._slot(wait_until)
            try:
                pending = self._pend(wait_until, values, slot, sequence)
                pending.takes_jobs = takes_jobs(command)
                self._ask(pending)
                return await pending.future
            except _SessionRenewed:
                continue
            except asyncio.CancelledError:
                self._withdraw(pending)
                raise
            finally:
                self._slots.give_back(slot, lingers=lingers)

    async def _slot(self, wait_until: float) -> tuple[int, int]:
        """One that others give back. Raises `Busy` when that takes too long: nothing was asked then."""
        try:
            async with asyncio.timeout(max(0.0, wait_until - self._clock()) + self._timeout):
                return await self._slots.take(lingers=wait_until > 0)
        except TimeoutError:
            raise Busy() from None

    async def _unnumbered(self, request: Request) -> Answer:
        """Ask what may be done twice."""
        pending = self._pend(0.0)
        pending.request = request
        try:
            self._ask(pending)
            return await pending.future
        except asyncio.CancelledError:
            self._withdraw(pending)
            raise

    def _pend(
        self, wait_until: float, command: tuple[Any, ...] = (), slot: int = 0, sequence: int = 0
    ) -> Pending:
        if self._loop is None:
            raise RuntimeError("use the client inside `async with QueueClient(...) as queue:`")
        deadline = (wait_until or self._clock()) + self._timeout + GRACE_SECONDS
        pending = Pending(self._loop.create_future(), wait_until, deadline)
        pending.command, pending.slot, pending.sequence = command, slot, sequence
        return pending

    def _ask(self, pending: Pending) -> None:
        """Send it at the end of this turn or on the next link, until it is answered or its deadline came."""
        if not self._new:
            assert self._loop is not None
            self._loop.call_soon(self._send_new)
        self._new.append(pending)

    def _send_new(self) -> None:
        new = [pending for pending in self._new if not pending.future.done()]
        self._new = []
        for number, pending in enumerate(new, self._last_number + 1):
            pending.number = number
            pending.since = self._last_index
            self._pending[number] = pending
        self._last_number += len(new)
        if new:
            first = min([pending.deadline for pending in new])
            if self._timer is None or self._timer_at > first:
                self._arm(first)
            self._send(new)
            if self._link is not None:
                self._link.flush()  # this is the end of the turn already

    def _send(self, asked: list[Pending]) -> None:
        if self._link is None:
            self._needed.set()
            return
        for together in runs_of(asked):
            self._send_run(together, self._link)

    def _send_run(self, together: list[Pending], link: ClientLink) -> None:
        first, now = together[0], self._clock()
        seconds = max(pending.deadline - max(pending.wait_until, now) for pending in together)
        # The node counts a wait for itself, and the deadline beyond it.
        timeout_ms = max(1, round((seconds - GRACE_SECONDS) * 1000))
        try:
            request = first.request or bundled(together, client_id=self._client_id, now=now)
            frame = encode_ask(first.number, timeout_ms, request)
        except MalformedMessage as error:  # too much together, or one of them that cannot be said
            if len(together) == 1:
                self._fail(first, error)
                return
            middle = len(together) // 2
            self._send_run(together[:middle], link)
            self._send_run(together[middle:], link)
            return
        for pending in together:
            pending.is_sent = True
        link.send(frame)

    def _answered(self, number: int, applied_index: int, outcomes: list[Outcome]) -> None:
        """Outcomes of our requests from `number` on."""
        if applied_index > self._last_index:
            self._last_index = applied_index
        for outcome in outcomes:
            if outcome is not STILL_WAITS:
                pending = self._pending.pop(number, None)
                if pending is None or pending.future.done():
                    self._give_back(outcome)
                elif is_refusal(outcome):
                    self._refused(pending, error_of(outcome))
                else:
                    pending.future.set_result(outcome)
            number += 1

    def _refused(self, pending: Pending, error: QueueError) -> None:
        match error:
            case SessionExpired() if error.surely_not_done and not pending.is_repeated:
                # Asked once by us and by the node, and refused: it may be asked anew under a later index.
                self._fail(pending, _SessionRenewed())
            case NoQuorum() | Busy() if pending.is_repeated:
                # The node did nothing with it; the one that was asked before may have.
                self._fail(pending, OutcomeUnknown())
            case _:
                self._fail(pending, error)

    def _fail(self, pending: Pending, error: QueueError) -> None:
        self._pending.pop(pending.number, None)
        if not pending.future.done():
            pending.future.set_exception(error)

    def _withdraw(self, pending: Pending) -> None:
        """Nobody waits for it any more; what was not sent yet is not sent at all."""
        answer = pending.future
        if answer.done() and not answer.cancelled() and answer.exception() is None:
            self._give_back(answer.result())
        if self._pending.pop(pending.number, None) is not None and pending.is_sent and self._link is not None:
            self._link.send(encode_ask(pending.number, 0, Withdraw()))

    def _give_back(self, answer: Outcome) -> None:
        """Jobs that a reserve took, and nobody is there for them any more."""
        leases = leases_in(answer)
        taken = self._slots.take_free() if leases and self._loop is not None else None
        if taken is None:
            return  # nearly always for lack of jobs; for lack of a slot, the leases end by themselves
        pending = self._pend(0.0, command_values(GiveBack(leases, self.platform, unseen=True)), *taken)
        pending.future.add_done_callback(partial(self._gave_back, taken[0]))
        self._ask(pending)

    def _gave_back(self, slot: int, done: "asyncio.Future[Answer]") -> None:
        done.exception()
        self._slots.give_back(slot)

    async def _keep_connected(self) -> None:
        """Hold a connection while there is something to ask."""
        pause_seconds = FIRST_ROUND_SECONDS
        while True:
            await self._needed.wait()
            link = await self._round()
            if link is None:
                await asyncio.sleep(pause_seconds)
                pause_seconds = min(2 * pause_seconds, LONGEST_ROUND_SECONDS)
                continue
            pause_seconds = FIRST_ROUND_SECONDS
            self._needed.clear()
            self._link = link
            self._send(list(self._pending.values()))
            await asyncio.wait([link.lost])
            self._link = None
            self._link_lost()

    async def _round(self) -> ClientLink | None:
        """Try each node once; the one that answers is the first of the next round."""
        hello = encode_hello(Hello(self._token, self._client_id))
        refusals = 0
        for _ in range(len(self._places)):
            place = self._places[0]
            try:
                link, index = await connect(
                    place, hello=hello, answered=self._answered, context=self._context
                )
                self._last_index = max(self._last_index, index)
                return link
            except NotAuthorized:
                refusals += 1
            except (OSError, TimeoutError, QueueError, ValueError) as error:  # also no name of a host
                self._last_failure = f"{place}: {error or type(error).__name__}"
            self._places.append(self._places.pop(0))
        if refusals == len(self._places):
            for pending in list(self._pending.values()):
                self._fail(pending, NotAuthorized())
            self._needed.clear()  # not before something is asked again
        return None

    def _link_lost(self) -> None:
        for pending in self._pending.values():
            pending.is_repeated = pending.is_repeated or pending.is_sent
            pending.is_sent = False
        if self._pending:
            self._needed.set()

    def _arm(self, at: float) -> None:
        """One timer for all deadlines."""
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        delay = max(0.0, at - self._clock())
        self._timer = asyncio.get_running_loop().call_later(delay, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        now = self._clock()
        for pending in list(self._pending.values()):
            if pending.deadline <= now:
                self._give_up(pending)
        open_deadlines = [pending.deadline for pending in self._pending.values() if pending.deadline > now]
        if open_deadlines:
            self._arm(min(open_deadlines))

    def _give_up(self, pending: Pending) -> None:
        if pending.is_sent or pending.is_repeated:
            self._fail(pending, OutcomeUnknown())
        else:
            tried = [str(place) for place in self._places]
            self._fail(pending, NodeUnreachable(tried=tried, reason=self._last_failure))


class _SessionRenewed(QueueError):
    """Ask again: our session was forgotten while we were silent, and nothing was done."""


def _usual_data_dir() -> Path:
    return Path("/var/lib/pinode") if os.geteuid() == 0 else Path.home() / ".local" / "share" / "pinode"
