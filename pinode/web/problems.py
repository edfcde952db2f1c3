"""What went wrong as HTTP says it: every error's status and code stand in this one table."""

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from pinode.deploy.intake import DiskFull, NoSecondCopy
from pinode.errors import (
    Conflict,
    InvalidInput,
    NoLeader,
    NotAllowed,
    NotFound,
    NotLoggedIn,
    PinodeError,
    TimedOut,
    TooLarge,
    Unreachable,
)
from pinode.peers.errors import PeerRefused
from pinode.rate_limit import TooMany
from replicated_queue import errors as queue_errors

# The first class of an error's ancestry that stands here counts. A code of "" means: the error's own.
TABLE: dict[type[BaseException], tuple[int, str]] = {
    InvalidInput: (400, ""),
    NotLoggedIn: (401, ""),
    NotAllowed: (403, ""),
    NotFound: (404, ""),
    Conflict: (409, ""),
    TooLarge: (413, ""),
    TooMany: (429, ""),
    Unreachable: (502, ""),
    NoLeader: (503, "no_leader"),
    TimedOut: (504, ""),
    DiskFull: (507, ""),
    NoSecondCopy: (503, ""),
    PinodeError: (400, ""),
    queue_errors.NoQuorum: (503, "no_leader"),
    queue_errors.NotLeader: (503, "no_leader"),
    queue_errors.DiskFull: (503, "disk_full"),
    queue_errors.Busy: (503, "busy"),
    queue_errors.OutcomeUnknown: (504, "outcome_unknown"),
    queue_errors.QueueFull: (503, "queue_full"),
    queue_errors.TopicDraining: (409, "draining"),
    queue_errors.JobNotFound: (404, "job_not_found"),
    queue_errors.LeaseLost: (409, "lease_lost"),
    queue_errors.AlreadyDone: (409, "already_done"),
    queue_errors.Duplicate: (409, "duplicate"),
    queue_errors.WrongState: (409, "wrong_state"),
    queue_errors.SessionExpired: (409, "request_expired"),
    queue_errors.KeyReused: (409, "key_reused"),
    queue_errors.ReservedTopic: (403, "reserved_topic"),
    queue_errors.InvalidTopic: (400, "invalid_topic"),
    queue_errors.InvalidRequest: (400, "invalid"),
    queue_errors.JobTooLarge: (413, "too_large"),
    queue_errors.QueueError: (500, "failed"),
    TimeoutError: (504, "timed_out"),
}
# What another node refused comes with its code alone, and has the status that it would have here.
OF_OTHERS = {kind.code: row for kind, row in TABLE.items() if issubclass(kind, PinodeError)}
# What a handler may answer with; anything else is a bug.
REFUSALS = (PinodeError, queue_errors.QueueError, TimeoutError)
RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An error as it is shown: to programs as JSON, to people on a page."""

    status: int
    code: str
    message: str
    hint: str = ""
    retry_after_seconds: float | None = None
    allowed_methods: tuple[str, ...] = ()  # where another one was asked for

    def document(self) -> dict[str, Any]:
        """As JSON answers carry it."""
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint}}

    def headers(self) -> dict[str, str]:
        """`Retry-After` where waiting helps, `Allow` where another method does (RFC 9110 §15.5.6)."""
        found = {"Allow": ", ".join(self.allowed_methods)} if self.allowed_methods else {}
        if self.retry_after_seconds is not None:
            found["Retry-After"] = str(max(1, round(self.retry_after_seconds)))
        return found


def problem_of(error: BaseException) -> Problem:
    """Return how to show an error of `REFUSALS`."""
    status, code = next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)
    if isinstance(error, PeerRefused):
        status, code = OF_OTHERS.get(error.code, (status, code))
    retry = getattr(error, "retry_after_seconds", RETRY_SECONDS if status == 503 else None)
    if isinstance(error, PinodeError):
        return Problem(
            status=status,
            code=code or error.code,
            message=error.message,
            hint=error.hint,
            retry_after_seconds=retry,
        )
    # The queue's errors say in one text what happened, and then what to do.
    message, _, hint = (str(error) or "no answer in time; it may or may not be done.").partition(". ")
    message = f"{message.rstrip('.')}."
    return Problem(status=status, code=code, message=message, hint=hint, retry_after_seconds=retry)


def problem_of_http(error: web.HTTPException, path: str) -> Problem:
    """Return how to show what aiohttp itself refuses: unknown addresses, methods, over-large bodies."""
    match error.status:
        case 404:
            return Problem(status=404, code="not_found", message=f"there is nothing at {path[:200]!r}.")
        case 405:
            assert isinstance(error, web.HTTPMethodNotAllowed)
            return Problem(
                status=405,
                code="wrong_method",
                message=f"{path[:200]!r} does not take this method.",
                allowed_methods=tuple(sorted(error.allowed_methods)),
            )
        case 413:
            return Problem(status=413, code="too_large", message="the request's body is larger than 1 MiB.")
        case _:
            return Problem(status=error.status, code="refused", message=f"{error.reason}.")
