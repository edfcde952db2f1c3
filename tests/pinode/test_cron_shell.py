"""The leader fires; nobody else does, a quiet cluster hears nothing of it, and a wrong clock is said."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from pinode.apps.commands import FireCron, MakeReleaseLive
from pinode.cluster import Cluster
from pinode.scheduler.cron import CLOCK_WARNING, LONGEST_WAIT_SECONDS, LOOK_SECONDS, Cron
from replicated_queue.errors import NoQuorum
from tests.pinode.cluster_in_memory import ClusterInMemory
from tests.pinode.cron_world import HOURLY, at
from tests.pinode.observed_world import ObservedWorld
from tests.waiting import eventually

NOON = at("2026-03-01 12:00")


class Clock:
    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds

    def __call__(self) -> float | None:
        return self.seconds


def cluster_with_cron(*, has_cron: bool = True) -> ClusterInMemory:
    world = ObservedWorld()
    world.agreed.create()
    version = world.agreed.deploy(cron=(HOURLY,) if has_cron else ())
    world.agreed.do(MakeReleaseLive(app="blog", version=version))
    world.agreed.now += 3_600_000
    return ClusterInMemory(world)


@asynccontextmanager
async def running(cluster: ClusterInMemory, clock: Clock) -> AsyncIterator[Cron]:
    cron = Cron(cast(Cluster, cluster), wall_clock=clock, shortest_wait_seconds=0.001)
    task = asyncio.create_task(cron.run())
    try:
        yield cron
        assert not task.done(), task
    finally:
        task.cancel()


async def test_it_fires_when_the_clock_is_there_and_looks_at_it_often_enough() -> None:
    cluster, clock = cluster_with_cron(), Clock(NOON - 3)

    async with running(cluster, clock):
        await eventually(lambda: cluster.waits)
        assert cluster.executed == [] and cluster.waits[-1] == 3
        clock.seconds = NOON
        cluster.note_change()
        await eventually(lambda: cluster.executed)

    assert [type(command) for command in cluster.executed] == [FireCron]


async def test_a_node_that_does_not_lead_fires_nothing_and_does_not_complain_about_its_clock() -> None:
    cluster = cluster_with_cron()
    cluster.is_leader = False

    async with running(cluster, Clock(None)) as cron:
        await eventually(lambda: cluster.waits)

        assert (cluster.executed, cron.warnings) == ([], ())


async def test_without_a_clock_it_says_that_it_waits_until_there_is_one() -> None:
    cluster, clock = cluster_with_cron(), Clock(None)

    async with running(cluster, clock) as cron:
        await eventually(lambda: cron.warnings == (CLOCK_WARNING,))
        await eventually(lambda: cluster.waits[-1:] == [LOOK_SECONDS])
        clock.seconds = NOON + 1800
        cluster.note_change()
        await eventually(lambda: cron.warnings == ())

    assert cluster.executed == []


async def test_where_no_app_has_a_schedule_it_does_not_even_look_at_the_clock_again() -> None:
    cluster = cluster_with_cron(has_cron=False)

    async with running(cluster, Clock(None)) as cron:
        await eventually(lambda: cluster.waits)

        assert (cluster.waits, cron.warnings) == ([LONGEST_WAIT_SECONDS], ())


async def test_what_could_not_be_agreed_is_asked_for_again() -> None:
    cluster, clock = cluster_with_cron(), Clock(NOON)
    cluster.refusing = NoQuorum()

    async with running(cluster, clock):
        await eventually(lambda: cluster.executed)
        cluster.refusing = None
        cluster.note_change()
        await eventually(lambda: cluster.state.registry.cron_runs("blog"))
