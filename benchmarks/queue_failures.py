"""How soon puts go on when the leader dies, falls silent or hands over; what many waiting jobs cost."""

import asyncio
import signal
import statistics
import time
from collections.abc import Callable

from benchmarks.queue_nodes import JOB, TOPIC, PinodeQueue, client_of
from pinode.cli.demo_nodes import DemoNode
from replicated_queue import QueueClient
from replicated_queue.errors import QueueError

TRIES = 5
MANY_JOBS = 90_000  # a tenth of the bound of 100,000 is kept for the platform's own
PUT_AT_ONCE = 500


async def measure_failures(queue: PinodeQueue) -> None:
    """Print seconds from the failure to the next committed put, then memory and restart with many jobs."""
    for what, fail in (("kill -9", kill), ("SIGSTOP", stop)):
        gaps = [await gap_after(queue, fail) for _ in range(TRIES)]
        gaps.sort()
        print(
            f"{what} of the leader → next committed put: median {statistics.median(gaps):.2f} s, worst {gaps[-1]:.2f} s"
        )
    await many_jobs(queue)


def kill(node: DemoNode) -> Callable[[], None]:
    """End it; what is returned brings it back."""
    assert node.process
    node.process.send_signal(signal.SIGKILL)
    node.process.wait(10)
    return node.start


def stop(node: DemoNode) -> Callable[[], None]:
    """Let it stand still; what is returned lets it go on."""
    process = node.process
    assert process
    process.send_signal(signal.SIGSTOP)
    return lambda: process.send_signal(signal.SIGCONT)


async def gap_after(queue: PinodeQueue, fail: Callable[[DemoNode], Callable[[], None]]) -> float:
    """From the failure to the first put that was asked after it and is committed, through another node."""
    nodes = queue.nodes
    leader = await asyncio.to_thread(nodes.leader)
    follower = next(node for node in nodes.nodes if node is not leader)
    async with client_of(nodes, follower) as client:
        await client.put(TOPIC, JOB)
        bring_back = await asyncio.to_thread(fail, leader)
        began = time.perf_counter()
        while True:
            try:
                await client.put(TOPIC, JOB)
                break
            except QueueError:
                continue
        gap = time.perf_counter() - began
        bring_back()
        await asyncio.to_thread(nodes.leader)
        await PinodeQueue(nodes, follower, client).drain()
    return gap


async def many_jobs(queue: PinodeQueue) -> None:
    """Memory of each node with many waiting jobs, and how long one takes to be back with them."""
    nodes = queue.nodes
    leader = await asyncio.to_thread(nodes.leader)
    before = [rss_megabytes(node) for node in nodes.nodes]
    async with client_of(nodes, leader) as client:
        for _ in range(0, MANY_JOBS, PUT_AT_ONCE):
            await client.put_many(TOPIC, [JOB] * PUT_AT_ONCE)
        await everywhere(queue, MANY_JOBS)
        after = [rss_megabytes(node) for node in nodes.nodes]
        print(f"{MANY_JOBS} waiting jobs: {before} MB before, {after} MB a node")
        follower = next(node for node in nodes.nodes if node is not leader)
        kill(follower)
        began = time.perf_counter()
        follower.start()
        async with client_of(nodes, leader) as asked:
            await asked.stats(TOPIC)
        await has_jobs(queue, follower, MANY_JOBS)
        print(
            f"a node killed with them has all again {time.perf_counter() - began:.1f} s after its start began"
        )
        await PinodeQueue(nodes, leader, client).drain()


async def everywhere(queue: PinodeQueue, count: int) -> None:
    for node in queue.nodes.nodes:
        await has_jobs(queue, node, count)


async def has_jobs(queue: PinodeQueue, node: DemoNode, count: int) -> None:
    """Wait until the node itself shows so many ready jobs."""
    while True:
        try:
            async with QueueClient.local(node.folder / "data") as local:
                if (await local.stats(TOPIC)).ready >= count:
                    return
        except QueueError:
            pass
        await asyncio.sleep(0.05)


def rss_megabytes(node: DemoNode) -> float:
    """Resident memory of the node's process."""
    assert node.process
    with open(f"/proc/{node.process.pid}/status") as status:
        line = next(line for line in status if line.startswith("VmRSS"))
    return round(int(line.split()[1]) / 1024, 1)
