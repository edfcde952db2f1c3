"""What a node notes of a dyno when it starts one: enough to find its process again, and to start it anew.

Written once at each start, whole or not at all. Not synced: after a power cut no process is left to find.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pinode.apps.app import SealedConfig
from pinode.apps.checks import RELEASE_TYPE
from pinode.apps.errors import MalformedCommand
from pinode.apps.health_check import HealthCheck
from pinode.apps.placement import Placement
from pinode.apps.records import from_plain, pack, to_plain, unpack

RECORD_NAME = "dyno"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """All that is needed to start the dyno of a placement: its release, as far as it matters here."""

    placement: Placement
    slug_digest: str
    command: str
    config: SealedConfig
    health_checks: tuple[HealthCheck, ...] = ()
    folder: str = ""  # see `App.folder_name`; empty: the app's name
    is_cron: bool = False  # a run of cron: there may be a process type of that name, too

    @property
    def folder_name(self) -> str:
        """What names the app on nodes for ever."""
        return self.folder or self.placement.app

    @property
    def listens(self) -> bool:
        """Whether it gets traffic and must answer on PORT."""
        return self.placement.process_type == "web"

    @property
    def runs_once(self) -> bool:
        """Whether it is the `release:` command of its release, or a run of cron."""
        return self.is_cron or self.placement.process_type == RELEASE_TYPE


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """Names one process for ever: its id alone is given out again."""

    pid: int
    start_time: int
    boot_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DynoRecord:
    """One dyno of this node, as it was started last."""

    launch: Launch
    process: ProcessRecord
    port: int
    restarts: int = 0
    version: int = VERSION


def write_record(folder: Path, record: DynoRecord) -> None:
    """Note it in the dyno's folder."""
    draft = folder / f"{RECORD_NAME}.new"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(pack(to_plain(record)))
    draft.replace(folder / RECORD_NAME)


def read_records(directory: Path) -> Iterator[tuple[Path, DynoRecord | None]]:
    """Every dyno's folder with what was noted in it; None where that cannot be read."""
    for folder in sorted(directory.iterdir()):
        if not folder.is_dir():
            continue
        try:
            yield folder, from_plain(DynoRecord, unpack((folder / RECORD_NAME).read_bytes()))
        except (OSError, MalformedCommand):
            yield folder, None
