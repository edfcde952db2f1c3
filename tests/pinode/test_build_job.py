"""From what somebody typed to a build that waits."""

from typing import Any, cast

import pytest

from pinode.apps.build import Build
from pinode.apps.commands import CreateApp, DestroyApp
from pinode.apps.errors import AppDestroyed, AppNotFound
from pinode.apps.source import Source
from pinode.cluster import Cluster
from pinode.deploy.build_job import request_build, request_build_of_source, url_to_fetch
from pinode.errors import InvalidInput
from tests.pinode.cluster_in_memory import ClusterInMemory
from tests.pinode.observed_world import ObservedWorld

URL = "https://example.org/ada/blog.git"


@pytest.fixture
async def cluster() -> ClusterInMemory:
    world = ObservedWorld()
    world.agreed.create()
    return ClusterInMemory(world)


async def ask(cluster: ClusterInMemory, **fields: Any) -> Build:
    app = fields.pop("app", None) or cluster.state.registry.app("blog")
    asked = {"app": app, "git_url": URL, "ref": None, "subdirectory": None, "is_admin": False} | fields
    build_id = await request_build(cast(Cluster, cluster), actor="ada", **asked)
    build = cluster.state.registry.build(build_id)
    assert build is not None
    return build


async def test_a_request_becomes_a_queued_build(cluster: ClusterInMemory) -> None:
    build = await ask(cluster, ref="main", subdirectory="./services/web/")

    assert (build.state, build.git_url, build.ref, build.subdirectory) == (
        "queued",
        URL,
        "main",
        "services/web",
    )


@pytest.mark.parametrize(
    ("url", "userinfo"),
    [
        ("https://ada:s3cret@example.org:8443/blog.git", "ada:s3cret"),
        ("https://t0ken@example.org/blog.git", "t0ken"),
        ("ssh://ada:s3cret@example.org/blog.git", "ada:s3cret"),
    ],
)
async def test_credentials_are_sealed_and_shown_nowhere(
    cluster: ClusterInMemory, url: str, userinfo: str
) -> None:
    build = await ask(cluster, git_url=url)

    assert build.sealed_credentials == cluster.seal(userinfo)
    assert userinfo not in repr(build) + repr(cluster.executed) + repr(cluster.state.registry.apps())
    assert url_to_fetch(build, cluster.reveal) == url


@pytest.mark.parametrize("url", [URL, "git@example.org:ada/blog.git", "ssh://git@example.org/ada/blog.git"])
async def test_a_url_without_a_secret_stays_as_it_is(cluster: ClusterInMemory, url: str) -> None:
    build = await ask(cluster, git_url=url)

    assert build.sealed_credentials is None
    assert url_to_fetch(build, cluster.reveal) == url


async def test_without_a_url_the_last_one_is_built_again_with_its_credentials(
    cluster: ClusterInMemory,
) -> None:
    await ask(cluster, git_url="https://t0ken@example.org/blog.git", subdirectory="web", ref="v1")

    build = await ask(cluster, git_url=None)

    assert (build.git_url, build.subdirectory, build.ref) == ("https://example.org/blog.git", "web", None)
    assert url_to_fetch(build, cluster.reveal) == "https://t0ken@example.org/blog.git"


async def test_without_any_url_it_says_which_command_names_one(cluster: ClusterInMemory) -> None:
    with pytest.raises(InvalidInput) as refused:
        await ask(cluster, git_url=None)

    assert "pinode deploy" in refused.value.hint


@pytest.mark.parametrize(
    "fields",
    [
        {"git_url": "--upload-pack=touch /tmp/x"},
        {"git_url": "-u"},
        {"git_url": "ext::sh -c id"},
        {"git_url": "/etc/passwd"},
        {"git_url": "../other"},
        {"git_url": "file:///srv/git/blog.git"},
        {"git_url": "https://localhost/blog.git"},
        {"git_url": "https://127.0.0.1/blog.git"},
        {"git_url": "http://169.254.169.254/latest"},
        {"git_url": "ssh://-oProxyCommand=id/x"},
        {"git_url": "https://example.org/a\nb"},
        {"git_url": ""},
        {"git_url": "https://example.org/" + "a" * 100_000},
        {"ref": "a..b"},
        {"ref": "-x"},
        {"ref": "a b"},
        {"subdirectory": "../x"},
        {"subdirectory": "/etc"},
    ],
)
async def test_what_cannot_be_built_is_refused_and_nothing_is_asked(
    cluster: ClusterInMemory, fields: dict[str, str]
) -> None:
    with pytest.raises(InvalidInput):
        await ask(cluster, **fields)

    assert cluster.executed == []


async def test_an_administrator_may_build_from_this_machine_and_a_member_not_again(
    cluster: ClusterInMemory,
) -> None:
    build = await ask(cluster, git_url="file:///srv/git/blog.git", is_admin=True)
    assert build.is_admin

    with pytest.raises(InvalidInput, match="own disk"):
        await ask(cluster, git_url=None)


async def test_a_build_of_no_app_is_refused(cluster: ClusterInMemory) -> None:
    blog = cluster.state.registry.app("blog")
    await cluster.execute(DestroyApp(name="blog", actor="ada"))
    with pytest.raises(AppNotFound):
        await ask(cluster, app=blog)


async def test_a_build_of_an_app_whose_name_another_one_has_by_now_is_refused(
    cluster: ClusterInMemory,
) -> None:
    blog = cluster.state.registry.app("blog")
    await cluster.execute(DestroyApp(name="blog", actor="ada"))
    await cluster.execute(CreateApp(name="blog", owner="eve"))

    with pytest.raises(AppDestroyed):
        await ask(cluster, app=blog)
    with pytest.raises(AppDestroyed):
        await ask(cluster, app=blog, git_url=None)

    assert cluster.state.registry.builds("blog") == ()


async def test_who_asks_names_the_very_app(cluster: ClusterInMemory) -> None:
    """For the registry to decide: the app may go between the check and the log."""
    blog = cluster.state.registry.app("blog")
    assert blog is not None
    source = Source(app="blog", digest="1" * 64, source_bytes=10, commit="c" * 40, holders=("a",))
    await ask(cluster)
    await request_build_of_source(cast(Cluster, cluster), source, app=blog, origin="push", actor="ada")
    await ask(cluster, git_url=None)

    assert [command.created_index for command in cluster.executed] == [blog.created_index] * 3


async def test_deploying_again_after_a_push_builds_what_was_pushed(cluster: ClusterInMemory) -> None:
    source = Source(app="blog", digest="1" * 64, source_bytes=10, commit="c" * 40, holders=("a",))
    await ask(cluster)
    blog = cluster.state.registry.app("blog")
    assert blog is not None
    await request_build_of_source(
        cast(Cluster, cluster), source, app=blog, origin="push", actor="ada", ref="main"
    )

    again = await ask(cluster, git_url=None)
    by_name = await ask(cluster, git_url=None, ref="main")

    assert (again.source_digest, again.origin, again.ref) == (source.digest, "push", "main")
    assert (by_name.git_url, by_name.source_digest) == (URL, None)
