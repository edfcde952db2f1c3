"""What many waiting jobs cost a node: memory, time to be back, and how long anything waits while it takes a snapshot."""

import asyncio
import statistics
import subprocess
import sys
import time

from benchmarks.queue_failures import kill
from benchmarks.queue_nodes import JOB, TOPIC, PinodeQueue, client_of
from pinode.cli.demo_nodes import DemoNode
from replicated_queue import QueueClient
from replicated_queue.errors import QueueError

MANY_JOBS = 89_500  # of the bound of 100,000 a tenth is kept for the platform's own
PUT_AT_ONCE = 500
LARGE_JOB = bytes(60_000)  # some thousands fill the log that a snapshot waits for
LARGE_TOPIC = "bench-large"
PROBE_SECONDS = 0.002
SNAPSHOTS = 5
BYSTANDER = """
import sys, threading, time
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), ended.set()), daemon=True).start()
longest = 0.0
while not ended.is_set():
    began = time.perf_counter()
    time.sleep(0.002)
    longest = max(longest, time.perf_counter() - began - 0.002)
print(longest)
"""


async def measure_many_jobs(queue: PinodeQueue) -> None:
    """Print all of it."""
    nodes = queue.nodes
    leader = await asyncio.to_thread(nodes.leader)
    before = [rss_megabytes(node) for node in nodes.nodes]
    async with client_of(nodes, leader) as client:
        for _ in range(0, MANY_JOBS, PUT_AT_ONCE):
            await client.put_many(TOPIC, [JOB] * PUT_AT_ONCE)
        for node in nodes.nodes:
            await has_jobs(node)
        after = [rss_megabytes(node) for node in nodes.nodes]
        print(f"{MANY_JOBS} waiting jobs: {before} MB before, {after} MB a node")
        for _ in range(SNAPSHOTS):
            await longest_waits(queue, client)
        await restart(queue, next(node for node in nodes.nodes if node is not leader))
        await PinodeQueue(nodes, leader, client).drain()


async def longest_waits(queue: PinodeQueue, client: QueueClient) -> None:
    """Ask each node over and over, while others put and acknowledge until all have taken a snapshot.

    A bystander that only sleeps tells how long this machine lets anybody wait for a processor.
    """
    bystander = await asyncio.create_subprocess_exec(
        sys.executable, "-c", BYSTANDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    taken_before = {node.name: snapshots_taken(node) for node in queue.nodes.nodes}
    async with asyncio.TaskGroup() as tasks:
        waits: dict[str, list[float]] = {node.name: [] for node in queue.nodes.nodes}
        probes = [tasks.create_task(probe(node, waits[node.name])) for node in queue.nodes.nodes]
        while any(snapshots_taken(node) == taken_before[node.name] for node in queue.nodes.nodes):
            await client.put(LARGE_TOPIC, LARGE_JOB)
            job = await client.reserve(LARGE_TOPIC)
            assert job is not None
            await client.ack(job)
        for task in probes:
            task.cancel()
    stood_still, _ = await bystander.communicate(b"\n")
    told = [
        f"{name} {statistics.median(taken) * 1000:.1f} ms, longest {max(taken) * 1000:.1f} ms"
        for name, taken in waits.items()
    ]
    print(
        f"an answer while they take a snapshot, median: {'; '.join(told)}; "
        f"a bystander stood still for {float(stood_still) * 1000:.1f} ms"
    )


async def probe(node: DemoNode, taken: list[float]) -> None:
    """Ask the node, by its own socket, what it answers from its own state; until cancelled."""
    async with QueueClient.local(node.folder / "data") as local:
        while True:
            began = time.perf_counter()
            await local.stats(LARGE_TOPIC)
            taken.append(time.perf_counter() - began)
            await asyncio.sleep(PROBE_SECONDS)


def snapshots_taken(node: DemoNode) -> int:
    return (node.folder / "node.log").read_text().count("snapshot taken")


async def restart(queue: PinodeQueue, follower: DemoNode) -> None:
    """Kill it and see how soon it has all again."""
    await asyncio.to_thread(kill, follower)
    began = time.perf_counter()
    follower.start()
    await has_jobs(follower)
    print(f"a node killed with them has all again {time.perf_counter() - began:.1f} s after its start began")
    await asyncio.to_thread(queue.nodes.leader)


async def has_jobs(node: DemoNode) -> None:
    """Wait until the node itself shows so many ready jobs."""
    while True:
        try:
            async with QueueClient.local(node.folder / "data") as local:
                if (await local.stats(TOPIC)).ready >= MANY_JOBS:
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
