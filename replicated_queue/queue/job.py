"""One job: the states it can be in, what moves it between them, and what is known of it.

`docs/job_states.md` draws `TRANSITIONS`; a test compares the two.
"""

import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Final, Literal, NamedTuple

from replicated_queue.errors import InvalidRequest, InvalidTopic, JobTooLarge, ReservedTopic

State = Literal["delayed", "ready", "leased", "buried", "succeeded", "cancelled"]
DELAYED: Final = "delayed"
READY: Final = "ready"
LEASED: Final = "leased"
BURIED: Final = "buried"
SUCCEEDED: Final = "succeeded"
CANCELLED: Final = "cancelled"

# (state before, what happens, state after); a put comes from nowhere.
TRANSITIONS: Final[frozenset[tuple[str, str, str]]] = frozenset(
    {
        ("new", "put", READY),
        ("new", "put", DELAYED),
        (DELAYED, "due", READY),
        (DELAYED, "kick", READY),
        (DELAYED, "cancel", CANCELLED),
        (READY, "reserve", LEASED),
        (DELAYED, "reserve", LEASED),
        (BURIED, "reserve", LEASED),
        (READY, "cancel", CANCELLED),
        (LEASED, "ack", SUCCEEDED),
        (LEASED, "nack", READY),
        (LEASED, "nack", DELAYED),
        (LEASED, "nack", BURIED),
        (LEASED, "expire", READY),
        (LEASED, "expire", DELAYED),
        (LEASED, "expire", BURIED),
        (LEASED, "bury", BURIED),
        (LEASED, "cancel", CANCELLED),
        (BURIED, "kick", READY),
        (BURIED, "cancel", CANCELLED),
        (BURIED, "drop", CANCELLED),
    }
)

URGENT_BELOW: Final = 1024  # priorities that beanstalkd calls urgent
PRIORITIES: Final = {"EMERGENCY": 0, "HIGH": 1, "MEDIUM": 2, "LOW": 3}
LOWEST_PRIORITY: Final = 2**32 - 1
MAX_DATA_BYTES: Final = 65_536
MAX_TEXT_BYTES: Final = 200  # topic, worker, reason, dedupe key
MAX_LEASE_MS: Final = (2**32 - 1) * 1000  # beanstalkd's largest, in seconds
MIN_LEASE_MS: Final = 100
MAX_REASONS: Final = 5  # the newest are kept
REMEMBERED_NAMES: Final = 256
PLATFORM_PREFIX: Final = "pinode."
TOPIC_PATTERN: Final = re.compile(r"[A-Za-z0-9+/;.$_()][A-Za-z0-9+/;.$_()-]{0,199}")


