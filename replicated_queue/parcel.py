"""What the courier carries."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from replicated_queue.errors import Busy
from replicated_queue.interfaces import PeerId
from replicated_queue.request_codec import Outcome
from replicated_queue.requests import LeaderRequest, Submit

FIRST_RETRY_SECONDS: Final = 0.02


class Parcel:
    """Requests under way together; `done` is called once with their outcomes, unless they are withdrawn.

    It is told their place among the requests of the bundle they came in. In the place of an outcome may be
    another parcel: that request waits for its answer by itself now.
    """

    __slots__ = (
        "call",
        "deadline",
        "done",
        "has_asked",
        "is_done",
        "last_busy",
        "leader",
        "maybe_done",
        "place",
        "request",
        "retry_at",
        "retry_seconds",
        "sent_at",
        "size",
        "timeout_seconds",
        "under_way",
        "wait_until",
        "withdrawn",
    )

    def __init__(
        self, request: LeaderRequest, done: "Done", now: float, timeout_seconds: float, *, place: int = 0
    ) -> None:
        self.request = request
        self.done = done
        self.place = place
        self.size = request.bundle.size if isinstance(request, Submit) else 1
        self.is_done = False
        self.sent_at = now
        self.timeout_seconds = timeout_seconds
        self.wait_until = 0.0  # of a reserve that waits by itself
        self.deadline = now + timeout_seconds
        self.maybe_done = False  # an earlier attempt may have reached the log
        self.under_way = False
        self.has_asked = False  # found nothing at once, now waits at the leader
        self.retry_at: float | None = None
        self.retry_seconds = FIRST_RETRY_SECONDS
        self.last_busy: Busy | None = None
        self.leader: PeerId | None = None  # whom `call` asks
        self.call: asyncio.Task[None] | None = None
        self.withdrawn: set[int] = set()  # places whose answers nobody wants any more


Done = Callable[[int, Sequence["Outcome | Parcel"]], None]
