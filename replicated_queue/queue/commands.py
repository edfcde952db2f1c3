"""What can be asked of the queue through the log, and what it answers.

`platform` says that the asker is pinode itself: only then topics that begin with `pinode.` exist. Extending a
lease is no command: it lives in the leader's memory and never enters the log.

What each job needs is a tuple, not a dataclass: it is made several times an operation on every node.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

LOW_PRIORITY: Final = 3
DEFAULT_LEASE_MS: Final = 60_000
DEFAULT_MAX_ATTEMPTS: Final = 5
DEFAULT_BACKOFF_MS: Final = 200
MAX_JOBS_PER_COMMAND: Final = 1_000


class Put(NamedTuple):
    """Add one job."""

    topic: str
    data: bytes
    priority: int = LOW_PRIORITY
    delay_ms: int = 0
    lease_ms: int = DEFAULT_LEASE_MS
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    dedupe_key: str | None = None
    platform: bool = False
    backoff_ms: int = DEFAULT_BACKOFF_MS  # before the third attempt; doubled before each further one
    needs: tuple[str, ...] = ()  # given only to a worker that has all of these
    ages: bool = True  # where its topic orders jobs by age as well

    @property
    def needs_in_order(self) -> tuple[str, ...]:
        """Ascending, each once."""
        return tuple(sorted(set(self.needs))) if self.needs else ()


@dataclass(frozen=True, slots=True)
class PutMany:
    """Add several jobs in one entry: all of them or none."""

    puts: tuple[Put, ...]


class Reserve(NamedTuple):
    """Lease up to `count` jobs, the most urgent of all named topics first."""

    topics: tuple[str, ...]
    worker: str = ""
    lease_ms: int | None = None  # None: what the put asked for
    count: int = 1  # type: ignore[assignment]  # hides a method of tuples that nobody needs
    platform: bool = False
    has: tuple[str, ...] = ()  # what the worker can do: jobs that need more are not for it


@dataclass(frozen=True, slots=True)
class ReserveJob:
    """Lease this one job, whatever its turn and its needs, if nobody holds it: ready, delayed or buried."""

    job_id: int
    worker: str = ""
    lease_ms: int | None = None  # None: what the put asked for
    platform: bool = False


class Ack(NamedTuple):
    """The job is done; its result is kept for a while."""

    job_id: int
    token: int
    result: bytes = b""
    platform: bool = False


@dataclass(frozen=True, slots=True)
class AckMany:
    """Several jobs are done: pairs of job id and token, each judged for itself."""

    leases: tuple[tuple[int, int], ...]
    platform: bool = False


@dataclass(frozen=True, slots=True)
class Nack:
    """The attempt failed: ready again after a delay, or buried after the last attempt."""

    job_id: int
    token: int
    delay_ms: int | None = None  # None: the job's own back-off
    reason: str = ""
    platform: bool = False
    priority: int | None = None  # None: as before


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Their worker is gone: an attempt has failed. Leases that ended are skipped.

    `unseen`: nobody ever got to know of these leases, so they were no attempts.
    """

    leases: tuple[tuple[int, int], ...]
    platform: bool = False
    unseen: bool = False


@dataclass(frozen=True, slots=True)
class Bury:
    """Set the job aside until somebody kicks or cancels it."""

    job_id: int
    token: int
    reason: str = ""
    platform: bool = False
    priority: int | None = None  # None: as before


@dataclass(frozen=True, slots=True)
class Kick:
    """Make up to `bound` buried jobs of a topic ready; if none is, delayed ones, unless `only_buried`."""

    topic: str
    bound: int
    platform: bool = False
    only_buried: bool = False


@dataclass(frozen=True, slots=True)
class KickJob:
    """Make one buried or delayed job ready."""

    job_id: int
    platform: bool = False


@dataclass(frozen=True, slots=True)
class Cancel:
    """Remove a job. One that is leased only with its token or by force."""

    job_id: int
    token: int | None = None
    force: bool = False
    platform: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """Give out no job of this topic for a while; with 0 the pause ends now."""

    topic: str
    pause_ms: int
    platform: bool = False


@dataclass(frozen=True, slots=True)
class Purge:
    """Cancel up to `bound` jobs of a topic that nobody holds."""

    topic: str
    bound: int = MAX_JOBS_PER_COMMAND
    platform: bool = False


@dataclass(frozen=True, slots=True)
class SetTopic:
    """Give a topic bounds of its own, ageing, or an end of new jobs. None: as it was; 0: no bound, off."""

    topic: str
    max_jobs: int | None = None
    max_bytes: int | None = None
    ageing_ms: int | None = None
    is_draining: bool | None = None
    platform: bool = False


@dataclass(frozen=True, slots=True)
class ExpireLease:
    """This lease has run out (proposed by the leader alone); nothing happens if the job has moved on."""

    job_id: int
    token: int


Command = (
    Put
    | PutMany
    | Reserve
    | ReserveJob
    | Ack
    | AckMany
    | Nack
    | GiveBack
    | Bury
    | Kick
    | KickJob
    | Cancel
    | Pause
    | Purge
    | SetTopic
    | ExpireLease
)


class Created(NamedTuple):
    """Ids of the jobs of a put, in its order; with a dedupe key that of the job that was there already."""

    job_ids: tuple[int, ...]


class Reserved(NamedTuple):
    """Which jobs were leased under which token; the leader adds their data, so that nobody keeps it twice."""

    token: int
    job_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """It is done, and there is nothing more to tell."""


@dataclass(frozen=True, slots=True)
class Acked:
    """All but these jobs are done, or given back: of these the lease was lost, or they were gone."""

    lost: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Kicked:
    """How many jobs were made ready, and whether they were buried."""

    count: int
    were_buried: bool = False


@dataclass(frozen=True, slots=True)
class Purged:
    """How many jobs were cancelled."""

    count: int


Result = Created | Reserved | Done | Acked | Kicked | Purged
