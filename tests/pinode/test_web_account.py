"""The account page: tokens for git and programs, and for administrators the people."""

import re
from collections.abc import AsyncIterator

import pytest

from tests.pinode.web_stage import Stage, stage

PERSON = {"username": "carl", "password": "four random words", "email": "carl@example.org"}


@pytest.fixture
async def web() -> AsyncIterator[Stage]:
    async with stage("ada", "bob", "eve") as made:
        yield made


async def me(web: Stage, token: str) -> int:
    return (await web.api("GET", "/api/v1/me", by=None, Authorization=f"Bearer {token}")).status


async def test_a_token_is_made_shown_once_and_revoked(web: Stage) -> None:
    made = await web.browse("/account/tokens", {"label": "git on <my> laptop"})
    token = re.search(r'id="new-token" class="secret">([^<]+)<', made.text)[1]
    listed = (await web.browse("/account")).text
    (kept,) = web.cluster.state.people.tokens_of("bob", web.cluster.now_ms)
    before = await me(web, token)

    revoked = await web.browse("/account/tokens", {"revoke": kept.id})

    assert (made.status, made.headers["Cache-Control"], before) == (200, "no-store", 200)
    assert "git on &lt;my&gt; laptop" in listed and token not in listed and kept.id in listed
    assert (revoked.status, revoked.headers["Location"]) == (303, "/account?note=revoked#tokens")
    assert await me(web, token) == 401


async def test_a_token_of_somebody_else_is_not_there(web: Stage) -> None:
    await web.browse("/account/tokens", {"label": "mine"})
    (kept,) = web.cluster.state.people.tokens_of("bob", web.cluster.now_ms)

    refused = await web.browse("/account/tokens", {"revoke": kept.id}, by="eve")

    assert refused.status == 404 and "you have no token" in refused.text.lower()
    assert "mine" not in refused.text
    assert web.cluster.state.people.tokens_of("bob", web.cluster.now_ms) == (kept,)


async def test_an_administrator_sees_the_people_and_adds_one_who_is_a_member(web: Stage) -> None:
    added = await web.browse("/account/people", PERSON, by="ada")
    page = (await web.browse("/account", by="ada")).text

    carl = web.cluster.state.people.user("carl")
    assert added.headers["Location"] == "/account?note=added#people"
    assert (carl.role, carl.email) == ("member", "carl@example.org")
    assert all(f"<strong>{name}</strong>" in page for name in ("ada", "bob", "carl", "eve"))


async def test_a_refused_person_is_typed_again_but_for_the_password(web: Stage) -> None:
    page = await web.browse("/account/people", {**PERSON, "username": "bob"}, by="ada")

    assert page.status == 409 and 'value="bob"' in page.text and 'value="carl@example.org"' in page.text
    assert "<details open>" in page.text
    assert PERSON["password"] not in page.text


async def test_a_member_neither_sees_nor_adds_people(web: Stage) -> None:
    page = (await web.browse("/account")).text
    refused = await web.browse("/account/people", PERSON)

    assert "People" not in page and "eve" not in page
    assert refused.status == 403
    assert web.cluster.state.people.user("carl") is None
