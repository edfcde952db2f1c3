"""A connection to the router: reads one head after another and lends itself to an exchange for each."""

import asyncio
from typing import cast

from pinode.router.answers import bad_request, in_maintenance, text_answer, unknown_host
from pinode.router.door import Door
from pinode.router.exchange import Exchange
from pinode.router.forwarding import (
    APP_HEADER,
    PLACEMENT_HEADER,
    WAIT_HEADER,
    Origin,
    client_lines,
    header_of,
    router_lines,
)
from pinode.router.framing import MalformedBody
from pinode.router.http_head import HEAD_BYTES, BadMessage, RequestHead, parse_request
from pinode.router.proxy import Proxy

HEAD_END = b"\r\n\r\n"


class ClientConnection(asyncio.Protocol):
    """One request at a time; what arrives early waits here, and the client waits when it is too much."""

    def __init__(self, proxy: Proxy, door: Door) -> None:
        self.keep_alive = True
        self.awaits_go = False  # the router that asked will say when the request is to be handed on
        self.expires_at = 0.0
        self._proxy = proxy
        self._door = door
        self._transport: asyncio.Transport | None = None
        self._client = b""
        self._buffer = b""
        self._exchange: Exchange | None = None
        self._is_closing = False  # answered for good: what still comes is read and dropped
        self._is_paused = False
        self._is_half_closed = False

    # --- the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._client = str(peer[0]).encode() if peer else b"unknown"
        self.expires_at = self._proxy.now() + self._proxy.timings.head_seconds
        if not self._proxy.admit(self):
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._is_closing:
            return
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        elif self._exchange is None:
            self.expires_at = self._proxy.now() + self._proxy.timings.head_seconds
        self._take(data)

    def eof_received(self) -> bool:
        """A client may close its half and wait for the answer; over TLS it cannot."""
        self._is_half_closed = True
        self.keep_alive = False
        return self._exchange is not None and self._exchange.only_answers and not self._door.is_tls

    def connection_lost(self, error: Exception | None) -> None:
        self._proxy.forget(self)
        exchange, self._exchange = self._exchange, None
        self._is_closing = True
        if exchange is not None:
            exchange.client_lost()

    def pause_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.pause_answer()

    def resume_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.resume_answer()

    # --- what arrives

    def _take(self, data: bytes) -> None:
        while data and self._exchange is None and not self._is_closing:
            data = self._begin(data)
        if data and self._exchange is not None:
            data = self._pass(data)
        self._hold(data)

    def _begin(self, data: bytes) -> bytes:
        """Begin an exchange if the head is whole; what is left over is given back."""
        data = data.lstrip(b"\r\n") if data[:1] in b"\r\n" else data
        end = data.find(HEAD_END, 0, HEAD_BYTES) + len(HEAD_END)
        if end < len(HEAD_END):
            if len(data) >= HEAD_BYTES:
                self.refuse(431, bad_request("its head is too long"))
            elif b"\n" in data and data.count(b"\n") != data.count(b"\r\n"):
                self.refuse(400, bad_request("a line ends with a bare LF"))
            else:
                self._buffer = data
            return b""
        try:
            request = parse_request(data[:end])
            self._start(request)
        except BadMessage as error:
            self.refuse(error.status, bad_request(str(error)))
            return b""
        return data[end:]

    def _start(self, request: RequestHead) -> None:
        self.keep_alive = request.keep_alive and not self._is_half_closed
        self.expires_at = self._proxy.now() + self._proxy.timings.answer_seconds
        placement = None
        if self._door.is_for_routers:
            app, placement = _named_dyno(request)
            lines = router_lines(request)
            self.awaits_go = bool(header_of(request, WAIT_HEADER))
        else:
            found = self._proxy.routing.app_for(self._door, request.host)
            if found is None:
                self.refuse(
                    404, unknown_host(request.host.decode("latin-1")), is_head=request.method == b"HEAD"
                )
                return
            if self._proxy.routing.is_in_maintenance(found):
                self.refuse_with(in_maintenance(found, is_head=request.method == b"HEAD"))
                return
            app = found
            lines = client_lines(request, self._origin())
        exchange = Exchange(
            self._proxy.routing,
            self,
            request,
            lines,
            app=app,
            app_port=self._door.port if self._door.is_app_port else None,
            placement=placement,
        )
        self._exchange = exchange
        exchange.start()

    def _origin(self) -> Origin:
        return Origin(
            client=self._client,
            proto=b"https" if self._door.is_tls else b"http",
            port=str(self._door.port).encode(),
            request_id=self._proxy.next_request_id(),
        )

    def _pass(self, data: bytes) -> bytes:
        assert self._exchange is not None
        if self.awaits_go:
            # The first byte after the head is the word to go, not the body.
            self.awaits_go = False
            self._exchange.go()
            data = data[1:]
        if self._exchange is None or not data:
            return b""
        try:
            return self._exchange.body_received(data)
        except MalformedBody as error:
            exchange, self._exchange = self._exchange, None
            exchange.client_lost()
            self.refuse(400, bad_request(str(error)))
            return b""

    def _hold(self, data: bytes) -> None:
        """Keep what cannot be passed on yet; stop reading when it is much."""
        if data:
            self._buffer = data
            if len(data) > self._proxy.timings.buffer_bytes:
                self.pause_reading()

    # --- for the exchange

    def write(self, data: bytes) -> None:
        """Send to the client."""
        if self._transport is not None:
            self._transport.write(data)

    def body_wanted(self) -> None:
        """The exchange can take the body now: what was held is passed on."""
        self.resume_reading()
        if self._buffer and not self.awaits_go:
            data, self._buffer = self._buffer, b""
            self._hold(self._pass(data))

    def pause_reading(self) -> None:
        """The dyno does not keep up."""
        if self._transport is not None and not self._is_paused and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """The dyno keeps up again."""
        if self._transport is not None and self._is_paused and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()

    def answered(self, *, request_is_whole: bool) -> None:
        """The answer is out: wait for the next request, or close."""
        self._exchange = None
        self.awaits_go = False
        if not self.keep_alive or self._proxy.is_draining:
            self._linger(request_is_whole)
            return
        self.expires_at = self._proxy.now() + self._proxy.timings.idle_seconds
        self.resume_reading()
        if self._buffer:
            asyncio.get_running_loop().call_soon(self._continue)

    def _continue(self) -> None:
        """The next request of a client that did not wait for the answer to the last one."""
        if self._exchange is None and not self._is_closing:
            data, self._buffer = self._buffer, b""
            self._take(data)

    def refuse(self, status: int, text: str, *, is_head: bool = False) -> None:
        """Answer by ourselves, and close."""
        self.refuse_with(text_answer(status, text, is_head=is_head))

    def refuse_with(self, answer: bytes) -> None:
        """Send this whole answer, and close."""
        self._exchange = None
        self.write(answer)
        self._linger(request_is_whole=False)

    def _linger(self, request_is_whole: bool) -> None:
        """Close; first read on for a while if more may come, for a reset would take the answer with it."""
        self._is_closing = True
        self._buffer = b""
        if self._transport is None:
            return
        if request_is_whole or self._is_half_closed or not self._transport.can_write_eof():
            self._transport.close()
        else:
            self._transport.write_eof()
            self.resume_reading()
            self.expires_at = self._proxy.now() + self._proxy.timings.linger_seconds

    def close(self) -> None:
        """Send what was written, then close."""
        self._exchange = None
        self._is_closing = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close so that the client sees that something is missing."""
        self._exchange = None
        self._is_closing = True
        if self._transport is not None:
            self._transport.abort()

    def expired(self) -> None:
        """Called when `expires_at` is past."""
        if self._exchange is not None:
            self._exchange.expired()
        elif self._buffer and not self._is_closing:
            self.refuse(408, bad_request("it did not arrive in time"))
        else:
            self.close()

    def drain(self) -> None:
        """The router is to stop: close now unless a request is under way."""
        self.keep_alive = False
        if self._exchange is None:
            self.close()


def _named_dyno(request: RequestHead) -> tuple[str, int]:
    app, placement = header_of(request, APP_HEADER), header_of(request, PLACEMENT_HEADER)
    if not app or not placement.isdigit():
        raise BadMessage("a router's request names no dyno")
    return app.decode("latin-1"), int(placement)
