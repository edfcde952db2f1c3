"""Links to the other nodes: frames, calls and streams over mutual TLS, each kind on connections of its own."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Literal

from pinode.settings import Address

if TYPE_CHECKING:
    import asyncio
    import ssl

    from pinode.peers.identity import Identity

Lane = Literal["votes", "appends"]
FrameHandler = Callable[[str, bytes], None]
ResetHandler = Callable[[str], None]
CallHandler = Callable[[str, bytes], Awaitable[bytes]]
StreamHandler = Callable[[str, bytes], AsyncIterator[bytes]]


class PeerLinks:
    """All links of this node. Peers are named by node id; only `allowed` ones are listened to."""

    def __init__(
        self,
        identity: "Identity",
        *,
        listen: Address,
        cluster_id: Callable[[], bytes],  # b"" until founded
        allowed: Callable[[str], bool],
        address_of: Callable[[str], tuple[str, int] | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._identity = identity

    async def run(self) -> None:
        """Listen and dial until cancelled."""

    def send(self, node_id: str, lane: Lane, frame: bytes) -> None:
        """Queue one frame and return at once; it may be lost, never reordered within its lane."""

    def on_frame(self, handler: FrameHandler) -> None:
        """Have `handler(peer, frame)` called for each frame sent to us."""

    def on_reset(self, handler: ResetHandler) -> None:
        """Have `handler(peer)` called when a link was reset, closed or refused: the peer's process is gone."""

    def on_queue_client(self, factory: "Callable[[], asyncio.Protocol]", context: "ssl.SSLContext") -> None:
        """Serve queue clients (ALPN `pinode-queue/1`) by protocols of `factory`, with `context`'s certificate."""

    def serve(self, method: str, handler: CallHandler, *, open_to_holders: bool = False) -> None:
        """Answer `method` by `handler(peer, payload)`.

        Members alone may call it, unless it is open to all holders of the cluster key (founding).
        """

    def serve_stream(self, method: str, handler: StreamHandler) -> None:
        """Answer `method` by a stream of chunks; the handler is paused while the peer does not keep up."""

    async def call(self, node_id: str, method: str, payload: bytes, *, timeout_seconds: float) -> bytes:
        """Ask a member. Raises `PeerUnreachable`, `PeerRefused` or `TimeoutError`."""
        return b""

    async def stream(
        self, node_id: str, method: str, payload: bytes, *, timeout_seconds: float
    ) -> AsyncIterator[bytes]:
        """Ask a member for chunks; `timeout_seconds` bounds the wait for each. Raises as `call` does."""
        yield b""

    async def exchange(
        self, host: str, port: int, method: str, payload: bytes, *, timeout_seconds: float
    ) -> bytes:
        """Ask whichever holder of the cluster key answers at an address. Raises as `call` does."""
        return b""
