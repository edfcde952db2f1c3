"""The shell around the plan: while this node leads, wait for a change, plan, and have the commands agreed."""

import asyncio
import logging

from pinode.cluster import Cluster
from pinode.scheduler.carrying_out import is_carried_out
from pinode.scheduler.plan import plan
from pinode.scheduler.plan_memory import PlanMemory
from pinode.scheduler.variant_plan import plan_variants

logger = logging.getLogger(__name__)

SHORTEST_WAIT_SECONDS = 1.0
SPACING_SECONDS = 0.05  # between two plans, however much changes: puts and acks change something, too
LONGEST_WAIT_SECONDS = 600.0  # with nothing due; a change ends it at once


class Scheduler:
    """Runs on every node and acts on the leader alone; what a former leader still asks for is refused."""

    def __init__(self, cluster: Cluster, *, shortest_wait_seconds: float = SHORTEST_WAIT_SECONDS) -> None:
        self._cluster = cluster
        self._shortest_wait_seconds = shortest_wait_seconds
        self._memory: PlanMemory | None = None
        self._term = 0

    async def run(self) -> None:
        """Plan whenever something changed or is due, until cancelled."""
        while True:
            revision = self._cluster.revision  # before planning: what changes meanwhile is planned for again
            wait_seconds = LONGEST_WAIT_SECONDS
            if self._cluster.is_leader:
                wait_seconds = await self._plan_once()
            else:
                self._memory = None
            await asyncio.sleep(SPACING_SECONDS)
            await self._cluster.changed(revision, timeout_seconds=wait_seconds)

    async def _plan_once(self) -> float:
        """Carry out one plan; how long to wait for a change before the next."""
        cluster = self._cluster
        made = plan(
            cluster.state.registry,
            cluster.nodes(),
            cluster.reports(),
            now_ms=cluster.now_ms,
            memory=self._memory_of_term(),
            start_seconds=cluster.settings.timings.start_seconds,
        )
        further = plan_variants(cluster.state.registry, cluster.nodes(), now_ms=cluster.now_ms)
        for command in (*made.commands, *further.commands):
            if not await is_carried_out(self._cluster, command, plan="plan"):
                # The state is not what was planned for, or nobody answers: not again in a tight loop.
                await asyncio.sleep(self._shortest_wait_seconds)
                return self._shortest_wait_seconds
        return self._wait_seconds(made.due_ms, further.due_ms)

    def _memory_of_term(self) -> PlanMemory:
        if self._memory is None or self._term != self._cluster.term:
            self._memory = PlanMemory(since_ms=self._cluster.now_ms)
            self._term = self._cluster.term
        return self._memory

    def _wait_seconds(self, *dues_ms: int | None) -> float:
        due_ms = min((due for due in dues_ms if due is not None), default=None)
        if due_ms is None:
            return LONGEST_WAIT_SECONDS
        seconds = (due_ms - self._cluster.now_ms) / 1000
        return min(LONGEST_WAIT_SECONDS, max(self._shortest_wait_seconds, seconds))
