"""What an endpoint takes and answers, declared beside its handler. `GET /openapi.json` is made of it, and
fields that it does not name are refused.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from aiohttp import web

from pinode.web.shapes import Schema, Shape

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ATTRIBUTE = "__operation__"


@dataclass(frozen=True, slots=True)
class Content:
    """Something else than JSON."""

    media_type: str
    is_binary: bool = False


PLAIN = Content("text/plain")


class Repeated(Enum):
    """What becomes of a write that is sent again under its `Idempotency-Key`; told by `GET /openapi.json`."""

    KEPT = "Sent again under the same key it is done once, and answered as the first time."
    # The answer follows from what was decided: to keep it too would be a second entry of the log.
    MADE_AGAIN = "Sent again under the same key it is done once, and answered from what came of it."
    # What proves a login enters the agreed state as a hash only, and no answer may bring it there.
    SECRET = "Done once; sent again under the same key: 409 answer_not_kept, for no secret is kept."
    BEGUN = "Begun once; sent again under the same key: 409 answer_not_kept."
    AGAIN = "It may be sent again without harm: it is done again, and the key changes nothing."


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One endpoint. What follows from its route (the path's parameters, the login) is not said here."""

    summary: str
    answers: Mapping[int, Shape | Content | None]  # by status; None: no body
    query: Mapping[str, Schema] = field(default_factory=dict)
    is_paged: bool = False  # takes ?limit= and ?cursor=
    body: Shape | Content | None = None
    other_bodies: tuple[Content, ...] = ()
    needs_body: bool = True  # else none is an empty object
    repeated: Repeated = Repeated.KEPT  # of a write
    refusals: tuple[int, ...] = ()  # statuses of errors besides those that follow from the route


OPERATION = web.RequestKey("operation", Operation)
OPENAPI = web.AppKey("openapi", dict[str, Any])  # all of them, described


def operation(summary: str, **about: Any) -> Callable[[Handler], Handler]:
    """Declare what the decorated handler takes and answers; see `Operation`."""
    declared = Operation(summary=summary, **about)

    def declare(handler: Handler) -> Handler:
        setattr(handler, ATTRIBUTE, declared)
        return handler

    return declare


def operation_of(handler: Handler) -> Operation | None:
    """What was declared of it; pages are not described."""
    found: Operation | None = getattr(handler, ATTRIBUTE, None)
    return found
