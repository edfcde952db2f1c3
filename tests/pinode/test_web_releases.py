"""Releases over HTTP: shown, rolled back to, by the API and on the app's page."""

from collections.abc import AsyncIterator

import pytest

from tests.pinode.web_stage import Stage, stage

BLOG = "/api/v1/apps/blog"


@pytest.fixture
async def web() -> AsyncIterator[Stage]:
    """The app blog: v1 served, v2 serves."""
    async with stage("ada", "bob") as made:
        made.add_app("blog", "bob")
        for _ in range(2):
            version = made.cluster.complete_build(made.cluster.start_build("blog"))
            made.cluster.bring_up("blog", version)
        yield made


async def test_the_app_and_its_page_say_for_which_nodes_a_slug_is_missing(web: Stage) -> None:
    web.cluster.change_node("pi3", arch="riscv64")
    line = "v2 has no slug for riscv64 yet (pi3): one is built next on pi3."

    app, page = await web.api("GET", BLOG), await web.browse("/apps/blog")
    release = (await web.api("GET", f"{BLOG}/releases/2")).json()

    assert app.json()["missing_slugs"] == [line] and line in page.text
    assert [(slug["digest"], slug["arch"]) for slug in release["slugs"]] == [(release["slug"], ["aarch64"])]


async def test_a_rollback_makes_a_new_release_that_says_who_and_of_what(web: Stage) -> None:
    made = await web.api("POST", f"{BLOG}/releases", {"rollback_to": 1})
    shown = await web.api("GET", f"{BLOG}/releases/3")

    assert made.status == 201 and made.json() == {**shown.json(), "age_seconds": made.json()["age_seconds"]}
    assert {name: shown.json()[name] for name in ("version", "state", "description", "created_by")} == {
        "version": 3, "state": "pending", "description": "Rollback to v1", "created_by": "bob",
    }  # fmt: skip


async def test_a_rollback_sent_twice_under_one_key_is_one_release(web: Stage) -> None:
    answers = [
        await web.api("POST", f"{BLOG}/releases", {"rollback_to": 1}, Idempotency_Key="once")
        for _ in range(2)
    ]

    assert [answer.json()["version"] for answer in answers] == [3, 3]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"rollback_to": 2}, 409, "cannot_roll_back_to"),
        ({"rollback_to": 9}, 404, "release_not_found"),
        ({"rollback_to": "v1"}, 400, "invalid"),
        ({"rolback_to": 1}, 400, "invalid"),
    ],
)
async def test_what_cannot_be_rolled_back_to_is_refused_and_changes_nothing(
    web: Stage, body: dict[str, object], status: int, code: str
) -> None:
    before = web.cluster.state.registry.digest()

    refused = await web.api("POST", f"{BLOG}/releases", body)

    assert (refused.status, refused.code) == (status, code)
    assert web.cluster.state.registry.digest() == before


async def test_the_page_offers_what_served_before_and_rolls_back_to_it(web: Stage) -> None:
    page = await web.browse("/apps/blog")
    done = await web.browse("/apps/blog/releases", {"rollback_to": "1"})

    assert "Roll back to v1" in page.text and "Roll back to v2" not in page.text
    assert done.status == 303 and "note=rolled-back" in done.headers["Location"]
    newest = web.cluster.state.registry.newest_release("blog")
    assert newest is not None and newest.description == "Rollback to v1"


async def test_a_form_with_another_number_says_what_is_wrong(web: Stage) -> None:
    refused = await web.browse("/apps/blog/releases", {"rollback_to": "2"})

    assert refused.status == 409
    assert "only a release that served before can be rolled back to" in refused.text
