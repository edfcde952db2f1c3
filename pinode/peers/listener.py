"""The peer port: lets in peers that prove who they are, queue clients, who wants to join, or lacks a key.

Strangers cost little, are bounded in number and time, and change nothing.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from pinode.errors import PinodeError
from pinode.peers.certificates import QUEUE_NAME, peer_in
from pinode.peers.connection import FrameConnection, notice_dead_peers
from pinode.peers.errors import MalformedFrame
from pinode.peers.frames import Hello, decode
from pinode.peers.tls import JOIN_PROTOCOL, KEYS_PROTOCOL, PEER_PROTOCOL, QUEUE_PROTOCOL
from pinode.settings import Address

logger = logging.getLogger(__name__)

PROOF_SECONDS = 5.0  # from the first packet to the first frame
MAX_UNPROVEN = 64  # connections that have not proved themselves yet
MAX_UNPROVEN_PER_SOURCE = 16
ACCEPT_AGAIN_SECONDS = 0.2  # when the system has no more file descriptors
BACKLOG = 128


class QueueDoor(Protocol):
    """Makes the protocol that serves one queue client."""

    def __call__(self, *, on_judged: Callable[[], None]) -> asyncio.Protocol:
        """`on_judged` is to be called when the client has proved who it is, or is gone."""
        ...


StrangerHandler = Callable[[FrameConnection, Callable[[], None]], None]


class Listener:
    """Accepts connections; `on_peer(node id, hello, connection)` gets those of holders of the cluster key."""

    def __init__(
        self,
        listen: Address,
        context: ssl.SSLContext,
        on_peer: Callable[[str, Hello, FrameConnection], None],
    ) -> None:
        self._listen = listen
        self._on_peer = on_peer
        self._unproven: Counter[str] = Counter()
        self._queue_context: ssl.SSLContext | None = None
        self._queue_client: QueueDoor | None = None
        self._strangers: dict[str, StrangerHandler] = {}
        self.bound: Address | None = None
        self.use(context)

    def use(self, context: ssl.SSLContext) -> None:
        """Show this to who dials from now on, and believe whom it believes."""
        context.sni_callback = self._choose_certificate
        self._context = context

    def on_queue_client(self, factory: QueueDoor, context: ssl.SSLContext) -> None:
        """Hand queue clients to protocols of `factory`; they see the certificate of `context`.

        Until the protocol says that the client is known, or gone, it counts as a stranger.
        """
        self._queue_client, self._queue_context = factory, context

    def on_joiner(self, handler: StrangerHandler) -> None:
        """Hand connections of those who want to join to `handler(connection, on_judged)`."""
        self._strangers[JOIN_PROTOCOL] = handler

    def on_keyless(self, handler: StrangerHandler) -> None:
        """Hand connections of nodes that want cluster keys to `handler(connection, on_judged)`."""
        self._strangers[KEYS_PROTOCOL] = handler

    async def run(self) -> None:
        """Accept until cancelled."""
        loop = asyncio.get_running_loop()
        with contextlib.closing(self._bind()) as door:
            async with asyncio.TaskGroup() as guests:
                while True:
                    try:
                        connection, source = await loop.sock_accept(door)
                    except OSError as error:
                        logger.warning("peer port cannot accept error=%s", error)
                        await asyncio.sleep(ACCEPT_AGAIN_SECONDS)
                        continue
                    if self._may_enter(source[0]):
                        guests.create_task(self._admit(connection, source[0]))
                    else:
                        connection.close()

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._listen.host else socket.AF_INET
        door = socket.socket(family, socket.SOCK_STREAM)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # `::` takes IPv4 too
        door.setblocking(False)
        try:
            door.bind((self._listen.host, self._listen.port))
        except OSError as error:
            door.close()
            # Not a Conflict: an address that is not there yet, after a boot, may be there at the next try.
            raise PinodeError(
                f"cannot listen on {self._listen} for peers: {error.strerror}",
                hint="Is another node running here? Else set [listen] peer to a free port.",
            ) from error
        door.listen(BACKLOG)
        self.bound = Address(self._listen.host, door.getsockname()[1])
        return door

    def _may_enter(self, source: str) -> bool:
        return self._unproven[source] < MAX_UNPROVEN_PER_SOURCE and self._unproven.total() < MAX_UNPROVEN

    async def _admit(self, accepted: socket.socket, source: str) -> None:
        """Give one connection its few seconds to prove whose it is."""
        self._unproven[source] += 1
        loop = asyncio.get_running_loop()
        proven: asyncio.Future[None] = loop.create_future()
        connection = FrameConnection(_too_early, on_open=lambda opened: self._identify(opened, proven))
        connection.on_closed(lambda was_reset: _settle(proven))
        try:
            notice_dead_peers(accepted)
            async with asyncio.timeout(PROOF_SECONDS):
                await loop.connect_accepted_socket(
                    lambda: connection, accepted, ssl=self._context, ssl_handshake_timeout=PROOF_SECONDS
                )
                await proven
        except OSError as error:  # among them: no TLS, a foreign certificate, too slow
            logger.debug("stranger on the peer port source=%s error=%s", source, error)
            connection.abort()
            accepted.close()
        finally:
            self._unproven[source] -= 1
            if not self._unproven[source]:
                del self._unproven[source]

    def _identify(self, connection: FrameConnection, proven: "asyncio.Future[None]") -> None:
        protocol, certificate = connection.protocol_chosen(), connection.peer_certificate()
        if protocol == QUEUE_PROTOCOL and self._queue_client is not None:
            self._hand_on(connection, self._queue_client(on_judged=lambda: _settle(proven)))
            return
        if protocol in self._strangers:
            self._strangers[protocol](connection, lambda: _settle(proven))
            return
        try:
            if protocol != PEER_PROTOCOL or certificate is None:
                raise MalformedFrame("neither a peer nor a queue client")
            peer = peer_in(certificate)
        except MalformedFrame as error:
            logger.debug("stranger on the peer port error=%s", error)
            connection.abort()
            return
        connection.receive_with(lambda frame: self._greet(connection, peer, frame, proven))

    def _hand_on(self, connection: FrameConnection, client: asyncio.Protocol) -> None:
        connection.transport.set_protocol(client)
        client.connection_made(connection.transport)

    def _greet(
        self, connection: FrameConnection, peer: str, frame: bytes, proven: "asyncio.Future[None]"
    ) -> None:
        hello = decode(frame)
        if not isinstance(hello, Hello):
            raise MalformedFrame("the first frame is no hello")
        connection.receive_with(_too_early)
        self._on_peer(peer, hello, connection)
        _settle(proven)

    def _choose_certificate(self, secured: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        if name == QUEUE_NAME:
            if self._queue_context is None:
                return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
            secured.context = self._queue_context
        return None


def _settle(proven: "asyncio.Future[None]") -> None:
    if not proven.done():
        proven.set_result(None)


def _too_early(frame: bytes) -> None:
    raise MalformedFrame("a frame nobody waits for")
