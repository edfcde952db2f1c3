"""Slugs stay on two living nodes: copied again when a holder died, told when one was lost."""

from pathlib import Path

import pytest

from pinode.apps.commands import HoldSlug
from pinode.nodes.commands import RemoveNode
from pinode.slugs.copy_care import LOOKS, CopyCare
from pinode.slugs.replication import SlugReplication
from pinode.slugs.slug_store import SlugStore
from tests.pinode.fake_cluster import FakeCluster
from tests.pinode.linked_clusters import linked_clusters, peers_of
from tests.pinode.push_stage import agree
from tests.pinode.test_slug_replication import register


class Node:
    def __init__(self, cluster: FakeCluster, directory: Path) -> None:
        self.cluster = cluster
        self.store = SlugStore(directory / cluster.node_name)
        self.copies = SlugReplication(cluster, self.store)
        self.copies.serve()
        self.care = CopyCare(cluster, (self.store, self.copies), is_caught_up=lambda: True)


class World:
    """Three nodes, and a slug that the first two hold."""

    def __init__(self, nodes: list[Node], digest: str) -> None:
        self.nodes, self.digest = nodes, digest

    def holders(self) -> list[str]:
        held = self.nodes[0].cluster.state.registry.holders(self.digest) or ()
        return [node.cluster.node_name for node in self.nodes if node.cluster.node_id in held]

    def change(self, name: str, state: str) -> None:
        for node in self.nodes:
            node.cluster.change_node(name, state=state)

    async def look(self, times: int = LOOKS) -> None:
        """All living nodes look so often."""
        for _ in range(times):
            for node in self.nodes:
                view = node.cluster.node(node.cluster.node_id)
                if view is not None and view.state == "alive":
                    await node.care.look()


@pytest.fixture
async def world(tmp_path: Path) -> World:
    clusters = linked_clusters("pi1", "pi2", "pi3")
    agree(clusters)
    nodes = [Node(cluster, tmp_path) for cluster in clusters]
    (tmp_path / "slug").write_bytes(b"slug" * 1000)
    for node in nodes[:2]:
        slug = await node.store.add(tmp_path / "slug")
    first = clusters[0]
    register(first, slug.digest, holder=first.node_id)
    first.apply(HoldSlug(digest=slug.digest, node_id=clusters[1].node_id))
    return World(nodes, slug.digest)


async def test_a_slug_whose_holder_died_is_copied_to_another_node(world: World) -> None:
    world.change("pi2", "dead")

    await world.look()

    assert world.nodes[2].store.has(world.digest)
    assert world.holders() == ["pi1", "pi2", "pi3"]


async def test_a_slug_whose_holder_was_removed_is_copied_to_another_node(world: World) -> None:
    cluster = world.nodes[0].cluster
    cluster.apply(RemoveNode(node_id=world.nodes[1].cluster.node_id, by="ada"))

    await world.look()

    assert world.nodes[2].store.has(world.digest) and "pi3" in world.holders()


async def test_nothing_is_copied_for_a_node_that_is_back_soon(world: World) -> None:
    world.change("pi2", "dead")
    await world.look(LOOKS - 1)
    world.change("pi2", "alive")

    await world.look()

    assert not world.nodes[2].store.has(world.digest)


async def test_a_node_that_lost_a_slug_says_so_and_another_copy_is_made(world: World) -> None:
    path = world.nodes[1].store.path(world.digest)
    path.write_bytes(b"rotten")
    with pytest.raises(Exception, match="damaged"):
        await world.nodes[1].store.verify(world.digest)

    await world.look(1)
    told = world.holders()
    await world.look()

    assert told == ["pi1"]
    assert len(world.holders()) == 2


async def test_without_a_quorum_or_with_two_copies_nothing_is_done(world: World) -> None:
    await world.look()
    assert not world.nodes[2].store.has(world.digest)

    world.change("pi2", "dead")
    for node in world.nodes:
        node.cluster.has_quorum = False
    await world.look()

    assert not world.nodes[2].store.has(world.digest)


async def test_where_no_other_node_lives_nobody_is_asked(world: World) -> None:
    for name in ("pi2", "pi3"):
        world.change(name, "dead")

    await world.look()

    assert peers_of(world.nodes[0].cluster).calls == 0
