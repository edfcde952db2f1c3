"""Whole nodes and their snapshots: the log is forgotten, and who was away, or lost power, has it all the same."""

import asyncio
from collections.abc import Iterator

import pytest

from pinode.cli.demo_nodes import DemoNode
from replicated_queue import QueueClient
from tests.multi_host.three_nodes import Nodes, running_nodes

pytestmark = pytest.mark.multi_host
JOBS = 250
JOB_BYTES = 60_000  # together well over the log that a snapshot waits for
SEGMENTS = 5  # of 4 MiB; the whole log would take four, and one is prepared


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with running_nodes() as running:
        yield running


def local(node: DemoNode) -> QueueClient:
    return QueueClient.local(node.folder / "data", timeout=60)


def segments(node: DemoNode) -> int:
    return len(list((node.folder / "data").rglob("*.wal")))


def said(node: DemoNode, words: str) -> int:
    return (node.folder / "node.log").read_text().count(words)


def commit_index(nodes: Nodes, node: DemoNode) -> int:
    return int(nodes.status(node)["cluster"]["commit_index"])


async def test_a_node_that_was_away_gets_a_snapshot_and_after_a_power_cut_all_jobs_are_there(
    nodes: Nodes,
) -> None:
    leader = await asyncio.to_thread(nodes.leader)
    away, other = (node for node in nodes.nodes if node is not leader)
    await asyncio.to_thread(nodes.kill, away)
    async with local(leader) as queue:
        ids = [await queue.put("mail", b"%05d" % serial + bytes(JOB_BYTES)) for serial in range(JOBS)]
    for node in (leader, other):
        await asyncio.to_thread(
            nodes.until, lambda node=node: said(node, "snapshot taken"), seconds=30, what="a snapshot"
        )

    away.start()
    await asyncio.to_thread(
        nodes.until,
        lambda: commit_index(nodes, away) == commit_index(nodes, leader) and said(away, "snapshot received"),
        seconds=40,
        what="the node that was away has caught up by a snapshot",
    )
    assert max(map(segments, nodes.nodes)) <= SEGMENTS
    await asyncio.to_thread(nodes.cut_power)
    for node in nodes.nodes:
        node.start()
    await asyncio.to_thread(nodes.leader)

    async with local(away) as queue:
        found = []
        while jobs := await queue.reserve_many("mail", 10, wait=0, worker="test"):
            found += [(job.id, job.data[:5]) for job in jobs]
            await queue.ack_many(jobs)
    assert found == [(job_id, b"%05d" % serial) for serial, job_id in enumerate(ids)]