class Job(NamedTuple):
    """A job as its worker gets it. `token` is the lease's fencing token: higher for each later holder."""

    id: int
    topic: str
    data: bytes
    priority: int
    attempts: int  # this one included
    token: int
    lease_seconds: float


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as it is shown to people; of a finished one only what is remembered."""

    id: int
    topic: str
    state: str
    priority: int
    attempts: int
    max_attempts: int
    nacks: int
    timeouts: int
    created_ms: int  # cluster time
    due_ms: int  # cluster time: when a delayed job is ready, a lease ends or a buried job is dropped
    worker: str  # the last one that held it
    reasons: tuple[str, ...]
    data: bytes
    result: bytes
    lease_ms: int = 0  # asked for by the put
    delay_ms: int = 0  # asked for by the put or the last nack
    reserves: int = 0  # unlike attempts, a kick does not begin anew
    buries: int = 0
    kicks: int = 0
    backoff_ms: int = 0
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TopicStats:
    """How many jobs of a topic are in which state now, and what happened in it so far.

    Of topics without jobs the 1,000 that had some last are remembered.
    """

    ready: int
    delayed: int
    leased: int
    buried: int
    total_put: int = 0
    total_succeeded: int = 0
    oldest_ready_ms: int = 0  # age of the job that is next, in cluster time
    urgent: int = 0  # of the ready ones: those with a priority below 1,024
    total_cancelled: int = 0
    pauses: int = 0
    pause_ms: int = 0  # length of the pause that is on; 0 without one
    pause_left_ms: int = 0
    total_failed: int = 0  # attempts that were given back or ran out of time
    total_buried: int = 0
    used_bytes: int = 0  # of the jobs' data and texts
    max_jobs: int = 0  # the topic's own bounds; 0: none
    max_bytes: int = 0
    ageing_ms: int = 0  # 0: off
    is_draining: bool = False


class JobRecord:
    """A job that is not finished, as the state machine keeps it."""

    __slots__ = (
        "ageing_ms",
        "attempts",
        "backoff_ms",
        "buried_token",
        "buries",
        "created_ms",
        "data",
        "dedupe_key",
        "delay_ms",
        "due_ms",
        "granted_ms",
        "id",
        "kicks",
        "lease_ms",
        "max_attempts",
        "nacks",
        "needs",
        "priority",
        "reasons",
        "reserves",
        "size_bytes",
        "state",
        "timeouts",
        "token",
        "topic",
        "worker",
    )

    def __init__(
        self,
        job_id: int,
        topic: str,
        data: bytes,
        priority: int,
        lease_ms: int,
        max_attempts: int,
        dedupe_key: str | None,
        created_ms: int,
        backoff_ms: int = 0,
        needs: tuple[str, ...] = (),
        ageing_ms: int = 0,
    ) -> None:
        self.id = job_id
        self.topic = topic
        self.data = data
        self.priority = priority
        self.lease_ms = lease_ms  # asked for by the put
        self.max_attempts = max_attempts  # 0: no bound
        self.dedupe_key = dedupe_key
        self.created_ms = created_ms
        self.backoff_ms = backoff_ms  # 0: none
        self.needs = needs  # ascending, each once
        self.ageing_ms = ageing_ms  # its topic's step when it was put; 0: its priority alone counts
        self.state: str = "new"
        self.attempts = 0  # counted at reserve; a kick begins anew
        self.nacks = 0
        self.timeouts = 0
        self.reserves = 0
        self.buries = 0
        self.kicks = 0
        self.delay_ms = 0
        self.due_ms = 0
        self.token = 0  # number of the reserve in the log, 0 while nobody holds it
        self.granted_ms = 0  # length of the lease that is held
        self.buried_token = 0  # of the lease whose holder buried it, 0 if nobody did
        self.worker = ""
        self.reasons: tuple[str, ...] = ()
        # What counts towards the bounds on bytes.
        self.size_bytes = self.weigh() if dedupe_key is not None or needs else len(data)

    @property
    def rank(self) -> int:
        """Its place among ready jobs of its kind; the smaller is next, and among equals the smaller id."""
        return rank_of(self.priority, self.created_ms, self.ageing_ms)

    def weigh(self) -> int:
        """What `size_bytes` must be: all that somebody chose the length of."""
        texts = (self.dedupe_key or "", self.worker, *self.needs, *self.reasons)
        return len(self.data) + sum(map(text_bytes, texts))

    def row(self) -> tuple[object, ...]:
        """Everything that must be equal on all replicas."""
        return _ROW(self)

    def state_at(self, now: int) -> str:
        """Its state in people's eyes: no entry makes a delayed job ready when it is due."""
        return READY if self.state == DELAYED and self.due_ms <= now else self.state

    def view(self, now: int) -> JobView:
        """What people may see of it; the token is its holder's alone."""
        return JobView(
            id=self.id,
            topic=self.topic,
            state=self.state_at(now),
            priority=self.priority,
            attempts=self.attempts,
            max_attempts=self.max_attempts,
            nacks=self.nacks,
            timeouts=self.timeouts,
            created_ms=self.created_ms,
            due_ms=self.due_ms,
            worker=self.worker,
            reasons=self.reasons,
            data=self.data,
            result=b"",
            lease_ms=self.lease_ms,
            delay_ms=self.delay_ms,
            reserves=self.reserves,
            buries=self.buries,
            kicks=self.kicks,
            backoff_ms=self.backoff_ms,
            needs=self.needs,
        )


_ROW: Final[Callable[[JobRecord], tuple[object, ...]]] = attrgetter(*JobRecord.__slots__)


def rank_of(priority: int, created_ms: int, ageing_ms: int) -> int:
    """See `JobRecord.rank`."""
    return created_ms + priority * ageing_ms if ageing_ms else priority


def text_bytes(text: str) -> int:
    """What a text counts: its bytes as UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def check_topic(topic: str, *, platform: bool, known: Container[str] = ()) -> None:
    """Refuse a name that is no topic (beanstalkd's rule), or that is not for the asker.

    `known` are names that were looked at before.
    """
    if topic not in known and (len(topic) > MAX_TEXT_BYTES or not _is_topic(topic)):
        raise InvalidTopic(topic=topic)
    if not platform and topic.startswith(PLATFORM_PREFIX):
        raise ReservedTopic(topic=topic)


@lru_cache(maxsize=REMEMBERED_NAMES)
def _is_topic(name: str) -> bool:
    """Of a name that is short enough to be remembered: a client asks for the same few over and over."""
    return TOPIC_PATTERN.fullmatch(name) is not None


def check_bytes(what: str, value: bytes) -> None:
    """Refuse data or a result over its bound."""
    if len(value) > MAX_DATA_BYTES:
        raise JobTooLarge(what=what, size_bytes=len(value), bound_bytes=MAX_DATA_BYTES)


def check_text(what: str, value: str) -> None:
    """Refuse a worker's name, a reason or a key over its bound."""
    try:
        size_bytes = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidRequest(f"{what} is no valid Unicode text.") from None
    if size_bytes > MAX_TEXT_BYTES:
        raise JobTooLarge(what=what, size_bytes=size_bytes, bound_bytes=MAX_TEXT_BYTES)


def check_number(what: str, value: int, *, low: int, high: int) -> None:
    """Refuse a number outside its bounds."""
    if not low <= value <= high:
        raise InvalidRequest(f"{what} is {value}, but must be from {low} to {high}.")
