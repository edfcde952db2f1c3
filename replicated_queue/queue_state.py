"""The state machine of a queue that stands alone: sessions around a priority queue.

A program with more to agree on composes its own from the same parts: it hands `Sessions.apply` a `run` that
knows its other domains too.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, Final

from replicated_queue.errors import UnknownVersion
from replicated_queue.parts import Part, restoring, snapshot_of, whole
from replicated_queue.queue.codec import Values, apply_values
from replicated_queue.queue.priority_queue import PriorityQueue
from replicated_queue.request_codec import decode_entry
from replicated_queue.sessions import Answer, Bundle, Sessions

QUEUE_DOMAIN: Final = "queue"
KIND_OF_DIGEST: Final = b"queue  2"  # another where anything else is hashed
PLACE_BITS: Final = 16  # an entry has far fewer requests, for each takes some bytes of it


class QueueStateMachine:
    """`StateMachine` of the log (see `interfaces.py`) for the domain "queue" alone."""

    def __init__(self, queue: PriorityQueue | None = None, sessions: Sessions | None = None) -> None:
        self.queue = queue if queue is not None else PriorityQueue()
        self.sessions = sessions if sessions is not None else Sessions()

    def apply(
        self, command: bytes, *, index: int, now: int, parts: Sequence[Bundle] = ()
    ) -> Sequence[Answer]:
        """Run one committed command; `sessions.open_answer` opens the answer of a single request."""
        answers: list[Answer] = []
        run = partial(run_on_queue, self.queue, index, now)
        for bundle in parts or decode_entry(command):
            if bundle.domain != QUEUE_DOMAIN:
                raise UnknownVersion(bundle.domain)
            answers += self.sessions.apply(bundle, index=index, now=now, run=run, first=len(answers))
        return answers

    def digest(self) -> bytes:
        return whole(self.digest_steps())

    def digest_steps(self) -> Generator[None, None, bytes]:
        queue = yield from self.queue.digest_steps()
        yield
        return KIND_OF_DIGEST + blake2b(self.sessions.digest() + queue, digest_size=16).digest()

    def snapshot(self) -> Iterator[bytes]:
        return snapshot_of(self._parts())

    def restore(self, chunks: Iterable[bytes]) -> Generator[None, None, Callable[[], None]]:
        return restoring(self._parts(), chunks)

    def _parts(self) -> dict[str, Part]:
        return {QUEUE_DOMAIN: self.queue, "sessions": self.sessions}


def run_on_queue(queue: PriorityQueue, index: int, now: int, command: Any, place: int) -> Values:
    """One request of the entry at `index`."""
    return apply_values(queue, command, index=number_of(index, place), now=now)


def number_of(index: int, place: int) -> int:
    """The number of a request in the log, and so the token of a lease: higher than those of all before it."""
    return index << PLACE_BITS | place
