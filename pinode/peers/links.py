"""Links to the other nodes: frames, calls and streams over mutual TLS, each kind on its own connections."""

import asyncio
import contextlib
import logging
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Literal

from pinode.peers.answers import Answers, CallHandler, StreamHandler
from pinode.peers.certificates import peer_in
from pinode.peers.connection import FrameConnection, notice_dead_peers, yield_to_others
from pinode.peers.errors import MalformedFrame, PeerUnreachable
from pinode.peers.frames import VERSION, Hello, Refusal
from pinode.peers.identity import Identity, node_key
from pinode.peers.join_door import JoinDoor, Judge
from pinode.peers.key_door import KeyDoor, KeysAnswer, KeysJudge, ask_for_keys
from pinode.peers.lanes import LaneLink
from pinode.peers.listener import Listener, QueueDoor
from pinode.peers.questions import IDLE_SECONDS, CallLink, stream
from pinode.peers.standing import Standing
from pinode.peers.tls import (
    JOIN_PROTOCOL,
    KEYS_PROTOCOL,
    PEER_NAME,
    PEER_PROTOCOL,
    peer_client_context,
    peer_server_context,
)
from pinode.settings import Address

logger = logging.getLogger(__name__)

Lane = Literal["votes", "appends"]
FrameHandler = Callable[[str, bytes], None]
ResetHandler = Callable[[str], None]
LANES = ("votes", "appends")  # a peer keeps these while it lives
PASSING = ("calls", "exchange", "bulk")  # these end with what they carry, `calls` a while after
DIAL_SECONDS = 3.0
MAX_CONNECTIONS_PER_PEER = 128


