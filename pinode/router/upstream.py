"""A connection from the router to a dyno or to another node's router; it carries one request at a time."""

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol, cast

PoolKey = tuple[
    str, int, str
]  # host, port, and the node id that must be at the other end (empty: a dyno here)
USER_TIMEOUT_MS = 10_000  # sent and unacknowledged for so long: the other machine is gone


class Borrower(Protocol):
    """The request that a connection is lent to."""

    def answer_received(self, data: bytes) -> None: ...
    def upstream_lost(self, error: Exception | None) -> None: ...
    def pause_request(self) -> None: ...
    def resume_request(self) -> None: ...


class Upstream(asyncio.Protocol):
    """Hands what arrives to the exchange it is lent to."""

    def __init__(self, key: PoolKey, *, on_lost: Callable[["Upstream"], None]) -> None:
        self.key = key
        self.exchange: Borrower | None = None
        self.idle_since = 0.0
        self.is_lost = False
        self.was_used = False  # it carried a request before this one
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        if self.exchange is None:
            self.abort()  # nobody asked: what it says could be taken for the next answer
        else:
            self.exchange.answer_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        self._on_lost(self)
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.upstream_lost(error)

    def pause_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.pause_request()

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.resume_request()

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def pause_reading(self) -> None:
        if self._transport is not None and not self.is_lost:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self.is_lost:
            self._transport.resume_reading()

    def close(self) -> None:
        """Send what was written, then close."""
        self.exchange = None
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now, whatever is unsent."""
        self.exchange = None
        if self._transport is not None:
            self._transport.abort()

    def peer_name(self) -> str:
        """The common name the other end proved by its certificate."""
        certificate = self._transport.get_extra_info("peercert") if self._transport is not None else None
        subject = (certificate or {}).get("subject", ())
        return next((value for part in subject for key, value in part if key == "commonName"), "")
