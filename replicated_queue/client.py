"""A client of the queue for any asyncio program: finds a node that answers, has each request done once."""

import asyncio
import os
import secrets
import ssl
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from replicated_queue.client_link import ClientLink, NodeAddress, client_context, connect
from replicated_queue.errors import (
    NodeUnreachable,
    NoQuorum,
    NotAuthorized,
    OutcomeUnknown,
    QueueError,
    SessionExpired,
)
from replicated_queue.operations import QueueOperations
from replicated_queue.queue.codec import decode_result, encode_command
from replicated_queue.queue.commands import Command, Reserve, ReserveJob, Result
from replicated_queue.queue.job import Job
from replicated_queue.queue.limits import check_command
from replicated_queue.queue_state import QUEUE_DOMAIN
from replicated_queue.request_codec import Outcome, decode_jobs, encode_ask, encode_envelope, encode_hello
from replicated_queue.requests import (
    ExtendLease,
    Hello,
    Question,
    Request,
    ReserveJobs,
    Submit,
    Withdraw,
)
from replicated_queue.sessions import CLIENT_ID_BYTES, Envelope
from replicated_queue.slots import Slots

GRACE_SECONDS: Final = 1.0  # beyond the deadline, for the node's own answer that the deadline has come
FIRST_ROUND_SECONDS: Final = 0.05  # between two rounds over the nodes, doubled each time
LONGEST_ROUND_SECONDS: Final = 1.0
SOCKET_NAME: Final = "queue.sock"


class _Pending:
    """A request that has no answer yet: one that is the same each time it is sent, or an entry of the log."""

    __slots__ = (
        "command",
        "deadline",
        "future",
        "is_repeated",
        "is_reserve",
        "is_sent",
        "number",
        "request",
        "sequence",
        "since",
        "slot",
        "wait_until",
    )

    def __init__(
        self, number: int, future: "asyncio.Future[bytes]", wait_until: float, deadline: float
    ) -> None:
        self.number = number
        self.future = future
        self.wait_until = wait_until
        self.deadline = deadline
        self.request: Request | None = None
        self.command = b""  # of an entry, which goes under a number of our session
        self.slot = 0
        self.sequence = 0
        self.since = 0  # the newest index of the log that we knew before it was first sent
        self.is_reserve = False
        self.is_sent = False  # on the link that is up
        self.is_repeated = False  # was sent on a link that broke


