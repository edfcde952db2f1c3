"""Slugs between nodes: fetched from whoever has them, whole or not at all, kept twice."""

from pathlib import Path

import pytest

from pinode.apps.commands import CompleteBuild, CreateApp, HoldSlug
from pinode.slugs.replication import SlugReplication
from pinode.slugs.slug_fetch import SlugUnavailable
from pinode.slugs.slug_store import SlugStore
from tests.pinode.fake_cluster import FakeCluster
from tests.pinode.linked_clusters import linked_clusters, peers_of

CONTENT = b"slug" * 200_000


class Node:
    def __init__(self, cluster: FakeCluster, directory: Path) -> None:
        self.cluster = cluster
        self.store = SlugStore(directory / cluster.node_name, most_bytes=10_000_000)
        self.replication = SlugReplication(cluster, self.store)
        self.replication.serve()


@pytest.fixture
def nodes(tmp_path: Path) -> list[Node]:
    return [Node(cluster, tmp_path) for cluster in linked_clusters("pi1", "pi2", "pi3")]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "archive"
    path.write_bytes(CONTENT)
    return path


async def test_a_missing_slug_is_fetched_from_a_node_that_has_it(nodes: list[Node], archive: Path) -> None:
    slug = await nodes[2].store.add(archive)

    await nodes[0].replication.fetch(slug.digest)

    assert nodes[0].store.path(slug.digest).read_bytes() == CONTENT


async def test_a_damaged_slug_is_not_passed_on_and_the_next_node_is_asked(
    nodes: list[Node], archive: Path
) -> None:
    for node in nodes[1:]:
        slug = await node.store.add(archive)
    nodes[1].store.path(slug.digest).write_bytes(CONTENT[:-1] + b"x")

    await nodes[0].replication.fetch(slug.digest, holders=(nodes[1].cluster.node_id,))

    assert nodes[0].store.path(slug.digest).read_bytes() == CONTENT
    assert not nodes[1].store.has(slug.digest)


async def test_a_slug_that_nobody_has_says_who_was_asked(nodes: list[Node]) -> None:
    peers_of(nodes[2].cluster).unreachable.add(nodes[0].cluster.node_id)

    with pytest.raises(SlugUnavailable, match=r"pi2: .*pi3: "):
        await nodes[0].replication.fetch("0" * 64)


async def test_a_new_slug_is_kept_by_a_second_node(nodes: list[Node], archive: Path) -> None:
    slug = await nodes[0].store.add(archive)
    peers_of(nodes[1].cluster).unreachable.add(nodes[0].cluster.node_id)

    kept = await nodes[0].replication.spread(slug.digest)

    assert kept == [nodes[2].cluster.node_id]
    assert nodes[2].store.has(slug.digest) and not nodes[1].store.has(slug.digest)


async def test_a_node_that_fetched_a_registered_slug_is_a_holder(nodes: list[Node], archive: Path) -> None:
    slug = await nodes[1].store.add(archive)
    cluster = nodes[0].cluster
    register(cluster, slug.digest, holder=nodes[1].cluster.node_id)

    await nodes[0].replication.fetch(slug.digest)

    assert HoldSlug(digest=slug.digest, node_id=cluster.node_id) in cluster.commands


def register(cluster: FakeCluster, digest: str, *, holder: str) -> None:

    cluster.add_user("ada")
    cluster.apply(CreateApp(name="blog", owner="ada"))
    build_id = cluster.start_build("blog", node="pi2")
    build = cluster.state.registry.build(build_id)
    assert build is not None
    cluster.apply(
        CompleteBuild(
            build_id=build_id,
            token=build.token,
            commit="c" * 40,
            slug_digest=digest,
            slug_bytes=len(CONTENT),
            arch="any",
            python=None,
            holders=(holder,),
            process_types={"web": "run"},
        )
    )
