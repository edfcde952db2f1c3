"""`pinode ps:restart`, `ps:stop`, `ps:why` and `maintenance:on`: done, and said."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pinode.apps.commands import FailBuild, FailRelease, RequestVariant, Unplace
from tests.pinode.cli_stage import CliStage, cli_stage
from tests.pinode.fake_cluster import FakeCluster


@pytest.fixture
def node(tmp_path: Path) -> Iterator[CliStage]:
    with cli_stage(tmp_path) as stage:
        stage.add_app("blog")
        stage.release("blog")
        yield stage


def test_restarting_says_how_many(node: CliStage) -> None:
    ran = node.run("ps:restart", "web.1", "-a", "blog")

    assert ran.code == 0 and "restarting 1 of blog" in ran.err
    assert [one.is_to_restart for one in node.cluster.state.registry.placements()] == [True]
    assert node.run("ps:restart", "web.7", "-a", "blog").code == 3
    assert node.run("ps:restart", "no dyno", "-a", "blog").code == 2


def test_a_stopped_app_is_started_again_by_a_restart(node: CliStage) -> None:
    stopped = node.run("ps:stop", "-a", "blog")
    app = node.cluster.state.registry.app("blog")
    node.run("ps:restart", "-a", "blog")
    again = node.cluster.state.registry.app("blog")

    assert stopped.code == 0 and "pinode ps:restart -a blog" in stopped.err
    assert app and again and (app.is_stopped, again.is_stopped) == (True, False)


def test_why_gives_its_reasons_as_lines_or_as_a_document(node: CliStage) -> None:
    lines = node.run("ps:why", "web.1", "-a", "blog")
    document = node.run("ps:why", "web.1", "-a", "blog", "--json").document

    assert lines.out.splitlines() == document["why"]
    assert "placed on pi1" in lines.out and lines.out.endswith("It is up.\n")
    assert node.run("ps:why", "web.9/../x", "-a", "blog").code in (2, 3)


def test_without_dynos_ps_and_why_say_what_stands_in_the_way(node: CliStage) -> None:
    node.add_app("new")
    node.add_app("broken")
    node.do(lambda cluster: _release_that_fails(cluster, "broken"))
    node.add_app("unbuilt")
    node.do(lambda cluster: _build_that_fails(cluster, "unbuilt"))
    node.run("ps:stop", "-a", "blog")
    node.do(lambda cluster: cluster.apply(Unplace(number=cluster.state.registry.placements()[0].number)))

    said = {app: node.run("ps", "-a", app).err for app in ("new", "broken", "blog")}
    why = node.run("ps:why", "web.1", "-a", "broken").out
    unbuilt = node.run("ps:why", "web.1", "-a", "unbuilt").out

    assert "pinode deploy -a new" in said["new"]
    assert "pinode ps:why web.1 -a broken" in said["broken"]
    assert "pinode ps:restart" in said["blog"] and "-a blog" in said["blog"]
    assert why == "Nothing of broken runs: v1 failed: web.1: crashed.\nIt said: KeyError: 'DSN'\n"
    assert "failed: no Procfile" in unbuilt
    assert node.run("ps:why", "web.1", "-a", "new").code == 3


def _release_that_fails(cluster: FakeCluster, app: str) -> None:
    version = cluster.complete_build(cluster.start_build(app))
    cluster.apply(
        FailRelease(app=app, version=version, failure="web.1: crashed.", last_lines=("KeyError: 'DSN'",))
    )


def _build_that_fails(cluster: FakeCluster, app: str) -> None:
    build = cluster.state.registry.build(cluster.start_build(app))
    assert build is not None
    cluster.apply(FailBuild(build_id=build.id, token=build.token, failure="no Procfile"))


def test_ps_and_builds_name_the_nodes_without_a_slug_and_the_build_that_makes_one(node: CliStage) -> None:
    def ask_for_one(cluster: FakeCluster) -> int:
        cluster.change_node("pi2", arch="x86_64")
        first = cluster.state.registry.deploys("blog")[0]
        return int(cluster.apply(RequestVariant(build_id=first.id, arch="x86_64")))

    build_id = node.do(ask_for_one)

    line = f"v1 has no slug for x86_64 yet (pi2): build {build_id} waits for pi2."
    builds = node.run("builds", "-a", "blog")
    assert line in builds.err and line in node.run("ps", "-a", "blog").err
    (row,) = [row for row in builds.out.splitlines() if str(build_id) in row.split()]
    assert "x86_64" in row
    assert node.run("builds:info", str(build_id), "-a", "blog", "--json").document["for_nodes"] == "x86_64"
    assert node.run("builds:info", "-a", "blog", "--json").document["variant_of"] is None, "the newest deploy"


def test_maintenance_is_switched_on_and_off(node: CliStage) -> None:
    on = node.run("maintenance:on", "-a", "blog")
    shown = node.run("apps:info", "blog", "--json").document
    off = node.run("maintenance", "off", "-a", "blog")

    assert (on.code, off.code, shown["maintenance"]) == (0, 0, True)
    assert "pinode maintenance:off -a blog" in on.err
