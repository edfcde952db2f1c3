"""An app is called otherwise: what it is, has and runs stays."""

import asyncio
from pathlib import Path

import pytest

from pinode.apps.commands import (
    CreateApp,
    CreateHook,
    DestroyApp,
    MakeReleaseLive,
    Place,
    RenameApp,
    SetConfig,
)
from pinode.apps.errors import AppDestroyed, AppExists, AppNotFound, InvalidName
from pinode.router.door import Door
from pinode.router.timings import RouterTimings
from tests.pinode.agreement import GIT_URL, Agreement
from tests.pinode.cli_stage import cli_stage
from tests.pinode.dyno_world import World, make_world
from tests.pinode.router_world import dyno, get, local, router, table
from tests.pinode.web_stage import Stage, stage
from tests.waiting import eventually

HOOK = "0" * 16
RUN = "exec python3 server.py"


def renamed(old: str, new: str) -> RenameApp:
    return RenameApp(app=old, name=new, actor="ada")


# --- what is agreed


def grown() -> Agreement:
    """The app blog with everything that an app can have."""
    agreed = Agreement()
    agreed.create()
    agreed.do(SetConfig(app="blog", set_values={"KEY": b"1"}, actor="ada"))
    agreed.do(CreateHook(app="blog", id=HOOK, sealed_secret=b"s", actor="ada"))
    agreed.deploy()
    agreed.do(Place(app="blog", version=1, process_type="web", ordinal=1, node_id="a"))
    agreed.do(MakeReleaseLive(app="blog", version=1))
    agreed.request()
    return agreed


def test_everything_that_names_the_app_follows_and_nothing_else_changes() -> None:
    agreed = grown()
    before = agreed.registry.app("blog")

    agreed.do(renamed("blog", "news"))

    app = agreed.registry.app("news")
    assert before is not None and app is not None and agreed.registry.app("blog") is None
    for field in ("owner", "port_index", "created_index", "config", "formation", "live_version", "git_url"):
        assert getattr(app, field) == getattr(before, field)
    for rows_of in (agreed.registry.builds, agreed.registry.releases, agreed.registry.placements_of):
        assert rows_of("news") and not rows_of("blog")
        assert {row.app for row in rows_of("news")} == {"news"}
    assert agreed.registry.hook("news", HOOK) is not None and agreed.registry.hook("blog", HOOK) is None
    assert agreed.replay().digest() == agreed.state.digest()


def test_a_build_that_runs_meanwhile_becomes_a_release_of_the_renamed_app() -> None:
    agreed = Agreement()
    agreed.create()
    agreed.request()
    build_id, token = agreed.start()

    agreed.do(renamed("blog", "news"))
    agreed.complete(build_id, token)

    release = agreed.registry.newest_release("news")
    assert release is not None and release.build_id == build_id
    assert not agreed.registry.unfinished_builds()


def test_a_taken_or_impossible_name_is_refused_and_changes_nothing() -> None:
    agreed = grown()
    agreed.create("shop")
    before = agreed.state.registry.digest()

    for name, error in (("shop", AppExists), ("blog", AppExists), ("No", InvalidName), ("", InvalidName)):
        with pytest.raises(error):
            agreed.do(renamed("blog", name))
    with pytest.raises(AppNotFound):
        agreed.do(renamed("none", "new"))

    assert agreed.state.registry.digest() == before


def test_what_is_meant_for_the_old_name_does_not_reach_the_next_app_of_it() -> None:
    agreed = grown()
    old = agreed.registry.app("blog")
    assert old is not None
    agreed.do(renamed("blog", "news"))
    agreed.create("blog", "bob")

    with pytest.raises(AppDestroyed):
        agreed.do(DestroyApp(name="blog", actor="ada", created_index=old.created_index))


def test_no_two_apps_ever_share_a_folder() -> None:
    agreed = Agreement()
    agreed.create("blog")
    agreed.do(renamed("blog", "news"))
    agreed.create("blog")
    agreed.do(renamed("blog", "shop"))
    agreed.create("blog")
    agreed.do(renamed("news", "olds"))

    folders = {app.name: app.folder_name for app in agreed.registry.apps()}

    assert folders == {"olds": "blog", "shop": "blog.3", "blog": "blog.5"}


# --- what runs


@pytest.fixture
async def world(tmp_path: Path):  # type: ignore[no-untyped-def]
    made = await make_world(tmp_path)
    yield made
    made.end_processes()


async def test_a_dyno_goes_on_under_the_new_name_and_learns_it_when_it_is_started_again(world: World) -> None:
    async with world.running():
        number = world.place(world.deploy(web=RUN))
        await eventually(world.is_in(number, "up"), within_seconds=10)
        before = world.processes_of(number)

        world.cluster.apply(renamed("blog", "news"))
        await eventually(lambda: world.rows[number].app == "news")

        assert world.processes_of(number) == before
        assert "PINODE_APP=blog" in await world.ask(number)
        assert "hello from the app" in world.log(number)
        world.end_processes()
        await eventually(
            lambda: world.rows[number].restarts == 1 and world.rows[number].state == "up", within_seconds=10
        )
        assert "PINODE_APP=news" in await world.ask(number)


