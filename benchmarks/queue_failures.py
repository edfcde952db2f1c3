"""How soon puts go on when the leader dies, falls silent or hands over."""

import asyncio
import signal
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

from benchmarks.queue_nodes import JOB, TOPIC, PinodeQueue, client_of
from pinode.cli.demo_nodes import DemoNode
from replicated_queue.errors import QueueError

TRIES = 5
PUTS_AFTER = 50  # a hand-over


async def measure_failures(queue: PinodeQueue) -> None:
    """Print seconds from the failure to the next committed put, and how long a hand-over held puts up."""
    for what, fail in (("kill -9", kill), ("SIGSTOP", stop)):
        gaps = [await gap_after(queue, fail) for _ in range(TRIES)]
        gaps.sort()
        print(
            f"{what} of the leader → next committed put: median {statistics.median(gaps):.2f} s, worst {gaps[-1]:.2f} s"
        )
    gaps = sorted([await gap_of_hand_over(queue) for _ in range(TRIES)])
    print(
        "hand-over, longest time between two committed puts, one after the other: "
        f"median {statistics.median(gaps) * 1000:.0f} ms, worst {gaps[-1] * 1000:.0f} ms"
    )


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


async def gap_of_hand_over(queue: PinodeQueue) -> float:
    """The longest that a put through another node took to be committed after the one before, in seconds."""
    nodes = queue.nodes
    leader = await asyncio.to_thread(nodes.leader)
    follower = next(node for node in nodes.nodes if node is not leader)
    async with client_of(nodes, follower) as client:
        committed = [time.perf_counter()]

        async def put() -> None:
            await client.put(TOPIC, JOB)
            committed.append(time.perf_counter())

        await put()
        step_down = asyncio.create_task(
            asyncio.to_thread(follower.client().post, "/api/v1/leader/step-down", {})
        )
        del committed[:-1]
        while not step_down.done():
            await put()
        for _ in range(PUTS_AFTER):
            await put()
        assert (await step_down)["was"] == leader.name
        await PinodeQueue(nodes, follower, client).drain()
    return max(after - before for before, after in pairwise(committed))
