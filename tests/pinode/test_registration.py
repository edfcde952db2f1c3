"""A node that was renamed, or has another address, says so once."""

from dataclasses import replace

from pinode.nodes.commands import AddNode
from pinode.registration import Registration
from pinode.settings import Address
from tests.pinode.fake_cluster import FakeCluster


def cluster_of(name: str = "pi1") -> FakeCluster:
    cluster = FakeCluster()
    cluster.node_name = name
    cluster.settings = replace(
        cluster.settings, listen=replace(cluster.settings.listen, peer=Address("0.0.0.0", 7300))
    )
    return cluster


def registration(cluster: FakeCluster, host: str = "192.0.2.1", *, caught_up: bool = True) -> Registration:
    return Registration(cluster, host=lambda: host, is_caught_up=lambda: caught_up)


async def test_nothing_is_written_while_nothing_is_different() -> None:
    cluster = cluster_of()

    await registration(cluster).look()

    assert cluster.commands == []


async def test_another_name_and_another_address_are_agreed_on_once() -> None:
    cluster = cluster_of("kitchen")
    here = registration(cluster, "192.0.2.99")

    await here.look()
    await here.look()

    node = cluster.state.nodes.get(cluster.node_id)
    assert node is not None and (node.name, node.host) == ("kitchen", "192.0.2.99")
    assert len(cluster.commands) == 1


async def test_a_name_that_is_taken_is_asked_for_once() -> None:
    cluster = cluster_of("pi2")
    here = registration(cluster)

    await here.look()
    await here.look()

    node = cluster.state.nodes.get(cluster.node_id)
    assert node is not None and node.name == "pi1"
    assert len([one for one in cluster.commands if isinstance(one, AddNode)]) == 1


async def test_a_node_that_may_know_old_things_and_one_without_quorum_say_nothing() -> None:
    behind, alone = cluster_of("kitchen"), cluster_of("kitchen")
    alone.has_quorum = False

    await registration(behind, caught_up=False).look()
    await registration(alone).look()

    assert behind.commands == alone.commands == []
