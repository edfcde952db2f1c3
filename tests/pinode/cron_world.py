"""An app with a schedule, nodes, and a wall clock that the test turns."""

from collections.abc import Sequence
from datetime import UTC, datetime

from pinode.apps.commands import EndCronRun, FireCron, MakeReleaseLive, MoveCronRun, StartCronRun
from pinode.apps.cron import CronEntry, CronRun
from pinode.apps.cron_errors import CronFired
from pinode.apps.observed import NodeView
from pinode.scheduler.cron_plan import CronPlan, plan_cron
from pinode.scheduler.occurrences import Occurrences
from pinode.scheduler.plan_memory import PlanMemory
from tests.pinode.agreement import Agreement
from tests.pinode.observed_world import node

HOURLY = CronEntry(schedule="@hourly", command="python tidy.py")


def at(text: str) -> float:
    """Unix seconds of a moment in UTC: "2026-03-01 12:00"."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def shown(minute: int | None) -> str:
    assert minute is not None
    return f"{datetime.fromtimestamp(minute, UTC):%H:%M}"


class CronWorld:
    """The leader's view; whatever it plans is agreed on at once."""

    def __init__(self, *entries: CronEntry, wall: float = at("2026-03-01 11:30")) -> None:
        self.agreed = Agreement()
        self.agreed.create()
        self.nodes: dict[str, NodeView] = {name: node(name) for name in "abc"}
        self.wall: float | None = wall
        self.new_leader()
        self.deploy(*entries)
        self.pass_time(120)

    def deploy(self, *entries: CronEntry) -> int:
        version = self.agreed.deploy(cron=entries)
        self.agreed.do(MakeReleaseLive(app="blog", version=version))
        return version

    def new_leader(self) -> None:
        """Of what the old one knew, only the agreed state is left."""
        self.memory = PlanMemory(since_ms=self.agreed.now)
        self.occurrences = Occurrences()

    def pass_time(self, seconds: float) -> None:
        self.agreed.now += round(seconds * 1000)
        if self.wall is not None:
            self.wall += seconds

    def plan(self) -> CronPlan:
        return plan_cron(
            self.agreed.registry,
            list(self.nodes.values()),
            now_ms=self.agreed.now,
            wall_seconds=self.wall,
            memory=self.memory,
            occurrences=self.occurrences,
        )

    def act(self) -> Sequence[FireCron | MoveCronRun | EndCronRun]:
        commands = self.plan().commands
        for command in commands:
            try:
                self.agreed.do(command)
            except CronFired:
                raise AssertionError(f"planned although fired: {command}") from None
        return commands

    def fired(self) -> list[str]:
        """The minutes for which it fires now."""
        return [shown(one.minute) for one in self.act() if isinstance(one, FireCron)]

    def live_until(self, moment: float, *, step: float = 7.0) -> list[str]:
        """Let the time pass, looking as often as the plan wants, at the latest every `step` seconds."""
        found = self.fired()
        while self.wall is not None and self.wall < moment:
            again = self.plan().look_again_seconds
            waits = step if again is None else max(0.001, again)
            self.pass_time(min(step, waits, moment - self.wall))
            found += self.fired()
        return found

    def runs(self) -> list[CronRun]:
        return list(self.agreed.registry.cron_runs("blog"))

    def start(self, run: CronRun) -> None:
        self.agreed.do(StartCronRun(number=run.number))

    def end(self, run: CronRun, *, exit_code: int = 0) -> None:
        failure = None if exit_code == 0 else f"exited with status {exit_code}."
        self.agreed.do(EndCronRun(number=run.number, exit_code=exit_code, failure=failure))

    def finish_all(self) -> None:
        for run in self.agreed.registry.open_cron_runs():
            if run.state == "waiting":
                self.start(run)
            self.end(run)
