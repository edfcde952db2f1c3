"""One connection of a client to a node, and how it is made."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from replicated_queue.errors import MalformedMessage, QueueError
from replicated_queue.frames import FrameReader, FrameWriter
from replicated_queue.request_codec import Outcome, decode_response, decode_welcome

SERVER_NAME: Final = "queue.pinode"  # every node's certificate has it: clients need not know nodes by name
ALPN: Final = "pinode-queue/1"
DEFAULT_PORT: Final = 7300
CONNECT_SECONDS: Final = 5.0  # name, TCP, TLS and welcome together
SILENT_SECONDS: Final = 5  # until unanswered packets count as a lost connection
Answered = Callable[[int, int, list[Outcome]], None]  # number, applied index of the node, outcomes


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """Where a node listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "NodeAddress":
        """`host`, `host:port` or `[v6]:port`."""
        host, colon, port = text.rpartition(":")
        if not colon or "]" in port or (":" in host and not host.startswith("[")):
            host, port = text, ""
        if port and not port.isdigit():
            raise ValueError(f"{text!r} is no address of a node, for example 'pi1:{DEFAULT_PORT}'")
        return cls(host.strip("[]"), int(port) if port else DEFAULT_PORT)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ClientLink(asyncio.Protocol):
    """Says hello, then carries frames. `lost` is done when the connection is gone."""

    def __init__(self, *, hello: bytes, answered: Answered) -> None:
        loop = asyncio.get_running_loop()
        self.welcomed: asyncio.Future[int] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self._hello = hello
        self._answered = answered
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._writer: FrameWriter | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._writer = FrameWriter(self._transport)
        self._writer.write(self._hello)

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._reader.feed(data):
                if self.welcomed.done():
                    self._answered(*decode_response(frame))
                else:
                    self._take_welcome(frame)
        except MalformedMessage:
            self.close()  # no node speaks like this: try another

    def connection_lost(self, error: Exception | None) -> None:
        if not self.welcomed.done():
            self.welcomed.set_exception(error or ConnectionResetError("the node closed the connection"))
        if not self.lost.done():
            self.lost.set_result(None)

    def send(self, frame: bytes) -> None:
        """Write the frame at the end of this turn of the loop."""
        assert self._writer is not None
        self._writer.write(frame)

    def flush(self) -> None:
        """Write now what was to be written at the end of this turn."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Send what was written, then hang up."""
        if self._transport is not None and self._writer is not None:
            self._writer.flush()
            self._transport.close()

    def _take_welcome(self, frame: bytes) -> None:
        try:
            self.welcomed.set_result(decode_welcome(frame))
        except QueueError as refused:
            self.welcomed.set_exception(refused)


async def connect(
    where: NodeAddress | Path, *, hello: bytes, answered: Answered, context: ssl.SSLContext | None
) -> tuple[ClientLink, int]:
    """A link that was welcomed, and the node's applied index.

    Raises `OSError` or `TimeoutError` when there is no way, `QueueError` when the node refuses.
    """
    loop = asyncio.get_running_loop()
    link = ClientLink(hello=hello, answered=answered)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            if isinstance(where, Path):
                await loop.create_unix_connection(lambda: link, str(where))
            else:
                transport, _ = await loop.create_connection(
                    lambda: link, where.host, where.port, ssl=context, server_hostname=SERVER_NAME
                )
                _notice_silence(transport.get_extra_info("socket"))
            return link, await link.welcomed
    except BaseException:  # also when cancelled: nothing may stay open
        link.close()
        raise


def client_context(ca: str | Path | None) -> ssl.SSLContext:
    """TLS that trusts the cluster's CA alone (the system's, where none is named)."""
    context = ssl.create_default_context(cafile=str(ca) if ca is not None else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN])
    return context


def _notice_silence(connected: socket.socket) -> None:
    """A node whose network was pulled sends no reset: let the kernel find out, also while only waiting."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", SILENT_SECONDS),
        ("TCP_KEEPINTVL", SILENT_SECONDS),
        ("TCP_KEEPCNT", 2),
        ("TCP_USER_TIMEOUT", SILENT_SECONDS * 1000),
    ):
        if hasattr(socket, name):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
