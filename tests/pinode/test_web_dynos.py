"""Dynos over HTTP: restarted, stopped, explained; an app in maintenance; by the API and on its page."""

from collections.abc import AsyncIterator

import pytest

from pinode.apps.commands import SetFormation
from tests.pinode.web_stage import Stage, stage

BLOG = "/api/v1/apps/blog"


@pytest.fixture
async def web() -> AsyncIterator[Stage]:
    """The app blog with one web dyno that is up."""
    async with stage("ada", "bob") as made:
        made.add_app("blog", "bob")
        version = made.cluster.complete_build(made.cluster.start_build("blog"))
        made.cluster.bring_up("blog", version)
        yield made


def marked(web: Stage) -> list[bool]:
    return [one.is_to_restart for one in web.cluster.state.registry.placements()]


async def test_dynos_are_restarted_all_or_one(web: Stage) -> None:
    one = await web.api("POST", f"{BLOG}/dynos/restart", {"dyno": "web.1"})
    every = await web.api("POST", f"{BLOG}/dynos/restart")

    assert (one.status, one.json()) == (202, {"restarting": 1}) == (every.status, every.json())
    assert marked(web) == [True]


@pytest.mark.parametrize(
    ("dyno", "status"), [("web.9", 404), ("nothing", 404), ("web.1; ls", 400), ("../x", 400), (7, 400)]
)
async def test_what_is_no_dyno_is_refused(web: Stage, dyno: object, status: int) -> None:
    refused = await web.api("POST", f"{BLOG}/dynos/restart", {"dyno": dyno})

    assert refused.status == status
    assert marked(web) == [False]


async def test_a_stopped_app_says_so_until_it_is_restarted(web: Stage) -> None:
    stopped = await web.api("POST", f"{BLOG}/dynos/stop")
    shown = (await web.api("GET", BLOG)).json()
    await web.api("POST", f"{BLOG}/dynos/restart")

    assert stopped.status == 204
    assert (shown["state"], shown["stopped"]) == ("stopped", True)
    assert not (await web.api("GET", BLOG)).json()["stopped"]


async def test_maintenance_is_switched_on_and_off(web: Stage) -> None:
    on = await web.api("PUT", f"{BLOG}/maintenance", {"on": True})
    off = await web.api("PUT", f"{BLOG}/maintenance", {"on": False})
    odd = await web.api("PUT", f"{BLOG}/maintenance", {"on": "yes"})

    assert (on.status, on.json()["maintenance"], off.json()["maintenance"]) == (200, True, False)
    assert odd.status == 400


async def test_a_dyno_that_runs_is_explained(web: Stage) -> None:
    (placement,) = web.cluster.state.registry.placements()
    detail = "crashed 4 times in a row; the last time it exited with status 3"
    web.cluster.report(placement, "failed", restarts=3, exit_code=3, detail=detail, last_lines=("no flask",))

    shown = (await web.api("GET", f"{BLOG}/dynos/web.1")).json()

    assert shown["name"] == "web.1" and len(shown["placements"]) == 1
    text = " ".join(shown["why"])
    for part in ("placed on pi1", "started again 3 times", detail, "no flask", "pinode ps:restart web.1"):
        assert part in text


async def test_a_dyno_that_is_missing_is_explained_node_by_node(web: Stage) -> None:
    web.cluster.apply(SetFormation(app="blog", quantities={"web": 2}, actor="bob"))
    web.cluster.change_node("pi1", roles=("build",))
    web.cluster.change_node("pi2", arch="x86_64")
    web.cluster.change_node("pi3", state="dead")

    why = (await web.api("GET", f"{BLOG}/dynos/web.2")).json()["why"]

    assert why[1:] == [
        "pi1: its roles do not name deploy.",
        "pi2: no slug of v1 runs on it: it has x86_64; one needs aarch64.",
        "pi3: it is dead.",
    ]
    assert "ps:scale web=3" in (await web.api("GET", f"{BLOG}/dynos/web.3")).json()["why"][0]
    assert (await web.api("GET", f"{BLOG}/dynos/cat.1")).status == 404


async def test_the_page_restarts_stops_and_closes_the_app(web: Stage) -> None:
    restarted = await web.browse("/apps/blog/dynos", {"do": "restart"})
    stopped = await web.browse("/apps/blog/dynos", {"do": "stop"})
    closed = await web.browse("/apps/blog/maintenance", {"on": "1"})
    page = await web.browse("/apps/blog")
    odd = await web.browse("/apps/blog/dynos", {"do": "explode"})

    assert [answer.status for answer in (restarted, stopped, closed, odd)] == [303, 303, 303, 400]
    assert marked(web) == [True]
    for shown in ("in maintenance", "End maintenance", "Start again"):
        assert shown in page.text
