"""One-way links of consensus: frames to one peer on one lane, dropped when there is no way."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from pinode.peers.connection import FrameConnection
from pinode.peers.errors import MalformedFrame, PeerUnreachable
from pinode.peers.frames import Refusal, decode

logger = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS = 0.05
LAST_BACKOFF_SECONDS = 1.0
MAX_BUFFERED_BYTES = 4 * 1024 * 1024  # to a peer that does not keep up; what is sent beyond is lost
MAX_WAITING_BYTES = 256 * 1024  # while dialling


class LaneLink:
    """Sends frames in order; dials when there is something to send, but not before its back-off ends."""

    def __init__(
        self,
        dial: Callable[[], Awaitable[FrameConnection]],
        *,
        peer: str,
        lane: str,
        on_reset: Callable[[str], None],
        on_refused: Callable[[str, Refusal], None],
        clock: Callable[[], float],
    ) -> None:
        self._dial = dial
        self._peer = peer
        self._lane = lane
        self._on_reset = on_reset
        self._on_refused = on_refused
        self._clock = clock
        self._connection: FrameConnection | None = None
        self._is_dialling = False
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._backoff_seconds = FIRST_BACKOFF_SECONDS
        self._not_before = 0.0

    def send(self, frame: bytes, tasks: asyncio.TaskGroup) -> None:
        """Send, or keep while dialling, or drop."""
        if self._connection is not None and self._connection.is_open:
            if self._connection.buffered_bytes < MAX_BUFFERED_BYTES:
                # What one turn says is joined already: to wait for its end would only cost another.
                self._connection.write_frame(frame, at_once=True)
        elif self._is_dialling:
            self._keep(frame)
        elif self._clock() >= self._not_before:
            self._keep(frame)
            self._is_dialling = True
            tasks.create_task(self._connect(), name=f"dial {self._peer} {self._lane}")

    def retry_now(self) -> None:
        """Forget the back-off: the peer was heard."""
        self._backoff_seconds = FIRST_BACKOFF_SECONDS
        self._not_before = 0.0

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()

    def _keep(self, frame: bytes) -> None:
        if self._waiting_bytes + len(frame) <= MAX_WAITING_BYTES:
            self._waiting.append(frame)
            self._waiting_bytes += len(frame)

    async def _connect(self) -> None:
        try:
            connection = await self._dial()
        except PeerUnreachable as error:
            self._back_off()
            logger.debug("peer not reached peer=%s lane=%s error=%s", self._peer, self._lane, error)
            if error.was_refused:
                self._on_reset(self._peer)
            return
        finally:
            self._is_dialling = False
            kept = list(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
        self._connection = connection
        connection.receive_with(self._receive)
        connection.on_closed(self._closed)
        for frame in kept:
            connection.write_frame(frame)

    def _receive(self, frame: bytes) -> None:
        refusal = decode(frame)
        if not isinstance(refusal, Refusal):
            raise MalformedFrame("an answer on a one-way lane")
        logger.info("peer refuses link peer=%s lane=%s reason=%s", self._peer, self._lane, refusal.message)
        self._not_before = self._clock() + LAST_BACKOFF_SECONDS
        self.close()
        self._on_refused(f"node {self._peer}", refusal)

    def _closed(self, was_reset: bool) -> None:
        self._connection = None
        if was_reset:
            self._back_off()
            self._on_reset(self._peer)

    def _back_off(self) -> None:
        self._not_before = self._clock() + self._backoff_seconds
        self._backoff_seconds = min(2 * self._backoff_seconds, LAST_BACKOFF_SECONDS)
