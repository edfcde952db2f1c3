"""Requests under an `Idempotency-Key` on three real logs: the node that was asked may go away, and lead no more."""

import asyncio
from pathlib import Path

import pytest

from pinode.apps.commands import CreateApp
from pinode.cluster_state import ANSWERS, QUEUE, SAID_BYTES
from pinode.web.under_key import ClusterUnderKey, WriteKey
from replicated_queue.errors import KeyReused, MalformedMessage
from replicated_queue.queue.codec import result_of
from replicated_queue.queue.commands import Put, Reserve
from replicated_queue.sessions import SingleShot
from tests.pinode.upgraded_nodes import AgingNode, AgingNodes
from tests.waiting import eventually


def under_key(node: AgingNode, fingerprint: int = 1) -> ClusterUnderKey:
    return ClusterUnderKey(node.cluster, WriteKey(b"a key", fingerprint))


async def test_after_a_change_of_the_leader_and_a_restart_a_repeated_request_gets_its_first_results(
    tmp_path: Path,
) -> None:
    shop = CreateApp(name="shop", owner="ada", git_url=None)
    async with AgingNodes(tmp_path) as nodes:
        leader = await nodes.leader()
        number = next(number for number, node in nodes.nodes.items() if node is leader)
        await under_key(leader).execute(shop)
        said = await leader.broker.submit(ANSWERS, b"first", once=SingleShot(b"a key", 0, 1))

        await nodes.stop(number)
        other = await nodes.leader()
        again = nodes.start(number, level=1)
        await eventually(lambda: again.replica.has_quorum, within_seconds=10)

        for node in (other, again):
            await under_key(node).execute(shop)  # else: the app exists
            with pytest.raises(KeyReused):
                await under_key(node, fingerprint=2).execute(shop)
            assert (
                await node.broker.submit(ANSWERS, b"other", once=SingleShot(b"a key", 0, 1))
                == said
                == b"first"
            )
        digests = [node.state.digest for node in nodes.nodes.values()]
        await eventually(lambda: len({digest() for digest in digests}) == 1, within_seconds=10)


async def test_a_reserve_that_is_repeated_on_another_node_gets_the_job_it_took(tmp_path: Path) -> None:
    async with AgingNodes(tmp_path) as nodes:
        await nodes.leader()
        for data in (b"first", b"second"):
            await nodes.nodes[1].broker.put("mail", data)

        taken = [await under_key(nodes.nodes[number]).queue.reserve("mail") for number in (1, 2, 3)]
        other = await nodes.nodes[1].broker.reserve("mail")
        last = await under_key(nodes.nodes[2]).queue.reserve("mail")  # there is no other job

        assert [job.data for job in taken if job] == [b"first"] * 3
        assert other is not None and other.data == b"second"
        assert last == taken[0]


async def test_a_reserve_that_is_repeated_during_an_election_gets_the_job_that_it_took_before(
    tmp_path: Path,
) -> None:
    """The node that leads then finds in its log what the one before could not say."""
    async with AgingNodes(tmp_path) as nodes:
        leader = await nodes.leader()
        await leader.broker.put("mail", b"the only one")
        number = next(number for number, node in nodes.nodes.items() if node is leader)
        others = [node for node in nodes.nodes.values() if node is not leader]
        index = leader.replica.last_index
        await eventually(lambda: all(node.replica.applied_index == index for node in others))
        nodes.deaf.add(number)
        once = SingleShot(b"a key", 1, 1)
        lost = asyncio.create_task(
            leader.broker.reserve_once(Reserve(("mail",)), once, wait=0, repeated=False)
        )
        await eventually(lambda: all(node.replica.last_index > index for node in others))
        await nodes.stop(number)
        await eventually(lambda: others[0].replica.leader_id is None)

        again = await under_key(others[0]).queue.reserve("mail")

        assert again is not None and again.data == b"the only one"
        lost.cancel()


async def test_a_job_that_is_put_again_under_its_key_is_one(tmp_path: Path) -> None:
    async with AgingNodes(tmp_path) as nodes:
        await nodes.leader()

        answers = [
            await under_key(node).queue.submit(QUEUE, Put("mail", b"x")) for node in nodes.nodes.values()
        ]

        assert len({result_of(answer) for answer in answers}) == 1
        assert (await nodes.nodes[1].broker.stats("mail")).ready == 1


async def test_a_leader_takes_no_answer_from_another_node_that_is_too_long(tmp_path: Path) -> None:
    async with AgingNodes(tmp_path) as nodes:
        leader = await nodes.leader()
        index = leader.replica.last_index

        others = [node for node in nodes.nodes.values() if node is not leader]
        for node in others:
            with pytest.raises(MalformedMessage):
                await node.broker.submit(ANSWERS, b"x" * (SAID_BYTES + 1), once=SingleShot(b"a key"))

        assert leader.replica.last_index == index
