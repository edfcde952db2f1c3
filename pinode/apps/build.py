"""A build: from a git URL to a slug, done by one node under one lease."""

from dataclasses import dataclass
from typing import Literal

BuildState = Literal["queued", "building", "succeeded", "failed", "cancelled"]
BUILD_TOPIC = "pinode.builds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One request to build an app, and what came of it. `id` is the log index of the request."""

    id: int
    app: str
    git_url: str  # without credentials
    ref: str | None
    subdirectory: str | None
    created_by: str
    created_at_ms: int
    state: BuildState = "queued"
    job_id: int | None = None
    token: int = 0  # the lease under which it is being built; a lower one is refused
    node_id: str | None = None
    started_at_ms: int | None = None
    finished_at_ms: int | None = None
    commit: str | None = None
    version: int | None = None  # of the release it became
    failure: str | None = None  # one line and what to do


@dataclass(frozen=True, slots=True, kw_only=True)
class Slug:
    """A built app, content-addressed. `holders` are the nodes that said they have it."""

    digest: str  # sha256, hexadecimal
    slug_bytes: int
    arch: str
    python: str | None = None
    holders: tuple[str, ...] = ()  # node ids, sorted