async def test_a_node_that_was_away_finds_a_renamed_apps_dyno_and_its_log(world: World) -> None:
    async with world.running():
        number = world.place(world.deploy(web=RUN))
        await eventually(world.is_in(number, "up"), within_seconds=10)
        before = world.processes_of(number)
    world.rows.clear()
    world.cluster.apply(renamed("blog", "news"))
    world.cluster.apply(CreateApp(name="blog", owner="ada"))

    async with world.running() as supervisor:
        await eventually(lambda: world.rows and world.rows[number].app == "news")
        after = world.processes_of(number), world.rows[number].state, world.log(number)
        await supervisor.stop_all()

    assert after[:2] == (before, "up") and "hello from the app" in after[2]


async def test_a_request_that_waits_at_the_apps_port_is_answered_under_the_new_name() -> None:
    timings = RouterTimings(starting_seconds=5, drain_seconds=0)
    door = Door(port=9000, is_app_port=True)
    routes = table(expected=1, app="blog")
    async with dyno() as app, router(routes, timings=timings, door=door) as running:
        asking = asyncio.create_task(running.ask(get()))
        await eventually(lambda: running.proxy.routing.waiting)
        running.proxy.routing.use_routes(table(local(app.port), app="news"))
        answer = await asking

    assert b"200 OK" in answer


# --- over HTTP


async def test_the_owner_renames_the_app_and_the_old_name_is_free() -> None:
    async with stage("ada", "bob") as web:
        web.add_app("blog", "bob")
        before = (await web.api("GET", "/api/v1/apps/blog")).json()

        answer = await web.api("PATCH", "/api/v1/apps/blog", {"name": "news"})

        assert answer.status == 200
        assert answer.json()["name"] == "news" and answer.json()["url"] == before["url"]
        assert (await web.api("GET", "/api/v1/apps/blog")).status == 404


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": "shop"}, 409, "app_exists"),
        ({"name": "pi2"}, 409, "name_on_lan"),
        ({"name": "home"}, 409, "name_on_lan"),
        ({"name": "../x"}, 400, "invalid_name"),
        ({"name": 5}, 400, "invalid"),
        ({}, 400, "invalid"),
        ({"name": "news", "owner": "eve"}, 400, "invalid"),
    ],
)
async def test_a_name_that_cannot_be_is_refused_and_changes_nothing(
    body: dict[str, object], status: int, code: str
) -> None:
    async with stage("ada", "bob") as web:
        web.add_app("blog", "bob")
        web.add_app("shop", "bob")
        before = web.cluster.state.registry.digest()

        refused = await web.api("PATCH", "/api/v1/apps/blog", body)

        assert (refused.status, refused.code) == (status, code)
        assert web.cluster.state.registry.digest() == before


async def test_no_app_is_created_with_the_name_of_a_node() -> None:
    async with stage("ada", "bob") as web:
        refused = await web.api("POST", "/api/v1/apps", {"name": "pi2"})

        assert (refused.status, refused.code) == (409, "name_on_lan")
        assert "pi2.local is a node of this cluster already" in refused.message


async def test_the_page_renames_and_leads_to_the_new_address() -> None:
    async with stage("ada", "bob") as web:
        web.add_app("blog", "bob")

        refused = await web.browse("/apps/blog/rename", {"new_name": "Not This"})
        done = await web.browse("/apps/blog/rename", {"new_name": " news "})

        assert refused.status == 400 and "Not This" in refused.text
        assert (done.status, done.headers["Location"]) == (303, "/apps/news?note=renamed")


async def test_a_git_server_goes_on_calling_until_another_app_takes_the_name() -> None:
    async with stage("ada", "bob") as web:
        web.add_app("blog", "bob", GIT_URL)
        path = await hook_of(web, "blog")
        web.cluster.apply(renamed("blog", "news"))

        still_known = await web.api("POST", path, {}, by=None)
        web.add_app("blog", "ada")
        taken = await web.api("POST", path, {}, by=None)

        assert (still_known.status, still_known.code) == (401, "wrong_signature")
        assert taken.status == 404


async def hook_of(web: Stage, app: str) -> str:
    web.cluster.apply(CreateHook(app=app, id=HOOK, sealed_secret=web.cluster.seal("secret"), actor="bob"))
    return f"/api/v1/apps/{app}/hooks/{HOOK}"


# --- from the command line


def test_the_command_says_what_happened_and_the_git_remote_follows(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    (folder / ".git/objects").mkdir(parents=True)
    (folder / ".git/refs").mkdir()
    (folder / ".git/HEAD").write_text("ref: refs/heads/main\n")
    config = folder / ".git/config"
    config.write_text('[remote "pinode"]\n\turl = https://pi1.local:8000/git/blog.git\n')
    with cli_stage(tmp_path) as node:
        node.add_app("blog")
        node.add_app("shop")

        elsewhere = node.finish(node.start("apps:rename", "shop", "store", cwd=folder))
        ran = node.finish(node.start("apps:rename", "blog", "news", cwd=folder))
        again = node.run("apps:rename", "blog", "news")

    assert (elsewhere.code, ran.code, again.code) == (0, 0, 3)
    assert ran.out == "http://192.0.2.1:9000/\n"
    assert "blog is called news now" in ran.err and "PINODE_APP" in ran.err
    assert "remote" not in elsewhere.err
    assert "url = https://pi1.local:8000/git/news.git" in config.read_text()
