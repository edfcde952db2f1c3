"""What clients, brokers and the leader ask of each other, beside the log.

Requests that change something carry their whole log entry, encoded once by whoever asked first: a repetition
is the same bytes, and so the same request.
"""

from dataclasses import dataclass
from typing import NamedTuple


class Submit(NamedTuple):
    """Put this entry into the log and answer what the state machine answered."""

    envelope: bytes


class ReserveJobs(NamedTuple):
    """Put this reserve into the log as soon as it would find a job; answer none after `wait_ms`."""

    envelope: bytes
    wait_ms: int = 0
    repeated: bool = False  # may have been done: then only the log knows the answer


@dataclass(frozen=True, slots=True)
class ExtendLease:
    """Begin the lease anew, in the leader's memory."""

    job_id: int
    token: int
    lease_ms: int | None = None  # None: as long as it was granted
    platform: bool = False


@dataclass(frozen=True, slots=True)
class ForgetWaiter:
    """Nobody waits any more for the answer of this reserve."""

    client_id: bytes
    slot: int
    sequence: int


@dataclass(frozen=True, slots=True)
class ReadStats:
    """Counts of one topic, or of all."""

    topic: str | None = None
    platform: bool = False


@dataclass(frozen=True, slots=True)
class ReadJob:
    """One job as people see it."""

    job_id: int
    platform: bool = False


@dataclass(frozen=True, slots=True)
class ReadFirst:
    """The job of a topic that is first in its state: ready, delayed or buried."""

    topic: str
    state: str
    platform: bool = False


@dataclass(frozen=True, slots=True)
class ReadJobs:
    """A page of a topic's jobs, ascending by id."""

    topic: str
    state: str | None = None
    after: int = 0
    limit: int = 100
    platform: bool = False


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The client no longer waits for its request of this number (sent under that number)."""


LeaderRequest = Submit | ReserveJobs | ExtendLease | ForgetWaiter
Question = ReadStats | ReadJob | ReadFirst | ReadJobs
Request = LeaderRequest | Question | Withdraw


@dataclass(frozen=True, slots=True)
class Hello:
    """First frame of a client: what opens the door, and the session it will number its requests in."""

    token: bytes
    client_id: bytes


class Ask(NamedTuple):
    """One request of a client; answers come in any order, under the same number."""

    number: int
    timeout_ms: int
    request: Request
