"""A build: from a git URL, or from what was pushed or uploaded, to a slug, by one node under one lease."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pinode.apps.source import Origin
from replicated_queue.queue.limits import ABILITY_PATTERN

BuildState = Literal["queued", "building", "succeeded", "failed", "cancelled"]
BUILD_TOPIC = "pinode.builds"
ANY_ARCH = "any"  # of a slug without machine code


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One request to build an app, and what came of it. `id` is the log index of the request."""

    id: int
    app: str
    git_url: str | None  # without credentials; None: of what was pushed or uploaded
    ref: str | None
    subdirectory: str | None
    created_by: str
    created_at_ms: int
    is_admin: bool = False  # whether who asked may fetch from file://, loopback and link-local
    state: BuildState = "queued"
    job_id: int | None = None
    token: int = 0  # the lease under which it is being built; a lower one is refused
    node_id: str | None = None
    started_at_ms: int | None = None
    finished_at_ms: int | None = None
    commit: str | None = None
    version: int | None = None  # of the release it became
    failure: str | None = None  # one line and what to do
    cancelled_by: str | None = None  # while its node ends it: the build is over when that is done
    origin: Origin = "git"
    source_digest: str | None = None  # of the `Source` it is made from, where there is no git URL
    # The build whose release this one completes, with a slug for nodes of another kind: this CPU, these
    # interpreters.
    variant_of: int | None = None
    arch: str = ""
    interpreters: tuple[str, ...] = ()
    # Of the git URL, under the data key; gone when the build has ended.
    sealed_credentials: bytes | None = field(default=None, repr=False)

    @property
    def is_finished(self) -> bool:
        """It succeeded, failed or was cancelled: nothing about it changes any more."""
        return self.state not in ("queued", "building")

    @property
    def needs(self) -> tuple[str, ...]:
        """What a worker must be able to do to take its job: anybody may take one that people asked for."""
        return abilities(self.arch, self.interpreters) if self.variant_of is not None else ()


def abilities(arch: str, interpreters: Iterable[str]) -> tuple[str, ...]:
    """What a worker on a node with this CPU and these interpreters can do, in the words of the queue."""
    return tuple(_ability(word) for word in (f"arch={arch}", *(f"runs={path}" for path in interpreters)))


def _ability(word: str) -> str:
    """The word, or its digest where the queue has no room for it, or not for its letters."""
    if ABILITY_PATTERN.fullmatch(word):
        return word
    return f"digest={hashlib.sha256(word.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slug:
    """A built app, content-addressed. `holders` are the nodes that said they have it."""

    digest: str  # sha256, hexadecimal
    slug_bytes: int
    arch: str  # as in `uname -m`, several with commas between them, or "any"
    python: str | None = None
    interpreter: str | None = None  # path of a program of the node without which it does not run
    holders: tuple[str, ...] = ()  # node ids, sorted


class BuildJobs(Protocol):
    """The jobs on `BUILD_TOPIC` behind the builds; changed in the same log entry as the registry."""

    def put(self, build: Build, *, index: int, now: int) -> int:
        """Queue a job for the build and return the job's id. Raises `BuildQueueFull`."""
        ...

    def check_lease(self, job_id: int, token: int, *, build_id: int) -> None:
        """Raises `LeaseLost` unless the job is leased under `token`."""
        ...

    def ack(self, job_id: int, token: int, *, index: int, now: int) -> None:
        """The job is done; its lease was checked before."""
        ...

    def cancel(self, job_id: int, *, index: int, now: int) -> None:
        """End the job whatever its state; one that has ended stays as it is."""
        ...
