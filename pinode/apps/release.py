"""A release: slug + config vars + process types, immutable but for its state."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pinode.apps.app import SealedConfig
from pinode.apps.cron import CronEntry
from pinode.apps.health_check import HealthCheck

ReleaseState = Literal["pending", "live", "superseded", "failed"]
CommandState = Literal["waiting", "running", "succeeded", "failed"]


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
    variants: tuple[str, ...] = ()  # digests of further slugs of the same commit, for nodes of other kinds
    health_checks: Mapping[str, tuple[HealthCheck, ...]] = field(default_factory=dict)  # by process type
    cron: tuple[CronEntry, ...] = ()  # `cron.1` is the first
    state: ReleaseState = "pending"
    failure: str | None = None
    command_state: CommandState = "waiting"  # of its `release:` command, where it has one
    last_lines: tuple[str, ...] = ()  # of the `release:` command, else of the dyno that failed it
    live_at_ms: int | None = None  # when routes went to it; None: it never served

    @property
    def has_served(self) -> bool:
        """Whether it was live at some time: then it can be rolled back to."""
        return self.live_at_ms is not None

    @property
    def slug_digests(self) -> tuple[str, ...]:
        """Of all its slugs, the one it was made with first."""
        return (self.slug_digest, *self.variants)

    def cron_command(self, ordinal: int) -> str:
        """What its cron entry runs: the command as it is, or that of the process type it names."""
        command = self.cron[ordinal - 1].command
        return self.process_types.get(command, command)
