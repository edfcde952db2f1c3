"""Who is in the cluster, through the API."""

from collections.abc import AsyncIterator

import pytest

from pinode.nodes.node_table import JOIN_TOKENS
from pinode.peers.join_token import decode_join_token
from pinode.settings import Address
from tests.pinode.web_stage import HOUR_MS, Stage, stage


@pytest.fixture
async def web() -> AsyncIterator[Stage]:
    async with stage("ada", "bob") as made:
        yield made


async def test_a_join_token_is_shown_once_and_only_its_hash_is_kept(web: Stage) -> None:
    answer = await web.api("POST", "/api/v1/join-tokens", by="ada")

    made = answer.json()
    token = decode_join_token(made["token"])
    assert (answer.status, made["expires_in_seconds"]) == (201, 3600)
    nodes = web.cluster.state.nodes
    assert nodes.is_good(token.secret_hash, web.cluster.now_ms + HOUR_MS - 1)
    assert not nodes.is_good(token.secret_hash, web.cluster.now_ms + HOUR_MS)
    assert token.secret not in b"".join(web.cluster.state.snapshot())


async def test_a_token_names_living_nodes_the_one_that_was_asked_first(web: Stage) -> None:
    web.cluster.change_node("pi2", state="dead")

    token = decode_join_token((await web.api("POST", "/api/v1/join-tokens", by="ada")).json()["token"])

    assert token.addresses == (Address("192.0.2.1", 7300), Address("192.0.2.3", 7300))
    assert token.authority_hash == web.cluster.peer_authority_hash


@pytest.mark.parametrize("seconds", [0, -1, 31 * 24 * 3600, "soon", 1.5])
async def test_a_lifetime_that_cannot_be_is_refused(web: Stage, seconds: object) -> None:
    answer = await web.api("POST", "/api/v1/join-tokens", {"expires_seconds": seconds}, by="ada")

    assert answer.status == 400


async def test_tokens_are_bounded_and_can_be_revoked_together(web: Stage) -> None:
    for _ in range(JOIN_TOKENS):
        await web.api("POST", "/api/v1/join-tokens", by="ada")

    refused = await web.api("POST", "/api/v1/join-tokens", by="ada")
    revoked = await web.api("DELETE", "/api/v1/join-tokens", by="ada")

    assert (refused.status, refused.code) == (409, "too_many_join_tokens")
    assert revoked.json() == {"revoked": JOIN_TOKENS}
    assert (await web.api("POST", "/api/v1/join-tokens", by="ada")).status == 201
