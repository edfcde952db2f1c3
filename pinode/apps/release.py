"""A release: slug + config vars + process types, immutable but for its state."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pinode.apps.app import SealedConfig

ReleaseState = Literal["pending", "live", "superseded", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Version `version` of an app.

    Pending until its dynos answer, then live; the one before is superseded.
    """

    app: str
    version: int
    slug_digest: str
    config: SealedConfig
    process_types: Mapping[str, str]  # type -> command
    created_by: str
    created_at_ms: int
    description: str
    commit: str | None = None
    build_id: int | None = None
    state: ReleaseState = "pending"
    failure: str | None = None
