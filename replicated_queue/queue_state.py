"""The state machine of a queue that stands alone: sessions around a priority queue.

A program with more to agree on composes its own from the same parts: it hands `Sessions.apply` a `run` that
knows its other domains too.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from hashlib import blake2b
from typing import Final

from replicated_queue.errors import UnknownVersion
from replicated_queue.parts import Part, restoring, snapshot_of
from replicated_queue.queue.codec import apply_encoded
from replicated_queue.queue.priority_queue import PriorityQueue
from replicated_queue.request_codec import decode_envelope
from replicated_queue.sessions import Sessions

QUEUE_DOMAIN: Final = "queue"


class QueueStateMachine:
    """`StateMachine` of the log (see `interfaces.py`) for the domain "queue" alone."""

    def __init__(self, queue: PriorityQueue | None = None, sessions: Sessions | None = None) -> None:
        self.queue = queue if queue is not None else PriorityQueue()
        self.sessions = sessions if sessions is not None else Sessions()

    def apply(self, command: bytes, *, index: int, now: int) -> bytes:
        """Run one committed command; `sessions.open_answer` opens the answer."""

        def run(domain: str, encoded: bytes) -> bytes:
            if domain != QUEUE_DOMAIN:
                raise UnknownVersion(domain)
            return apply_encoded(self.queue, encoded, index=index, now=now)

        return self.sessions.apply(decode_envelope(command), index=index, now=now, run=run)

    def digest(self) -> bytes:
        return blake2b(self.sessions.digest() + self.queue.digest(), digest_size=16).digest()

    def snapshot(self) -> Iterator[bytes]:
        return snapshot_of(self._parts())

    def restore(self, chunks: Iterable[bytes]) -> Generator[None, None, Callable[[], None]]:
        return restoring(self._parts(), chunks)

    def _parts(self) -> dict[str, Part]:
        return {QUEUE_DOMAIN: self.queue, "sessions": self.sessions}
