"""Role × route × somebody else's app, made from the table of routes: what is not allowed is refused."""

from collections.abc import AsyncIterator

import pytest

from pinode.apps.commands import CreateHook, RequestBuild
from pinode.apps.cron import CronEntry
from pinode.people.commands import StartSession
from pinode.web.caller import token_hash
from pinode.web.routes import ROUTES, Route
from tests.pinode.fake_cluster import FakeCluster
from tests.pinode.web_stage import Stage, stage, token_of

URL = "https://git.example.org/bob/blog.git"
GUARDED = [route for route in ROUTES if route.access in ("user", "admin", "app")]
OF_ADMINS = [route for route in ROUTES if route.access == "admin"]
OF_APPS = [route for route in ROUTES if route.access == "app"]


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


@pytest.fixture
async def web() -> AsyncIterator[Stage]:
    async with stage("ada", "bob", "eve") as made:
        made.add_app("blog", "bob", URL)
        made.cluster.apply(CreateHook(app="blog", id="0" * 16, sealed_secret=b"sealed:x", actor="bob"))
        yield made


def address(route: Route, cluster: FakeCluster, *, app: str = "blog") -> str:
    names = {"app": app, "node": "pi1", "topic": "mail", "id": str(build_of(cluster)), "name": "live.js"}
    names |= {"version": "1", "dyno": "web.1", "entry": "1", "hook": hook_of(cluster), "token": "0" * 12}
    return route.path.format(**names)


def hook_of(cluster: FakeCluster) -> str:
    return next((hook.id for hook in cluster.state.registry.hooks("blog")), "0" * 16)


def build_of(cluster: FakeCluster) -> int:
    return max((build.id for build in cluster.state.registry.builds("blog")), default=1)


async def ask(web: Stage, route: Route, by: str | None) -> tuple[int, str]:
    path = address(route, web.cluster)
    if route.is_page:
        answer = await web.browse(path, None if route.method == "GET" else {}, by=by)
    else:
        answer = await web.api(route.method, path, None if route.method == "GET" else {}, by=by)
    return answer.status, answer.headers.get("Location", "")


def test_every_route_says_whom_it_is_for() -> None:
    public = {name_of(route) for route in ROUTES if route.access == "public"}
    local = {name_of(route) for route in ROUTES if route.access == "local"}

    assert public == {
        "GET /healthz", "GET /readyz", "GET /ca.pem",
        "GET /openapi.json", "GET /static/{name}", "POST /api/v1/users",
        "POST /api/v1/sessions", "POST /api/v1/apps/{app}/hooks/{hook}", "GET /login", "POST /login", "GET /register", "POST /register",
    }  # fmt: skip
    assert local == {
        "GET /api/v1/local/setup-code",
        "POST /api/v1/local/stop",
        "POST /api/v1/local/leave",
        "GET /api/v1/local/leave",
    }
    open_to_callers = {
        name_of(route) for route in ROUTES if "{app}" in route.path and route.access == "public"
    }
    assert open_to_callers == {"POST /api/v1/apps/{app}/hooks/{hook}"}  # proves itself by a secret


@pytest.mark.parametrize("route", GUARDED, ids=name_of)
async def test_strangers_are_refused_or_sent_to_the_login_and_change_nothing(
    web: Stage, route: Route
) -> None:
    before = web.cluster.state.digest()

    status, location = await ask(web, route, None)

    if route.is_page:
        assert (status, location.partition("?")[0]) == (303, "/login")
    else:
        assert status == 401
    assert web.cluster.state.digest() == before


@pytest.mark.parametrize("route", OF_APPS, ids=name_of)
async def test_members_are_refused_at_somebody_elses_app_and_change_nothing(web: Stage, route: Route) -> None:
    web.cluster.start_build("blog")
    before = web.cluster.state.digest()

    status, _ = await ask(web, route, "eve")

    assert status == 403
    assert web.cluster.state.digest() == before


@pytest.mark.parametrize("route", OF_ADMINS, ids=name_of)
async def test_what_is_for_administrators_is_refused_to_members_and_changes_nothing(
    web: Stage, route: Route
) -> None:
    before = web.cluster.state.digest()

    status, _ = await ask(web, route, "bob")
    assert status == 403
    assert web.cluster.state.digest() == before

    status, _ = await ask(web, route, "ada")
    assert status not in (401, 403, 405, 500)


@pytest.mark.parametrize("by", ["ada", "bob"])
@pytest.mark.parametrize("route", [route for route in OF_APPS if "logs" not in route.path], ids=name_of)
async def test_the_owner_and_administrators_may_do_all_with_an_app(web: Stage, route: Route, by: str) -> None:
    entry = CronEntry(schedule="@daily", command="x")
    version = web.cluster.complete_build(web.cluster.start_build("blog"), schedule=(entry,))
    web.cluster.bring_up("blog", version)
    url = "https://git.example.org/ada/blog.git"
    web.cluster.apply(RequestBuild(app="blog", git_url=url, ref=None, subdirectory=None, actor="ada"))

    status, _ = await ask(web, route, by)

    assert status not in (401, 403, 404, 405, 500)


async def test_a_token_that_is_wrong_expired_or_given_back_opens_nothing(web: Stage) -> None:
    web.cluster.apply(StartSession(token_hash=token_hash(token_of("late")), user="bob", lifetime_ms=1))
    web.cluster.now_ms += 10

    wrong = await web.api("GET", "/api/v1/me", by="nobody")
    expired = await web.api("GET", "/api/v1/me", by="late")
    scheme = await web.api("GET", "/api/v1/me", by=None, Authorization="Basic Ym9iOmJvYg==")
    cookie = await web.browse("/", by="late")

    assert wrong.status == expired.status == scheme.status == 401
    assert wrong.text == expired.text
    assert cookie.headers["Location"] == "/login"


async def test_no_answer_carries_a_secret(web: Stage) -> None:
    await web.api("PATCH", "/api/v1/apps/blog/config", {"KEY": "top-secret-value"})
    await web.api(
        "POST", "/api/v1/apps/blog/builds", {"git_url": "https://joe:pass-word@git.example.org/x/y.git"}
    )

    for route in ROUTES:
        if route.method != "GET" or route.access == "local" or "events" in route.path:
            continue
        path = address(route, web.cluster)
        answer = await (web.browse(path) if route.is_page else web.api("GET", path))

        for secret in ("top-secret-value", "pass-word", "scrypt$", "sealed:"):
            assert secret not in answer.text, (route, secret)
