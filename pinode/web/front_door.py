"""The listening socket of the web: HTTPS, and a 308 to it for whoever typed http://.

The first byte tells the two apart (22 begins every TLS connection and no HTTP request). It is looked at
without being taken, so that TLS starts on an untouched socket.
"""

import asyncio
import logging
import re
import socket
import ssl
from collections.abc import Callable

logger = logging.getLogger(__name__)

TLS_FIRST_BYTE = b"\x16"
FIRST_BYTE_SECONDS = 10.0
HANDSHAKE_SECONDS = 10.0
REDIRECT_SECONDS = 10.0
GREETED_AT_ONCE = 256  # connections that have not shown yet what they are
OPEN_AT_ONCE = 512  # TLS connections
SWEEP_SECONDS = 15.0  # only while connections are open
PLAIN_HEAD_BYTES = 8 * 1024
REQUEST_LINE = re.compile(rb"[A-Z]{1,10} (/[\x21-\x7e]{0,4000}) HTTP/1\.[01]\r?\n")
HOST = re.compile(rb"\r?\n[Hh][Oo][Ss][Tt]:[ \t]*([A-Za-z0-9.:\[\]-]{1,260})[ \t]*\r?\n")


class FrontDoor:
    """Accepts connections on `listener` and hands those that speak TLS to `serve`."""

    def __init__(
        self,
        listener: socket.socket,
        serve: Callable[[], asyncio.BaseProtocol],
        ssl_context: ssl.SSLContext,
    ) -> None:
        self._listener = listener
        self._serve = serve
        self._ssl_context = ssl_context
        self._greeted = 0
        self._open: set[asyncio.BaseTransport] = set()

    async def run(self) -> None:
        """Accept until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as greetings:
            while True:
                try:
                    connection, _ = await loop.sock_accept(self._listener)
                except OSError as error:  # out of file descriptors: those in use must end first
                    logger.warning("web cannot accept connections error=%s", error)
                    await asyncio.sleep(1)
                    continue
                if self._greeted >= GREETED_AT_ONCE or self._is_full():
                    connection.close()
                    continue
                greetings.create_task(self._greet(connection))

    def _is_full(self) -> bool:
        if len(self._open) + self._greeted >= OPEN_AT_ONCE:
            self._forget_closed()
        return len(self._open) + self._greeted >= OPEN_AT_ONCE

    def _remember(self, transport: asyncio.BaseTransport) -> None:
        if not self._open:
            asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)
        self._open.add(transport)

    def _sweep(self) -> None:
        """A closed connection still holds its TLS buffers as long as we know it."""
        self._forget_closed()
        if self._open:
            asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _forget_closed(self) -> None:
        self._open = {transport for transport in self._open if not transport.is_closing()}

    async def _greet(self, connection: socket.socket) -> None:
        self._greeted += 1
        loop = asyncio.get_running_loop()
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(FIRST_BYTE_SECONDS):
                await readable(connection)
            first = connection.recv(1, socket.MSG_PEEK)
            if first == TLS_FIRST_BYTE:
                transport, _ = await loop.connect_accepted_socket(
                    self._serve,
                    connection,
                    ssl=self._ssl_context,
                    ssl_handshake_timeout=HANDSHAKE_SECONDS,
                )
                self._remember(transport)
            elif first:
                port = connection.getsockname()[1]
                await loop.connect_accepted_socket(lambda: _Redirect(port), connection)
            else:
                connection.close()
        except (OSError, TimeoutError) as error:  # strangers who are no TLS client, or too slow, or gone
            logger.debug("web connection ended early error=%s", error)
            connection.close()
        finally:
            self._greeted -= 1


async def readable(*sockets: socket.socket) -> None:
    """Wait until one of these has something to be read, or a connection to be accepted."""
    loop = asyncio.get_running_loop()
    found = asyncio.Event()
    for one in sockets:
        loop.add_reader(one.fileno(), found.set)
    try:
        await found.wait()
    finally:
        for one in sockets:
            loop.remove_reader(one.fileno())


class _Redirect(asyncio.Protocol):
    """Answers one plain HTTP request with the way to HTTPS and closes."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._head = b""
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._deadline = asyncio.get_running_loop().call_later(REDIRECT_SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:
        self._head += data
        if self._transport is None or self._transport.is_closing():
            return
        if re.search(rb"\r?\n\r?\n", self._head) or len(self._head) > PLAIN_HEAD_BYTES:
            self._transport.write(redirect(self._head[:PLAIN_HEAD_BYTES], port=self._port))
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()


def redirect(head: bytes, *, port: int) -> bytes:
    """Return the answer to a plain HTTP request: 308 to the same place over HTTPS, 400 when it names none."""
    line, host = REQUEST_LINE.match(head), HOST.search(head)
    if line is None or host is None:
        body = b"This is an HTTPS port. Use https:// in the address.\n"
        start = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n"
    else:
        name = host[1].decode("ascii")
        named = name if re.search(r":\d+$", name) else f"{name}:{port}"
        body = b""
        start = b"HTTP/1.1 308 Permanent Redirect\r\nLocation: https://" + named.encode() + line[1] + b"\r\n"
    return start + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
