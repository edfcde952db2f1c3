"""The shell around the plan of cron: while this node leads, look at the clock and have due runs agreed."""

import asyncio
import logging

from pinode.cluster import Cluster
from pinode.scheduler.carrying_out import is_carried_out
from pinode.scheduler.cron_plan import CronPlan, plan_cron
from pinode.scheduler.occurrences import Occurrences
from pinode.scheduler.plan_memory import PlanMemory
from pinode.wall_clock import WallClock

logger = logging.getLogger(__name__)

SHORTEST_WAIT_SECONDS = 1.0
SPACING_SECONDS = 0.05  # between two plans, however much changes
LOOK_SECONDS = 10.0  # with schedules: somebody may put the clock right at any time
LONGEST_WAIT_SECONDS = 600.0  # without any; a change ends it at once
CLOCK_WARNING = "cron waits: its clock is not synchronised (`timedatectl` shows why)"


class Cron:
    """Runs on every node and acts on the leader alone; what a former leader still asks for is refused."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        wall_clock: WallClock,
        shortest_wait_seconds: float = SHORTEST_WAIT_SECONDS,
    ) -> None:
        self._cluster = cluster
        self._wall_clock = wall_clock
        self._shortest_wait_seconds = shortest_wait_seconds
        self._occurrences = Occurrences()
        self._memory: PlanMemory | None = None
        self._term = 0
        self._waits_for_clock = False

    @property
    def warnings(self) -> tuple[str, ...]:
        """What this node says of itself because of cron."""
        return (CLOCK_WARNING,) if self._waits_for_clock else ()

    async def run(self) -> None:
        """Plan whenever something changed or is due, until cancelled."""
        while True:
            revision = self._cluster.revision  # before planning: what changes meanwhile is planned for again
            wait_seconds = LONGEST_WAIT_SECONDS
            if self._cluster.is_leader:
                wait_seconds = await self._plan_once()
            else:
                self._memory, self._waits_for_clock = None, False
            await asyncio.sleep(SPACING_SECONDS)
            await self._cluster.changed(revision, timeout_seconds=wait_seconds)

    async def _plan_once(self) -> float:
        """Carry out one plan; how long to wait for a change before the next."""
        made = plan_cron(
            self._cluster.state.registry,
            self._cluster.nodes(),
            now_ms=self._cluster.now_ms,
            wall_seconds=self._wall_clock(),
            memory=self._memory_of_term(),
            occurrences=self._occurrences,
        )
        self._note_clock(made)
        for command in made.commands:
            if not await is_carried_out(self._cluster, command, plan="cron"):
                return self._shortest_wait_seconds
        if made.waits_for_clock:
            return LOOK_SECONDS
        if made.look_again_seconds is None:
            return LONGEST_WAIT_SECONDS
        return min(LOOK_SECONDS, max(0.0, made.look_again_seconds))

    def _memory_of_term(self) -> PlanMemory:
        if self._memory is None or self._term != self._cluster.term:
            self._memory = PlanMemory(since_ms=self._cluster.now_ms)
            self._term = self._cluster.term
        return self._memory

    def _note_clock(self, made: CronPlan) -> None:
        if made.waits_for_clock == self._waits_for_clock:
            return
        self._waits_for_clock = made.waits_for_clock
        if made.waits_for_clock:
            logger.warning("cron waits, the clock of this node is not synchronised")
        else:
            logger.info("cron waits no more for the clock")
