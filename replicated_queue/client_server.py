"""The side of a node that `QueueClient` talks to: frames of one client in, answers of its broker out."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, cast

from replicated_queue.answer_size import divided, told_together
from replicated_queue.broker import Broker
from replicated_queue.client_reads import PATIENCE_SECONDS, ClientReads
from replicated_queue.errors import (
    Busy,
    InvalidRequest,
    MalformedMessage,
    NotAuthorized,
    QueueError,
    ReservedTopic,
    UnknownVersion,
)
from replicated_queue.frames import FrameReader, FrameWriter
from replicated_queue.parcel import Parcel
from replicated_queue.queue.codec import command_of
from replicated_queue.queue.commands import Command, ExpireLease, PutMany
from replicated_queue.queue_state import QUEUE_DOMAIN
from replicated_queue.request_codec import (
    MAX_FRAME_BYTES,
    STILL_WAITS,
    Outcome,
    decode_ask,
    decode_hello,
    encode_response,
    encode_welcome,
    submit,
)
from replicated_queue.requests import (
    ConfirmLeader,
    ExtendLease,
    ForgetWaiter,
    Request,
    Submit,
    Withdraw,
)

HELLO_SECONDS: Final = 10.0
STRANGER_FRAME_BYTES: Final = 16 * 1024  # of who has not shown a token yet: room for one
MAX_TIMEOUT_SECONDS: Final = 600.0
MAX_UNDER_WAY: Final = 2_048  # requests of one client
Authenticate = Callable[[bytes], Awaitable[bool]]

logger = logging.getLogger(__name__)


def queue_protocol(
    broker: Broker,
    *,
    authenticate: Authenticate,
    platform: bool = False,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Callable[..., "ClientConnection"]:
    """A factory of protocols for a listener: one serves one connection of a client.

    `authenticate` judges the token of its first frame. `platform` opens topics that begin with `pinode.`, for
    the node's own socket. Who does not take its answers for `patience_seconds` is cut off. The factory takes
    `on_judged`, called when the client is known, or gone.
    """
    return partial(
        ClientConnection,
        broker,
        authenticate=authenticate,
        platform=platform,
        patience_seconds=patience_seconds,
    )


class ClientConnection(asyncio.Protocol):
    """One client: it says hello, then its requests run side by side. When it leaves, they are withdrawn."""

    def __init__(
        self,
        broker: Broker,
        *,
        authenticate: Authenticate,
        platform: bool,
        patience_seconds: float,
        on_judged: Callable[[], None] | None = None,
    ) -> None:
        self._broker = broker
        self._on_judged = on_judged
        self._authenticate = authenticate
        self._platform = platform
        self._frames = FrameReader(STRANGER_FRAME_BYTES)
        self._transport: asyncio.Transport | None = None
        self._writer: FrameWriter | None = None
        self._hello_timer: asyncio.TimerHandle | None = None
        self._client_id = b""
        self._is_welcome = False
        self._early: list[bytes] = []  # frames that came with the hello
        self._under_way: dict[int, Parcel] = {}  # by the number of their first request
        self._open = 0  # requests of all of them
        self._reads = ClientReads(broker, self._answer_read, self._cut, patience_seconds=patience_seconds)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._writer = FrameWriter(self._transport)
        self._hello_timer = asyncio.get_running_loop().call_later(HELLO_SECONDS, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        try:
            for frame in self._frames.feed(data):
                if self._is_welcome:
                    self._ask(frame)
                else:
                    self._early.append(frame)
            if not self._is_welcome and self._early and not self._client_id:
                self._greet()
        except (MalformedMessage, UnknownVersion) as error:
            logger.info("queue client cut reason=%s", error)
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        self._judged()
        self._reads.close()
        under_way = list(self._under_way.values())
        self._under_way.clear()
        for parcel in under_way:
            self._broker.withdraw(parcel, asks_again=True)  # perhaps, on another connection

    def pause_writing(self) -> None:
        self._reads.pause()

    def resume_writing(self) -> None:
        self._reads.resume()

    def _greet(self) -> None:
        """Judge the hello; nothing more is read until that is done."""
        assert self._transport is not None
        hello = decode_hello(self._early.pop(0))
        self._client_id = hello.client_id
        self._transport.pause_reading()
        self._broker.spawn(self._judge(hello.token))

    async def _judge(self, token: bytes) -> None:
        assert self._transport is not None and self._writer is not None and self._hello_timer is not None
        is_known = False
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                is_known = await self._authenticate(token)
        except (OSError, TimeoutError, QueueError) as error:
            logger.warning("queue client not judged error=%s", error)
        if self._transport.is_closing():
            return
        self._hello_timer.cancel()
        if not is_known:
            self._writer.write(encode_welcome(NotAuthorized()))
            self._writer.flush()
            self._transport.close()
            return
        self._is_welcome = True
        self._frames.most_bytes = MAX_FRAME_BYTES
        self._judged()
        self._writer.write(encode_welcome(self._broker.applied_index))
        self._transport.resume_reading()
        early, self._early = self._early, []
        try:
            for frame in early:
                self._ask(frame)
        except (MalformedMessage, UnknownVersion):
            self._transport.abort()

    def _judged(self) -> None:
        on_judged, self._on_judged = self._on_judged, None
        if on_judged is not None:
            on_judged()

    def _ask(self, frame: bytes) -> None:
        """Take what is asked; answers are written when they are there."""
        ask = decode_ask(frame)
        number, request = ask.number, ask.request
        if isinstance(request, Withdraw):
            self._withdraw(number)
            return
        size = request.bundle.size if isinstance(request, Submit) else 1
        try:
            timeout_seconds = min(max(ask.timeout_ms / 1000, 0.0), MAX_TIMEOUT_SECONDS)
            if number in self._under_way:
                raise InvalidRequest(f"request {number} is under way already.")
            if self._open + size > MAX_UNDER_WAY:
                raise Busy()
            self._take(number, request, timeout_seconds)
        except QueueError as error:
            self._answer(number, [error] * size)

    def _take(self, number: int, request: Request, timeout_seconds: float) -> None:
        match request:
            case Submit():
                self._submit(number, request, timeout_seconds)
            case ExtendLease():
                self._check_platform(request.platform)
                self._send(number, request, timeout_seconds)
            case ForgetWaiter() | Withdraw() | ConfirmLeader():
                raise InvalidRequest("a client withdraws its own requests only, by their number.")
            case _:
                self._check_platform(request.platform)
                self._reads.add(number, request)

    def _cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _answer_read(self, number: int, outcome: Outcome) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._answer(number, [outcome], at_once=True)  # so that `pause_writing` comes before the next

    def _submit(self, number: int, request: Submit, timeout_seconds: float) -> None:
        """A client writes its own entries, so nothing in them is believed."""
        bundle = request.bundle
        if bundle.client_id != self._client_id or bundle.single_shot or bundle.domain != QUEUE_DOMAIN:
            raise InvalidRequest("an entry of another session or domain than the client's own.")
        commands: list[Command] = []
        refused: dict[int, QueueError] = {}
        for place, values in enumerate(bundle.requests[2::3]):
            try:
                commands.append(self._permitted(command_of(values)))
            except QueueError as error:
                refused[place] = error
        if not refused:
            self._send_checked(number, request, commands, timeout_seconds)
            return
        # A program of a newer version may ask for one thing that is unknown here among others that are not.
        for place, refusal in refused.items():
            self._answer(number + place, [refusal])
        for place, command in zip(_without(bundle.size, refused), commands, strict=True):
            alone = bundle.only((place,))._replace(commands=[command])
            waits = (request.waits[place],) if request.waits else ()
            self._send(number + place, submit(alone, waits=waits, repeated=request.repeated), timeout_seconds)

    def _send_checked(
        self, number: int, request: Submit, commands: Sequence[Command], timeout_seconds: float
    ) -> None:
        checked = request.bundle._replace(commands=commands)
        parts = list(divided(commands))
        if len(parts) == 1:
            self._send(number, request._replace(bundle=checked), timeout_seconds)
            return
        for places in parts:
            waits = request.waits[places.start : places.stop]
            part = submit(checked.only(places), waits=waits, repeated=request.repeated)
            self._send(number + places.start, part, timeout_seconds)

    def _permitted(self, command: Command) -> Command:
        if isinstance(command, ExpireLease):
            raise InvalidRequest("a lease is not for its client to end.")
        if isinstance(command, PutMany):
            self._check_platform(any(put.platform for put in command.puts))
        elif command.platform:
            self._check_platform(command.platform)
        return command

    def _check_platform(self, asked: bool) -> None:
        if asked and not self._platform:
            raise ReservedTopic(topic="pinode.")

    def _send(self, number: int, request: Submit | ExtendLease, timeout_seconds: float) -> None:
        parcel = self._broker.begin(
            request, timeout_seconds=timeout_seconds, done=partial(self._done, number)
        )
        if not parcel.is_done:
            self._hold(number, parcel)

    def _hold(self, number: int, parcel: Parcel) -> None:
        self._under_way[number] = parcel
        self._open += parcel.size

    def _let_go(self, number: int) -> Parcel | None:
        parcel = self._under_way.pop(number, None)
        if parcel is not None:
            self._open -= parcel.size
        return parcel

    def _withdraw(self, number: int) -> None:
        parcel = self._under_way.get(number)
        if parcel is not None and parcel.size == 1:
            self._let_go(number)
            self._broker.withdraw(parcel)
            return
        for first, bundled in self._under_way.items():
            if first <= number < first + bundled.size:
                self._broker.withdraw(bundled, number - first)

    def _done(self, first: int, place: int, outcomes: "Sequence[Outcome | Parcel]") -> None:
        """Answers to a bundle that began with number `first`, from `place` on."""
        number = first + place
        self._let_go(number)  # not there when the answers came at once
        answers = list(outcomes)
        if Parcel in map(type, answers):  # seldom, and looking at each costs more than that
            for at, outcome in enumerate(outcomes):
                if isinstance(outcome, Parcel):
                    self._hold(number + at, outcome)
                    answers[at] = STILL_WAITS
        if answers != [STILL_WAITS]:
            # With the last that a client waits for it has all; to join it with more would only cost a turn.
            self._answer(number, cast(list[Outcome], answers), at_once=not self._under_way)

    def _answer(self, number: int, outcomes: Sequence[Outcome], *, at_once: bool = False) -> None:
        assert self._writer is not None
        for together in told_together(outcomes):
            response = encode_response(number, self._broker.applied_index, together)
            self._writer.write(response, at_once=at_once)
            number += len(together)


def _without(count: int, left_out: Mapping[int, object]) -> list[int]:
    return [place for place in range(count) if place not in left_out]
