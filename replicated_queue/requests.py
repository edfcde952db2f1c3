"""What clients, brokers and the leader ask of each other, beside the log.

Requests that change something travel in bundles, encoded once by whoever asked first: a repetition is the
same bytes, and so the same requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from replicated_queue.sessions import Bundle


class Submit(NamedTuple):
    """Put these requests into the log, and answer what the state machine answered to each.

    A reserve enters it only if it would find a job; else it is answered none. One that is alone in its bundle
    may wait for a job first, if only for 0 ms: then the leader makes certain that it leads before it says
    that nothing is ready. Without `waits` it is a first look, and its answer may be that of a past leader.
    """

    data: bytes  # the bundle, as it enters the log
    bundle: Bundle  # what `data` says
    waits: Sequence[int] = ()  # milliseconds that each of them may wait; empty for none
    repeated: bool = False  # may have been done: then only the log knows the answers


@dataclass(frozen=True, slots=True)
class ExtendLease:
    """Begin the lease anew, in the leader's memory."""

    job_id: int
    token: int
    lease_ms: int | None = None  # None: as long as it was granted
    platform: bool = False


@dataclass(frozen=True, slots=True)
class ConfirmLeader:
    """Make certain that you lead, so that the applied index of your answer says how far a current read is."""


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


LeaderRequest = Submit | ExtendLease | ForgetWaiter | ConfirmLeader
Question = ReadStats | ReadJob | ReadFirst | ReadJobs
Request = LeaderRequest | Question | Withdraw


@dataclass(frozen=True, slots=True)
class Hello:
    """First frame of a client: what opens the door, and the session it will number its requests in."""

    token: bytes
    client_id: bytes


class Ask(NamedTuple):
    """What a client asks; answers come in any order, under the same number.

    The requests of a bundle have numbers of their own, from this one on.
    """

    number: int
    timeout_ms: int
    request: Request