class QueueClient(QueueOperations):
    """The queue, from outside: `async with QueueClient(["pi1:7300"], token=…, ca="ca.pem") as queue`.

    Holds one connection, to the first node that welcomes it, and finds another when that breaks. All requests
    share it; each is repeated under its number until it is answered or `timeout` seconds (beyond what a
    reserve waits) have passed.
    """

    def __init__(
        self,
        servers: Sequence[str],
        *,
        token: str = "",
        ca: str | Path | None = None,
        timeout: float = 10.0,
    ) -> None:
        if not servers:
            raise ValueError("name at least one node, for example QueueClient(['pi1:7300'], ...)")
        self._places: list[NodeAddress | Path] = [NodeAddress.parse(server) for server in servers]
        self._token = token.encode()
        self._ca = ca
        self._timeout = timeout
        self._context: ssl.SSLContext | None = None
        self._client_id = secrets.token_bytes(CLIENT_ID_BYTES)
        self._slots = Slots()
        self._numbers = count(1)
        self._pending: dict[int, _Pending] = {}
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
            self._link.close()
            await asyncio.wait([self._link.lost], timeout=GRACE_SECONDS)
        self._loop = None
        for pending in list(self._pending.values()):
            pending.future.cancel()

    async def _command(self, command: Command) -> Result:
        return decode_result(await self._numbered(command))

    async def _reserve(self, command: Reserve | ReserveJob, *, wait: float) -> list[Job]:
        return decode_jobs(await self._numbered(command, wait=max(0.0, wait), is_reserve=True))

    async def _extend(self, request: ExtendLease) -> None:
        decode_result(await self._unnumbered(request))

    async def _read(self, question: Question) -> bytes:
        return await self._unnumbered(question)

    async def _numbered(self, command: Command, *, wait: float = 0.0, is_reserve: bool = False) -> bytes:
        """Bring a command into the log under a number of our session."""
        check_command(command)
        encoded = encode_command(command)
        until = time.monotonic() + wait
        while True:
            slot, sequence = self._slots.take_free() or await self._slots.take()
            pending = self._pend(until)
            pending.command, pending.slot, pending.sequence = encoded, slot, sequence
            pending.is_reserve = is_reserve
            try:
                self._ask(pending)
                return await pending.future
            except _SessionRenewed:
                continue
            except asyncio.CancelledError:
                self._withdraw(pending)
                raise
            finally:
                self._slots.give_back(slot)

    async def _unnumbered(self, request: Request) -> bytes:
        """Ask what may be done twice."""
        pending = self._pend(time.monotonic())
        pending.request = request
        try:
            self._ask(pending)
            return await pending.future
        except asyncio.CancelledError:
            self._withdraw(pending)
            raise

    def _pend(self, wait_until: float) -> _Pending:
        if self._loop is None:
            raise RuntimeError("use the client inside `async with QueueClient(...) as queue:`")
        deadline = wait_until + self._timeout + GRACE_SECONDS
        return _Pending(next(self._numbers), self._loop.create_future(), wait_until, deadline)

    def _ask(self, pending: _Pending) -> None:
        """Send it now or on the next link, until it is answered or its deadline has come."""
        self._pending[pending.number] = pending
        if self._timer is None or self._timer_at > pending.deadline:
            self._arm(pending.deadline)
        if self._link is not None:
            self._send(pending, self._link)
        else:
            self._needed.set()

    def _send(self, pending: _Pending, link: ClientLink) -> None:
        if not pending.is_repeated:
            pending.since = self._last_index
        pending.is_sent = True
        now = time.monotonic()
        # The node counts a wait for itself, and the deadline beyond it.
        timeout_ms = round((pending.deadline - GRACE_SECONDS - max(now, pending.wait_until)) * 1000)
        try:
            link.send(encode_ask(pending.number, max(1, timeout_ms), self._request_of(pending, now)))
        except QueueError as error:
            self._fail(pending, error)

    def _request_of(self, pending: _Pending, now: float) -> Request:
        if pending.request is not None:
            return pending.request
        slot, sequence = pending.slot, pending.sequence
        entry = encode_envelope(
            Envelope(QUEUE_DOMAIN, pending.command, self._client_id, slot, sequence, pending.since)
        )
        if not pending.is_reserve:
            return Submit(entry)
        return ReserveJobs(entry, round(max(0.0, pending.wait_until - now) * 1000), pending.is_repeated)

    def _answered(self, number: int, applied_index: int, outcome: Outcome) -> None:
        if applied_index > self._last_index:
            self._last_index = applied_index
        pending = self._pending.get(number)
        if pending is None:
            return
        match outcome:
            case bytes():
                del self._pending[number]
                if not pending.future.done():
                    pending.future.set_result(outcome)
            case SessionExpired() if outcome.surely_not_done and not pending.is_repeated:
                # Asked once by us and by the node, and refused: it may be asked anew under a later index.
                self._fail(pending, _SessionRenewed())
            case NoQuorum() if pending.is_repeated:
                self._fail(pending, OutcomeUnknown())
            case _:
                self._fail(pending, outcome)

    def _fail(self, pending: _Pending, error: QueueError) -> None:
        self._pending.pop(pending.number, None)
        if not pending.future.done():
            pending.future.set_exception(error)

    def _withdraw(self, pending: _Pending) -> None:
        """Nobody waits for it any more."""
        if self._pending.pop(pending.number, None) is not None and pending.is_sent and self._link is not None:
            self._link.send(encode_ask(pending.number, 0, Withdraw()))

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
            for pending in list(self._pending.values()):
                self._send(pending, link)
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
        delay = max(0.0, at - time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        now = time.monotonic()
        for pending in list(self._pending.values()):
            if pending.deadline <= now:
                self._give_up(pending)
        open_deadlines = [pending.deadline for pending in self._pending.values() if pending.deadline > now]
        if open_deadlines:
            self._arm(min(open_deadlines))

    def _give_up(self, pending: _Pending) -> None:
        if pending.is_sent or pending.is_repeated:
            self._fail(pending, OutcomeUnknown())
        else:
            tried = [str(place) for place in self._places]
            self._fail(pending, NodeUnreachable(tried=tried, reason=self._last_failure))


class _SessionRenewed(QueueError):
    """Ask again: our session was forgotten while we were silent, and nothing was done."""


def _usual_data_dir() -> Path:
    return Path("/var/lib/pinode") if os.geteuid() == 0 else Path.home() / ".local" / "share" / "pinode"
