"""Requests of a client that have no answer yet, and which of them travel together."""

import asyncio
from collections.abc import Iterator
from typing import Any, Final

from replicated_queue.errors import MalformedMessage
from replicated_queue.queue_state import QUEUE_DOMAIN
from replicated_queue.request_codec import submit
from replicated_queue.requests import Request, Submit
from replicated_queue.sessions import Answer, Bundle

BUNDLE_BYTES: Final = 128 * 1024  # of requests that are asked together; a single larger one still goes alone


class Pending:
    """A request that has no answer yet: one that is the same each time it is sent, or one for the log."""

    __slots__ = (
        "command",
        "deadline",
        "future",
        "is_repeated",
        "is_sent",
        "number",
        "request",
        "sequence",
        "since",
        "slot",
        "takes_jobs",
        "wait_until",
    )

    def __init__(self, future: "asyncio.Future[Answer]", wait_until: float, deadline: float) -> None:
        self.number = 0  # as long as nobody knows of it
        self.future = future
        self.wait_until = wait_until  # 0: it waits for nothing
        self.deadline = deadline
        self.request: Request | None = None
        self.command: tuple[Any, ...] = ()  # for the log, under a number of our session
        self.slot = 0
        self.sequence = 0
        self.since = 0  # the newest index of the log that we knew before it was first sent
        self.takes_jobs = False
        self.is_sent = False  # on the link that is up
        self.is_repeated = False  # was sent on a link that broke


def runs_of(asked: list[Pending]) -> Iterator[list[Pending]]:
    """Those that may go together, in their order: of one `since`, with numbers that follow each other."""
    run: list[Pending] = []
    for pending in asked:
        last = run[-1] if run else None
        if last is not None and (
            pending.request is not None
            or last.request is not None
            or pending.number != last.number + 1
            or pending.since != last.since
            or pending.is_repeated != last.is_repeated
        ):
            yield run
            run = []
        run.append(pending)
    if run:
        yield run


def bundled(together: list[Pending], *, client_id: bytes, now: float) -> Submit:
    """They as one request. Raises `MalformedMessage` when they are too much, or cannot be said."""
    first = together[0]
    requests: list[Any] = []
    for asked in together:
        requests += (asked.slot, asked.sequence, asked.command)
    bundle = Bundle(QUEUE_DOMAIN, requests, client_id, first.since)
    request = submit(bundle, waits=_waits_of(together, now), repeated=first.is_repeated)
    if len(request.data) > BUNDLE_BYTES and len(together) > 1:
        raise MalformedMessage(f"{len(together)} requests of {len(request.data)} bytes")
    return request


def _waits_of(together: list[Pending], now: float) -> list[int]:
    """Milliseconds that each of them may wait; none if nobody does."""
    untils = [pending.wait_until for pending in together]
    return [max(0, round((until - now) * 1000)) for until in untils] if any(untils) else []
