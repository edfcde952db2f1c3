"""What an app has run by the clock: its entries, as a part of each release, and their runs."""

import hashlib
from dataclasses import dataclass
from typing import Literal

from pinode.apps.checks import COMMAND_CHARS, check_text
from pinode.apps.errors import InvalidValue
from pinode.apps.placement import Placement

CRON_TYPE = "cron"  # a run is the dyno `cron.N` of entry N
CRON_ENTRIES = 64
SCHEDULE_CHARS = 200
# A minute this much later than now was fired by a clock that was wrong: it says nothing about what is due.
WRONG_CLOCK_SECONDS = 3 * 3600

Concurrency = Literal["allow", "forbid", "replace"]
RunState = Literal["waiting", "running", "ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CronEntry:
    """A command or the name of a process type, and when it runs: five fields, or a macro like `@daily`."""

    schedule: str
    command: str
    concurrency: Concurrency = "forbid"  # with a run of it that has not ended
    is_suspended: bool = False  # runs only when somebody asks
    timezone: str = "UTC"

    @property
    def key(self) -> str:
        """The same in every release that says the same, wherever it stands there: what was fired holds on."""
        text = "\n".join((self.schedule, self.timezone, self.command))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class CronRun:
    """One run of an entry: fired, started on its node, ended."""

    number: int  # log index of the decision, and of its placement
    app: str
    version: int
    ordinal: int  # 1-based place of the entry in that release
    key: str  # of the entry
    node_id: str
    fired_at_ms: int  # cluster time, as the next two
    minute: int | None = None  # whose firing it is, in Unix seconds; None: somebody asked
    skipped_minute: int | None = None  # the newest that was skipped because this run had not ended
    skipped: int = 0
    actor: str = ""  # who asked
    state: RunState = "waiting"
    started_at_ms: int | None = None
    ended_at_ms: int | None = None
    exit_code: int | None = None
    failure: str | None = None

    @property
    def has_ended(self) -> bool:
        """Nothing about it changes any more."""
        return self.state == "ended"

    @property
    def newest_minute(self) -> int | None:
        """The newest that was fired or skipped by it."""
        return self.minute if self.skipped_minute is None else self.skipped_minute

    @property
    def placement(self) -> Placement:
        """Where its dyno runs."""
        return Placement(
            number=self.number,
            app=self.app,
            version=self.version,
            process_type=CRON_TYPE,
            ordinal=self.ordinal,
            node_id=self.node_id,
        )


def check_cron(entries: tuple[CronEntry, ...]) -> None:
    """Raises `InvalidValue`. What the schedules mean was checked by the build."""
    if len(entries) > CRON_ENTRIES or len({entry.key for entry in entries}) < len(entries):
        raise InvalidValue(what="cron", rule=f"has at most {CRON_ENTRIES} entries, none of them twice")
    for ordinal, entry in enumerate(entries, 1):
        what = f"of cron entry {ordinal}"
        check_text(f"the schedule {what}", entry.schedule, chars=SCHEDULE_CHARS)
        check_text(f"the command {what}", entry.command, chars=COMMAND_CHARS)
        check_text(f"the timezone {what}", entry.timezone, chars=SCHEDULE_CHARS)
