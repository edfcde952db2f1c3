"""Tokens: made for programs and git, shown once, revoked by their owner."""

from collections.abc import AsyncIterator

import pytest

from pinode.people.commands import StartSession
from pinode.people.errors import TooManyTokens
from pinode.people.people import SESSIONS_OF_A_USER, TOKENS_OF_A_USER
from tests.pinode.agreement import Agreement
from tests.pinode.test_people import administrator, is_logged_in, log_in, token_hash
from tests.pinode.web_stage import Stage, stage

DAY_MS = 24 * 3600 * 1000


@pytest.fixture
async def web() -> AsyncIterator[Stage]:
    async with stage("ada", "bob", "eve") as made:
        yield made


async def make(web: Stage, by: str = "bob", **wanted: object) -> tuple[str, str]:
    made = await web.api("POST", "/api/v1/tokens", wanted, by=by)
    assert made.status == 201, made.text
    return made.json()["id"], made.json()["token"]


async def me(web: Stage, token: str) -> int:
    return (await web.api("GET", "/api/v1/me", by=None, Authorization=f"Bearer {token}")).status


async def test_a_token_opens_what_its_owner_may_and_is_shown_once(web: Stage) -> None:
    token_id, token = await make(web, label="ci")

    listed = await web.api("GET", "/api/v1/tokens")

    assert await me(web, token) == 200
    assert [(one["id"], one["label"]) for one in listed.json()["items"]] == [(token_id, "ci")]
    assert token not in listed.text
    assert token.encode() not in repr(web.cluster.state.people.sessions_of("bob")).encode()


async def test_a_revoked_token_opens_nothing(web: Stage) -> None:
    token_id, token = await make(web)

    revoked = await web.api("DELETE", f"/api/v1/tokens/{token_id}")

    assert (revoked.status, await me(web, token)) == (204, 401)
    assert (await web.api("GET", "/api/v1/tokens")).json()["items"] == []


async def test_a_token_expires(web: Stage) -> None:
    _, token = await make(web, expires_days=2)

    web.cluster.now_ms += DAY_MS
    early = await me(web, token)
    web.cluster.now_ms += DAY_MS

    assert (early, await me(web, token)) == (200, 401)


@pytest.mark.parametrize("token_id", ["", "x", "..", "%00", "0" * 12, "a" * 500])
async def test_others_and_strange_names_revoke_nothing(web: Stage, token_id: str) -> None:
    mine, token = await make(web)

    strange = await web.api("DELETE", f"/api/v1/tokens/{token_id}")
    theirs = await web.api("DELETE", f"/api/v1/tokens/{mine}", by="eve")

    assert strange.status == theirs.status == 404
    assert await me(web, token) == 200


@pytest.mark.parametrize("wanted", [{"expires_days": 0}, {"expires_days": 401}, {"label": "a\nb"}, {"x": 1}])
async def test_strange_wishes_are_refused(web: Stage, wanted: dict[str, object]) -> None:
    assert (await web.api("POST", "/api/v1/tokens", wanted)).status == 400


def test_logins_push_out_logins_and_no_tokens() -> None:
    agreed = Agreement()
    agreed.do(administrator())
    agreed.do(StartSession(token_hash=token_hash(0), user="ada", lifetime_ms=60_000, is_token=True))

    for number in range(1, SESSIONS_OF_A_USER + 2):
        log_in(agreed, number)

    assert is_logged_in(agreed, 0)
    assert not is_logged_in(agreed, 1) and is_logged_in(agreed, 2)


def test_one_user_has_so_many_tokens_and_no_more() -> None:
    agreed = Agreement()
    agreed.do(administrator())
    for number in range(TOKENS_OF_A_USER):
        agreed.do(StartSession(token_hash=token_hash(number), user="ada", lifetime_ms=60_000, is_token=True))

    with pytest.raises(TooManyTokens):
        agreed.do(StartSession(token_hash=token_hash(99), user="ada", lifetime_ms=60_000, is_token=True))
    agreed.now += 60_000
    agreed.do(StartSession(token_hash=token_hash(99), user="ada", lifetime_ms=60_000, is_token=True))
