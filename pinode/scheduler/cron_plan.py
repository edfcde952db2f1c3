"""Which runs of cron are due, and what becomes of those whose node is gone. Pure; the leader alone acts.

The wall clock is that of the leader, and only where its kernel calls it synchronised. A minute that was
missed, because nobody led, the clock jumped or no node could run it, is made up for within a minute, and
never later: nothing is piled up. What was fired stands in the agreed state, so no change of leaders and no
step back of the clock fires it again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pinode.apps.app import App
from pinode.apps.commands import EndCronRun, FireCron, MoveCronRun
from pinode.apps.cron import WRONG_CLOCK_SECONDS, CronEntry, CronRun
from pinode.apps.observed import NodeView
from pinode.apps.registry import Registry
from pinode.apps.release import Release
from pinode.scheduler.node_choice import NodeChoice
from pinode.scheduler.occurrences import Occurrences
from pinode.scheduler.plan_memory import PlanMemory

GRACE_SECONDS = 60  # in which a minute that was missed is made up for
BEGIN_MS = 900_000  # for a run to begin, with a slug that takes long to fetch
RETRY_SECONDS = 5.0  # with a minute that is due, and no node that can run it

UNKNOWN_END = "it is unknown how it ended: {where} went away while it ran. It was not started a second time."
NO_BEGIN = "{where} could not begin it in time."


@dataclass(frozen=True, slots=True, kw_only=True)
class CronPlan:
    """Commands to execute now, in order, and in how many seconds to look again though nothing has changed."""

    commands: tuple[FireCron | MoveCronRun | EndCronRun, ...]
    look_again_seconds: float | None
    waits_for_clock: bool  # there are schedules, and no clock to go by


def plan_cron(
    registry: Registry,
    nodes: Sequence[NodeView],
    *,
    now_ms: int,
    wall_seconds: float | None,
    memory: PlanMemory,
    occurrences: Occurrences,
) -> CronPlan:
    """What to do now. `wall_seconds` is Unix time, None while the clock is not to be trusted."""
    memory.observe(registry, nodes, now_ms=now_ms)
    planning = _CronPlanning(registry, nodes, now_ms, wall_seconds, memory, occurrences)
    planning.care_for_open_runs()
    for app in registry.apps():
        planning.fire_due(app)
    return CronPlan(
        commands=tuple(planning.commands),
        look_again_seconds=planning.look_again_seconds,
        waits_for_clock=planning.waits_for_clock,
    )


class _CronPlanning:
    """One plan in the making."""

    def __init__(
        self,
        registry: Registry,
        nodes: Sequence[NodeView],
        now_ms: int,
        wall_seconds: float | None,
        memory: PlanMemory,
        occurrences: Occurrences,
    ) -> None:
        self._registry = registry
        self._nodes = {node.node_id: node for node in nodes}
        self._now_ms = now_ms
        self._wall_seconds = wall_seconds
        self._memory = memory
        self._occurrences = occurrences
        open_runs = [run.placement for run in registry.open_cron_runs()]
        self._choice = NodeChoice(nodes, (*registry.placements(), *open_runs))
        self.commands: list[FireCron | MoveCronRun | EndCronRun] = []
        self.look_again_seconds: float | None = None
        self.waits_for_clock = False

    def care_for_open_runs(self) -> None:
        """A run that its node can neither begin nor end any more begins elsewhere, or ends."""
        for run in self._registry.open_cron_runs():
            gone_at_ms = self._memory.gone_at_ms(
                run.node_id, self._nodes.get(run.node_id), now_ms=self._now_ms
            )
            late_at_ms = run.fired_at_ms + BEGIN_MS
            if gone_at_ms is not None and gone_at_ms <= self._now_ms:
                self._leave(run)
            elif run.state == "waiting" and late_at_ms <= self._now_ms:
                self._end(run, NO_BEGIN)
            else:
                for at_ms in (gone_at_ms, late_at_ms if run.state == "waiting" else None):
                    if at_ms is not None:
                        self._look_again_in((at_ms - self._now_ms) / 1000)

    def _leave(self, run: CronRun) -> None:
        """Its node is gone."""
        if run.state == "running":
            self._end(run, UNKNOWN_END)
            return
        release = self._registry.release(run.app, run.version)
        node_id = self._choose(release) if release is not None else None
        if node_id is not None:
            self.commands.append(MoveCronRun(number=run.number, node_id=node_id))
        elif run.fired_at_ms + BEGIN_MS <= self._now_ms:
            self._end(run, NO_BEGIN)
        else:
            self._look_again_in(RETRY_SECONDS)

    def _end(self, run: CronRun, failure: str) -> None:
        node = self._nodes.get(run.node_id)
        where = node.name if node is not None else run.node_id
        self.commands.append(EndCronRun(number=run.number, failure=failure.format(where=where)))

    def fire_due(self, app: App) -> None:
        """Whatever of the app's live release is due, and when the next is."""
        release = self._registry.live_release(app.name)
        if release is None or not release.cron or app.is_stopped:
            return
        runs = self._registry.cron_runs(app.name)
        for ordinal, entry in enumerate(release.cron, 1):
            if entry.is_suspended:
                continue
            if self._wall_seconds is None:
                self.waits_for_clock = True
                return
            own = [run for run in runs if run.key == entry.key]
            self._fire_if_due(app, release, ordinal, entry, own, self._wall_seconds)

    def _fire_if_due(
        self,
        app: App,
        release: Release,
        ordinal: int,
        entry: CronEntry,
        runs: list[CronRun],
        wall_seconds: float,
    ) -> None:
        since = self._nothing_due_until(release, runs, wall_seconds)
        minute = self._occurrences.after(entry.schedule, entry.timezone, since)
        if minute is None:
            return
        if minute > wall_seconds:
            self._look_again_in(minute - wall_seconds)
            return
        node_id = self._choose(release)
        if node_id is None:
            self._look_again_in(RETRY_SECONDS)
            return
        fire = FireCron(
            app=app.name,
            version=release.version,
            ordinal=ordinal,
            node_id=node_id,
            minute=minute,
            created_index=app.created_index,
        )
        self.commands.append(fire)

    def _nothing_due_until(self, release: Release, runs: list[CronRun], wall_seconds: float) -> float:
        """The moment up to which every minute was fired, was missed, or was before the release."""
        live_seconds = (self._now_ms - (release.live_at_ms or 0)) / 1000
        marks = [mark for run in runs if (mark := run.newest_minute) is not None]
        fired = [mark for mark in marks if mark < wall_seconds + WRONG_CLOCK_SECONDS]
        return max(wall_seconds - GRACE_SECONDS, wall_seconds - live_seconds, *fired)

    def _choose(self, release: Release) -> str | None:
        return self._choice.choose(release, self._registry.slugs_of(release))

    def _look_again_in(self, seconds: float) -> None:
        known = self.look_again_seconds
        self.look_again_seconds = seconds if known is None else min(known, seconds)
