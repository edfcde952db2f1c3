"""The leader carries out the plan; nobody else does, and a quiet cluster hears nothing of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from pinode.apps.commands import MakeReleaseLive, Place
from pinode.apps.errors import AlreadyPlaced
from pinode.cluster import Cluster
from pinode.scheduler.scheduler import LONGEST_WAIT_SECONDS, Scheduler
from replicated_queue.errors import NoQuorum
from tests.pinode.cluster_in_memory import ClusterInMemory
from tests.pinode.observed_world import ObservedWorld
from tests.waiting import eventually


def cluster_with_a_release() -> ClusterInMemory:
    world = ObservedWorld()
    world.agreed.create()
    world.agreed.deploy()
    return ClusterInMemory(world)


@asynccontextmanager
async def running(cluster: ClusterInMemory) -> AsyncIterator[None]:
    scheduler = Scheduler(cast(Cluster, cluster), shortest_wait_seconds=0.001)
    task = asyncio.create_task(scheduler.run())
    try:
        yield
        assert not task.done(), task
    finally:
        task.cancel()


async def test_the_leader_brings_a_release_up_as_its_dynos_report() -> None:
    cluster = cluster_with_a_release()

    async with running(cluster):
        await eventually(lambda: cluster.world.where() == {"v1 web.1": "a"})
        cluster.world.report_all()
        cluster.note_change()
        await eventually(lambda: cluster.state.registry.live_release("blog"))

    assert [type(command) for command in cluster.executed] == [Place, MakeReleaseLive]


async def test_a_node_that_does_not_lead_executes_nothing_until_it_leads() -> None:
    cluster = cluster_with_a_release()
    cluster.is_leader = False

    async with running(cluster):
        await eventually(lambda: cluster.waits)
        assert cluster.executed == []
        cluster.is_leader = True
        cluster.term = 2
        cluster.note_change()
        await eventually(lambda: cluster.executed)


async def test_with_nothing_to_do_it_executes_nothing_and_waits_for_a_change() -> None:
    cluster = cluster_with_a_release()
    cluster.world.settle()
    before = cluster.world.agreed.index

    async with running(cluster):
        await eventually(lambda: cluster.waits)
        cluster.note_change()
        await eventually(lambda: len(cluster.waits) == 2)

    assert cluster.waits == [LONGEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS]
    assert cluster.world.agreed.index == before


async def test_it_wakes_up_for_what_is_due_though_nothing_changed() -> None:
    cluster = cluster_with_a_release()
    cluster.world.execute_plan()

    async with running(cluster):
        await eventually(lambda: cluster.waits)

    assert cluster.waits == [90.0]


async def test_a_plan_that_was_overtaken_or_not_carried_out_does_not_end_the_scheduler() -> None:
    cluster = cluster_with_a_release()
    for problem in (AlreadyPlaced(app="blog", dyno="web.1", number=1), NoQuorum(), TimeoutError()):
        cluster.refusing = problem
        cluster.executed.clear()

        async with running(cluster):
            await eventually(lambda: cluster.executed)
            cluster.refusing = None
            cluster.note_change()
            await eventually(lambda: cluster.world.where())
        cluster.world = cluster_with_a_release().world