class PeerLinks:
    """All links of this node. Peers are named by node id; only members by its `standing` are listened to."""

    def __init__(
        self,
        identity: Identity,
        *,
        listen: Address,
        standing: Standing,
        address_of: Callable[[str], tuple[str, int] | None],
        clock: Callable[[], float] = time.monotonic,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        """`idle_seconds`: how long a connection for calls is kept without one."""
        self._identity = identity
        self._standing = standing
        self._address_of = address_of
        self._clock = clock
        self._idle_seconds = idle_seconds
        self._client_context = peer_client_context(identity.files)
        self._listener = Listener(listen, self._server_context(), self._welcome)
        self._local_address = None if listen.host in ("0.0.0.0", "::") else (listen.host, 0)
        self._answers = Answers()
        self._frame_handler: FrameHandler | None = None
        self._reset_handler: ResetHandler | None = None
        self._lanes: dict[tuple[str, str], LaneLink] = {}
        self._calls: dict[str, CallLink] = {}
        self._incoming: Counter[str] = Counter()
        self._connections: set[FrameConnection] = set()
        self._callers: dict[FrameConnection, str] = {}
        self._tasks: asyncio.TaskGroup | None = None
        identity.secrets.on_change(self._renew)

    @property
    def bound(self) -> Address | None:
        """Where it listens, once it does."""
        return self._listener.bound

    async def run(self) -> None:
        """Listen and dial until cancelled. Raises `Conflict` when the address is taken."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await self._listener.run()
            finally:  # nothing more comes in before the tasks below are ended
                self._tasks = None
                for connection in list(self._connections):
                    connection.close()

    def send(self, node_id: str, lane: Lane, frame: bytes) -> None:
        """Queue one frame and return at once; it may be lost, never reordered within its lane."""
        if self._tasks is None:
            return
        link = self._lanes.get((node_id, lane))
        if link is None:
            link = self._lanes[node_id, lane] = LaneLink(
                lambda: self._dial_member(node_id, lane),
                peer=node_id,
                lane=lane,
                on_reset=self._was_reset,
                on_refused=self._standing.hear_refusal,
                clock=self._clock,
            )
        link.send(frame, self._tasks)

    def on_frame(self, handler: FrameHandler) -> None:
        """Have `handler(peer, frame)` called for each frame sent to us."""
        self._frame_handler = handler

    def on_reset(self, handler: ResetHandler) -> None:
        """Have `handler(peer)` called when a link of `LANES` was reset, closed or refused: it is gone."""
        self._reset_handler = handler

    def on_queue_client(self, factory: QueueDoor, context: ssl.SSLContext) -> None:
        """Serve queue clients by protocols of `factory`, under `context` (of `WebCredentials`)."""
        self._listener.on_queue_client(factory, context)

    def on_joiner(self, judge: Judge) -> None:
        """Have `judge(request)` decide who may join by a token."""
        door = JoinDoor(lambda: self._identity.secrets.authority_pem, judge)

        def welcome(connection: FrameConnection, on_judged: Callable[[], None]) -> None:
            if self._tasks is None:
                connection.abort()
                return
            self._track(connection)
            door.welcome(connection, self._tasks, on_judged)

        self._listener.on_joiner(welcome)

    def on_keyless(self, judge: KeysJudge) -> None:
        """Have `judge(node id, marks)` decide which cluster keys a node is given that proved who it is."""
        door = KeyDoor(self._identity.node_id, judge)

        def welcome(connection: FrameConnection, on_judged: Callable[[], None]) -> None:
            self._track(connection)
            door.welcome(connection, on_judged)

        self._listener.on_keyless(welcome)

    async def ask_for_keys(
        self, node_id: str | None, address: Address, marks: tuple[str, ...], generation: int
    ) -> KeysAnswer:
        """Ask a member (None: whoever is there) for other cluster keys. Raises as `key_door` does."""
        key = await asyncio.to_thread(node_key, self._identity.files)
        return await ask_for_keys(
            address, key, marks, generation, expected=node_id, local_address=self._local_address
        )

    def _renew(self) -> None:
        """Other cluster keys are held: they count for connections from now on. Those that are open stay."""
        self._client_context = peer_client_context(self._identity.files)
        self._listener.use(self._server_context())

    def _server_context(self) -> ssl.SSLContext:
        protocols = (PEER_PROTOCOL, JOIN_PROTOCOL, KEYS_PROTOCOL)
        return peer_server_context(self._identity.files, *protocols, certificate_required=False)

    def cut_off(self, is_stranger: Callable[[str], bool]) -> None:
        """Close what strangers hold open: who was let in by a key that opens nothing any more."""
        for connection, peer in list(self._callers.items()):
            if is_stranger(peer):
                logger.info("peer cut off peer=%s reason=the cluster key was rotated", peer)
                connection.close()

    def cut_off_removed(self) -> None:
        """Tell nodes that were removed so, on what they still hold open, and close it."""
        for connection, peer in list(self._callers.items()):
            if (removed := self._standing.why_removed(peer)) is not None:
                logger.info("peer cut off peer=%s reason=%s", peer, removed.message)
                connection.write(removed)
                connection.close()

    def serve(self, method: str, handler: CallHandler, *, open_to_holders: bool = False) -> None:
        """Answer `method` by `handler(peer, payload)`.

        Members alone may call it, unless it is open to all holders of the cluster key (founding).
        """
        self._answers.serve(method, handler, open_to_holders=open_to_holders)

    def serve_stream(self, method: str, handler: StreamHandler) -> None:
        """Answer `method` by a stream of chunks; the handler is paused while the peer does not keep up."""
        self._answers.serve_stream(method, handler)

    async def call(self, node_id: str, method: str, payload: bytes, *, timeout_seconds: float) -> bytes:
        """Ask a member, or this node itself. Raises `PeerUnreachable`, `PeerRefused` or `TimeoutError`."""
        if node_id == self._identity.node_id:
            async with asyncio.timeout(timeout_seconds):
                return await self._answers.answer(node_id, method, payload, is_member=True)
        link = self._calls.get(node_id)
        if link is None:
            link = CallLink(
                lambda: self._dial_member(node_id, "calls"),
                f"node {node_id}",
                on_refused=self._standing.hear_refusal,
                idle_seconds=self._idle_seconds,
            )
            self._calls[node_id] = link
        return await link.call(method, payload, timeout_seconds=timeout_seconds)

    async def stream(
        self, node_id: str, method: str, payload: bytes, *, timeout_seconds: float
    ) -> AsyncIterator[bytes]:
        """Ask a member for chunks; `timeout_seconds` bounds the wait for each. Raises as `call` does."""
        if node_id == self._identity.node_id:
            chunks = self._answers.chunks(node_id, method, payload)
        else:
            connection = await self._dial_member(node_id, "bulk")
            chunks = stream(
                connection, method, payload, peer=f"node {node_id}", timeout_seconds=timeout_seconds
            )
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                yield chunk

    async def exchange(
        self, host: str, port: int, method: str, payload: bytes, *, timeout_seconds: float
    ) -> bytes:
        """Ask whichever holder of the cluster key answers at an address. Raises as `call` does."""
        link = CallLink(
            lambda: self._dial(host, port, "exchange", expected=None),
            f"{host}:{port}",
            on_refused=self._standing.hear_refusal,
        )
        try:
            return await link.call(method, payload, timeout_seconds=timeout_seconds)
        finally:
            link.close()

    async def _dial_member(self, node_id: str, lane: str) -> FrameConnection:
        address = self._address_of(node_id)
        if address is None:
            raise PeerUnreachable(f"no address of node {node_id} is known", was_asked=False)
        return await self._dial(*address, lane, expected=node_id)

    async def _dial(self, host: str, port: int, lane: str, *, expected: str | None) -> FrameConnection:
        connection = FrameConnection(_unexpected)
        where = f"{expected or 'a node'} at {host}:{port}"
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                await asyncio.get_running_loop().create_connection(
                    lambda: connection,
                    host,
                    port,
                    ssl=self._client_context,
                    server_hostname=PEER_NAME,
                    local_addr=self._local_address,
                    ssl_handshake_timeout=DIAL_SECONDS,
                )
            found = peer_in(connection.peer_certificate() or b"")
        except (OSError, MalformedFrame) as error:
            connection.abort()
            refused = isinstance(error, ConnectionRefusedError | ConnectionResetError)
            raise PeerUnreachable(
                f"{where} was not reached: {error}", was_refused=refused, was_asked=False
            ) from error
        if expected not in (None, found):
            connection.abort()
            raise PeerUnreachable(f"{where} was not reached: node {found} answers there", was_asked=False)
        notice_dead_peers(connection.transport.get_extra_info("socket"))
        if lane == "bulk":
            yield_to_others(connection.transport.get_extra_info("socket"))
        self._track(connection)
        connection.write(self._standing.hello(lane))
        return connection

    def _track(self, connection: FrameConnection) -> None:
        self._connections.add(connection)
        connection.on_closed(lambda was_reset: self._connections.discard(connection))

    def _welcome(self, peer: str, hello: Hello, connection: FrameConnection) -> None:
        """Take in a connection of a holder of the cluster key, or say why not."""
        is_member = self._standing.is_member(peer, hello)
        refusal = self._why_not(peer, hello, is_member)
        if refusal is not None or self._tasks is None:
            logger.info("peer refused peer=%s lane=%s reason=%s", peer, hello.lane, refusal)
            connection.write(refusal or Refusal("stopping", "this node is stopping"))
            connection.close()
            return
        if is_member:
            self._standing.take(peer, hello)
        self._track(connection)
        self._incoming[peer] += 1
        self._callers[connection] = peer
        connection.on_closed(lambda was_reset: self._left(connection, hello.lane, was_reset))
        if hello.lane in LANES:
            connection.receive_with(lambda frame: self._received(peer, frame))
            self._heard(peer)
        elif hello.lane == "bulk":
            yield_to_others(connection.transport.get_extra_info("socket"))
            self._answers.attach_stream(connection, peer, self._tasks)
        else:
            self._answers.attach_calls(connection, peer, self._tasks, is_member=is_member)

    def _why_not(self, peer: str, hello: Hello, is_member: bool) -> Refusal | None:
        if hello.version != VERSION:
            return Refusal("newer_version", f"links of version {hello.version} are not spoken here")
        if hello.lane not in (*LANES, *PASSING):
            return Refusal("unknown_lane", "no such lane")
        if (outdated := self._standing.why_outdated(peer, hello)) is not None:
            return outdated
        if not is_member and hello.lane != "exchange":
            return self._standing.why_not_member(peer, hello)
        if self._incoming[peer] >= MAX_CONNECTIONS_PER_PEER:
            return Refusal("busy", "too many connections")
        return None

    def _heard(self, peer: str) -> None:
        for lane in LANES:
            if (peer, lane) in self._lanes:
                self._lanes[peer, lane].retry_now()

    def _received(self, peer: str, frame: bytes) -> None:
        if self._frame_handler is not None:
            self._frame_handler(peer, frame)

    def _left(self, connection: FrameConnection, lane: str, was_reset: bool) -> None:
        peer = self._callers.pop(connection)
        self._incoming[peer] -= 1
        if was_reset and lane in LANES:
            self._was_reset(peer)

    def _was_reset(self, peer: str) -> None:
        if self._tasks is not None and self._reset_handler is not None:
            self._reset_handler(peer)


def _unexpected(frame: bytes) -> None:
    raise MalformedFrame("an answer before a question")
