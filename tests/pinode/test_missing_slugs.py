"""What people are told of nodes that an app has no slug for: on its page, by the API and the command line."""

import asyncio

import pytest

from pinode.apps.build import abilities
from pinode.apps.commands import (
    CreateApp,
    FailBuild,
    MakeReleaseLive,
    RequestBuild,
    RequestVariant,
    Rollback,
    StartBuild,
)
from pinode.apps.source import Source
from pinode.operations.missing_slugs import missing_slugs
from replicated_queue.queue.commands import Reserve
from tests.pinode.agreement import GIT_URL, completion
from tests.pinode.fake_cluster import FakeCluster

OLD, NEW = "/usr/bin/python3.11", "/usr/bin/python3.13"


@pytest.fixture
def cluster() -> FakeCluster:
    """pi1 has Python 3.11, for which the live release has a slug; pi2 and pi3 have 3.13."""
    cluster = FakeCluster()
    cluster.change_node("pi1", interpreters=(OLD,))
    for name in ("pi2", "pi3"):
        cluster.change_node(name, interpreters=(NEW,))
    cluster.apply(CreateApp(name="blog", owner="ada"))
    deploy(cluster)
    return cluster


def deploy(cluster: FakeCluster, source: Source | None = None) -> None:
    request = RequestBuild(
        app="blog",
        git_url=None if source else GIT_URL,
        ref=None,
        subdirectory=None,
        actor="ada",
        source=source,
    )
    build_id = int(cluster.apply(request))
    token = started(cluster, build_id)
    version = cluster.apply(completion(build_id, token, interpreter=OLD))
    cluster.apply(MakeReleaseLive(app="blog", version=version))


def started(cluster: FakeCluster, build_id: int, node: int = 1) -> int:
    build = cluster.state.registry.build(build_id)
    assert build is not None
    reserve = Reserve(("pinode.builds",), worker="x", platform=True, has=abilities("aarch64", (OLD, NEW)))
    jobs = asyncio.run(cluster.queue.platform_queue._reserve(reserve, wait=0))
    cluster.apply(StartBuild(build_id=build_id, token=jobs[0].token, node_id=f"{node:016x}"))
    return int(jobs[0].token)


def vary(cluster: FakeCluster) -> int:
    first = cluster.state.registry.deploys("blog")[0]
    return int(cluster.apply(RequestVariant(build_id=first.id, arch="aarch64", interpreters=(NEW,))))


def said(cluster: FakeCluster) -> str:
    app = cluster.state.registry.app("blog")
    assert app is not None
    (line,) = missing_slugs(cluster, app)  # type: ignore[arg-type]
    start = f"v1 has no slug for aarch64 with {NEW} yet (pi2 and pi3): "
    assert line.startswith(start) and line.endswith(".")
    return line.removeprefix(start)


def test_each_step_of_a_further_slug_is_told(cluster: FakeCluster) -> None:
    assert said(cluster) == "one is built next on pi2 or pi3."
    build_id = vary(cluster)
    assert said(cluster) == f"build {build_id} waits for pi2 or pi3."
    token = started(cluster, build_id, node=3)
    assert said(cluster) == f"build {build_id} makes one on pi3."

    cluster.apply(FailBuild(build_id=build_id, token=token, failure="uvloop has no wheel."))

    assert said(cluster) == (
        f"build {build_id} made none (uvloop has no wheel), and the next is built in 10 min."
    )


def test_with_a_slug_for_every_node_there_is_nothing_to_tell(cluster: FakeCluster) -> None:
    build_id = vary(cluster)
    cluster.apply(completion(build_id, started(cluster, build_id), slug="2", interpreter=NEW))

    app = cluster.state.registry.app("blog")
    assert app is not None and missing_slugs(cluster, app) == []  # type: ignore[arg-type]


def test_where_no_node_may_build_it_that_is_said_with_what_to_do(cluster: FakeCluster) -> None:
    for name in ("pi2", "pi3"):
        cluster.change_node(name, roles=("deploy",))

    assert said(cluster) == "no node that builds has the same; let one of them build ([node] roles)."


def test_what_cannot_be_built_again_is_to_be_deployed_again() -> None:
    cluster = FakeCluster()
    cluster.change_node("pi2", arch="x86_64")
    cluster.apply(CreateApp(name="blog", owner="ada"))
    for digest in "abc":
        source = Source(app="blog", digest=digest * 64, source_bytes=9, commit="c0ffee" * 6, holders=("x",))
        deploy(cluster, source)
    cluster.apply(
        MakeReleaseLive(app="blog", version=cluster.apply(Rollback(app="blog", actor="ada", version=1)))
    )

    app = cluster.state.registry.app("blog")
    assert app is not None
    assert missing_slugs(cluster, app) == [  # type: ignore[arg-type]
        "v4 has no slug for x86_64 yet (pi2): what it was built from is not kept any more; "
        "deploy it again: pinode deploy -a blog."
    ]
