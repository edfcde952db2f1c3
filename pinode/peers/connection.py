"""One connection that carries frames, either end of it."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import cast

from pinode.peers.errors import MalformedFrame
from pinode.peers.frames import FrameSplitter, Message, encode, framed

SILENCE_BEFORE_PROBE_SECONDS = 2
PROBE_INTERVAL_SECONDS = 1
UNACKNOWLEDGED_MILLISECONDS = 2500  # a peer that vanished without a word is given up after this
HIGH_WATER_BYTES = 512 * 1024
BACKGROUND = 8 << 2  # the code point CS1, as the byte of the header
JOINED_BYTES = 64 * 1024  # of one loop turn; more is written at once


class FrameConnection(asyncio.Protocol):
    """Frames over one TLS connection: writes of one loop turn are joined, a full pipe can be waited for."""

    def __init__(
        self,
        on_frame: Callable[[bytes], None],
        *,
        on_open: Callable[["FrameConnection"], None] | None = None,
    ) -> None:
        self._on_frame = on_frame
        self._on_open = on_open
        self._closed: list[Callable[[bool], None]] = []
        self._transport: asyncio.Transport | None = None
        self._splitter = FrameSplitter()
        self._unwritten: list[bytes] = []
        self._unwritten_bytes = 0
        self._drained: asyncio.Future[None] | None = None
        self._is_closing = False
        self._was_reset: bool | None = None  # None: it has not ended
        self.is_open = False

    def on_closed(self, handler: Callable[[bool], None]) -> None:
        """Have `handler(was_reset)` called once when it ends; reset: the other end closed it or is gone."""
        if self._was_reset is None:
            self._closed.append(handler)
        else:
            handler(self._was_reset)

    def receive_with(self, on_frame: Callable[[bytes], None]) -> None:
        """Hand the frames from now on to another reader."""
        self._on_frame = on_frame

    def limit_frames(self, most_bytes: int) -> None:
        """Read no larger frames than this; before any was read."""
        self._splitter = FrameSplitter(most_bytes)

    @property
    def transport(self) -> asyncio.Transport:
        """The transport below; only after it was made."""
        assert self._transport is not None
        return self._transport

    @property
    def buffered_bytes(self) -> int:
        """Bytes written but not yet taken by the kernel."""
        written = self._transport.get_write_buffer_size() if self._transport else 0
        return self._unwritten_bytes + written

    def write(self, message: Message) -> None:
        """Write one message; a closed connection swallows it."""
        self._write(encode(message))

    def write_frame(self, content: bytes, *, at_once: bool = False) -> None:
        """Write one opaque frame; a closed connection swallows it.

        Without `at_once` it goes with all that is written in this turn of the loop.
        """
        frame = framed(content)
        if at_once and self.is_open and not self._unwritten:
            self.transport.write(frame)
        else:
            self._write(frame)

    def _write(self, frame: bytes) -> None:
        if not self.is_open:
            return
        if not self._unwritten:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unwritten.append(frame)
        self._unwritten_bytes += len(frame)

    def _flush(self) -> None:
        if self._unwritten and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._unwritten))
        self._unwritten.clear()
        self._unwritten_bytes = 0

    async def drained(self) -> None:
        """Wait until the other end keeps up again."""
        if self._unwritten_bytes > JOINED_BYTES:
            self._flush()
        if self._drained is not None:
            await asyncio.shield(self._drained)

    def close(self) -> None:
        """Write what is left, then close."""
        self._is_closing = True
        if self._transport is not None:
            self._flush()
            self._transport.close()
        self.is_open = False

    def abort(self) -> None:
        """Close at once."""
        self._is_closing = True
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def peer_certificate(self) -> bytes | None:
        """What the other end proved itself with, as DER."""
        secured = cast(ssl.SSLObject | None, self.transport.get_extra_info("ssl_object"))
        return secured.getpeercert(binary_form=True) if secured else None

    def protocol_chosen(self) -> str | None:
        """The application protocol both ends agreed on (ALPN)."""
        secured = cast(ssl.SSLObject | None, self.transport.get_extra_info("ssl_object"))
        return secured.selected_alpn_protocol() if secured else None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self.is_open = True
        if self._on_open is not None:
            self._on_open(self)

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._splitter.feed(data):
                if not self._is_closing:
                    self._on_frame(frame)
        except MalformedFrame:
            self.abort()

    def pause_writing(self) -> None:
        if self._drained is None:
            self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._drained is not None:
            self._drained.set_result(None)
            self._drained = None

    def connection_lost(self, error: Exception | None) -> None:
        self._was_reset = was_reset = not self._is_closing and not _is_silence(error)
        self.is_open = False
        self._is_closing = True
        self.resume_writing()
        for handler in self._closed:
            handler(was_reset)
        self._closed.clear()


def _is_silence(error: Exception | None) -> bool:
    """Whether a connection ended because nothing came any more, which says little about the process there."""
    return not (
        error is None or isinstance(error, ConnectionError | ssl.SSLEOFError | ssl.SSLZeroReturnError)
    )


def yield_to_others(connection: socket.socket) -> None:
    """Have Wi-Fi, and routers that look at it, send what is on this connection after all else (RFC 8325)."""
    if connection.family == socket.AF_INET6:
        connection.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, BACKGROUND)
    else:
        connection.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, BACKGROUND)


def notice_dead_peers(connection: socket.socket) -> None:
    """Have the kernel end a connection whose other end vanished without a word."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENCE_BEFORE_PROBE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_INTERVAL_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MILLISECONDS)
