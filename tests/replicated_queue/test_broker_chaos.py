"""Random trouble between brokers: lost answers, refused calls, elections that keep or lose what was proposed."""

import asyncio
from random import Random

import pytest

from replicated_queue.errors import LeaseLost, OutcomeUnknown
from tests.replicated_queue.fake_group import FakeGroup

PUTS = 40


async def trouble(group: FakeGroup, random: Random) -> None:
    """One event every few turns of the loop, until cancelled."""
    while True:
        for _ in range(random.randrange(1, 30)):
            await asyncio.sleep(0)
        match random.randrange(5):
            case 0:
                group.transports[random.randrange(1, 4)].lose_answers = random.randrange(3)
            case 1:
                group.transports[random.randrange(1, 4)].refuse_calls = random.randrange(3)
            case 2:
                group.elect(random.randrange(1, 4), lose=random.random() < 0.5)
            case 3:
                group.is_held = True
            case _:
                group.release()
        if random.random() < 0.3:
            group.release()


@pytest.mark.parametrize("seed", range(12))
async def test_through_any_trouble_each_put_is_done_once_and_each_job_acknowledged_once(seed: int) -> None:
    random = Random(seed)
    async with FakeGroup(timeout_seconds=30) as group:
        put: list[int] = []
        acknowledged: list[int] = []

        async def producer(node_id: int) -> None:
            for number in range(PUTS):
                put.append(await group.brokers[node_id].put("mail", b"%d %d" % (node_id, number)))

        async def worker(node_id: int) -> None:
            broker = group.brokers[node_id]
            while len(acknowledged) < 3 * PUTS:
                job = await broker.reserve("mail", wait=0.2)
                if job is None:
                    continue
                try:
                    await broker.ack(job)
                    acknowledged.append(job.id)
                except (LeaseLost, OutcomeUnknown) as error:
                    raise AssertionError(f"job {job.id} slipped away") from error

        troubles = asyncio.create_task(trouble(group, random))
        async with asyncio.timeout(30), asyncio.TaskGroup() as work:
            for node_id in (1, 2, 3):
                work.create_task(producer(node_id))
                work.create_task(worker(node_id))
        troubles.cancel()
        group.release()

        assert len(put) == len(set(put)) == 3 * PUTS
        assert sorted(acknowledged) == sorted(put)
        assert group.data_of() == []
