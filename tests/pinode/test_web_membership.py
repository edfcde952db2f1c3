"""Who is in the cluster, through the API."""

from collections.abc import AsyncIterator

import pytest

from pinode.nodes.commands import AdvanceKeyRotation, OfferKey, RotateKey, SetAvailability
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


async def test_a_dead_node_is_removed_for_good(web: Stage) -> None:
    web.cluster.change_node("pi3", state="dead")

    answer = await web.api("DELETE", "/api/v1/nodes/pi3", by="ada")

    removed = web.cluster.state.nodes.removed(f"{3:016x}")
    assert answer.status == 204 and removed is not None and removed.by == "ada"
    assert [node["name"] for node in (await web.api("GET", "/api/v1/nodes")).json()["items"]] == [
        "pi1",
        "pi2",
    ]
    again = await web.api("DELETE", "/api/v1/nodes/pi3", by="ada")
    assert (again.status, again.code) == (404, "node_not_found")


async def test_a_living_node_is_removed_only_by_force(web: Stage) -> None:
    refused = await web.api("DELETE", "/api/v1/nodes/pi3", by="ada")
    forced = await web.api("DELETE", "/api/v1/nodes/pi3?force=1", by="ada")

    assert (refused.status, refused.code) == (409, "node_is_alive")
    assert forced.status == 204


async def test_no_node_is_removed_that_the_others_need_to_decide(web: Stage) -> None:
    web.cluster.change_node("pi3", state="dead")

    answer = await web.api("DELETE", "/api/v1/nodes/pi2?force=1", by="ada")

    assert (answer.status, answer.code) == (409, "would_lose_quorum")
    assert web.cluster.state.nodes.get(f"{2:016x}") is not None


async def test_a_node_is_cordoned_drained_and_given_back(web: Stage) -> None:
    seen = []
    for verb in ("cordon", "drain", "uncordon"):
        answer = await web.api("POST", f"/api/v1/nodes/pi2/{verb}", by="ada")
        seen.append((answer.json()["cordoned"], answer.json()["availability"]))

    assert seen == [(True, "cordoned"), (True, "drained"), (False, "active")]


async def test_a_node_that_is_leaving_is_not_called_back_from_outside(web: Stage) -> None:
    web.cluster.apply(SetAvailability(node_id=f"{2:016x}", availability="leaving", by="ada"))

    answer = await web.api("POST", "/api/v1/nodes/pi2/uncordon", by="ada")

    assert answer.status == 409


async def test_the_cluster_page_lets_administrators_alone_change_who_is_in_it(web: Stage) -> None:
    web.cluster.change_node("pi3", state="dead")

    admin, member = await web.browse("/cluster", by="ada"), await web.browse("/cluster", by="bob")

    assert 'action="/cluster/join-token"' in admin.text and "manage-pi3" in admin.text
    assert "join-token" not in member.text and "manage" not in member.text
    assert "pill plain" in member.text and "leader" in member.text and "voter" in member.text


async def test_a_token_made_in_the_browser_stands_on_the_page_that_answers(web: Stage) -> None:
    answer = await web.browse("/cluster/join-token", {}, by="ada")

    word = answer.text.partition("pinode start --join ")[2].partition("<")[0]
    token = decode_join_token(word)
    assert answer.status == 200 and web.cluster.state.nodes.is_good(token.secret_hash, web.cluster.now_ms)
    assert word not in (await web.browse("/cluster", by="ada")).text
    forged = await web.browse("/cluster/join-token", {}, by="ada", csrf="wrong")
    assert forged.status == 403 and "pinode start --join" not in forged.text


async def test_a_dead_node_is_removed_in_the_browser_by_typing_its_name(web: Stage) -> None:
    web.cluster.change_node("pi3", state="dead")

    wrong = await web.browse("/cluster/nodes/pi3", {"do": "remove", "confirm": "pi2"}, by="ada")
    assert wrong.status == 400 and web.cluster.state.nodes.named("pi3") is not None
    right = await web.browse("/cluster/nodes/pi3", {"do": "remove", "confirm": "pi3"}, by="ada")

    assert right.status == 303 and web.cluster.state.nodes.named("pi3") is None


async def test_a_node_is_drained_and_given_back_in_the_browser(web: Stage) -> None:
    drained = await web.browse("/cluster/nodes/pi2", {"do": "drain"}, by="ada")
    assert drained.status == 303
    page = (await web.browse("/cluster", by="ada")).text
    assert "drained" in page and 'value="uncordon"' in page

    await web.browse("/cluster/nodes/pi2", {"do": "uncordon"}, by="ada")
    nonsense = await web.browse("/cluster/nodes/pi2", {"do": "explode"}, by="ada")

    assert nonsense.status == 400
    node = web.cluster.state.nodes.named("pi2")
    assert node is not None and node.availability == "active"


async def test_a_rotation_of_the_cluster_key_begins_is_shown_and_is_not_begun_twice(web: Stage) -> None:
    none_yet = (await web.api("GET", "/api/v1/key-rotation", by="ada")).json()
    web.cluster.change_node("pi3", state="dead")

    began = await web.api("POST", "/api/v1/key-rotation", by="ada")
    web.cluster.apply(OfferKey(generation=1, mark="new", previous="old", node_id=f"{1:016x}"))
    shown = (await web.api("GET", "/api/v1/key-rotation", by="ada")).json()
    again = await web.api("POST", "/api/v1/key-rotation", by="ada")
    token = await web.api("POST", "/api/v1/join-tokens", by="ada")

    assert (none_yet["generation"], none_yet["stage"]) == (0, "done")
    assert (began.status, began.json()["stage"]) == (202, "wanted")
    assert shown == {
        "generation": 1,
        "stage": "install",
        "by": "ada",
        "waiting_for": ["pi2"],
        "away": ["pi3"],
    }
    assert (again.status, again.code) == (token.status, token.code) == (409, "key_rotation_under_way")
    assert (await web.api("POST", "/api/v1/key-rotation", by="bob")).status == 403


async def test_the_cluster_page_rotates_the_key_and_says_what_it_waits_for(web: Stage) -> None:
    before = await web.browse("/cluster", by="ada")
    began = await web.browse("/cluster/key-rotation", {}, by="ada")
    web.cluster.apply(OfferKey(generation=1, mark="new", previous="old", node_id=f"{1:016x}"))
    during = await web.browse("/cluster", by="ada")

    assert 'action="/cluster/key-rotation"' in before.text
    assert (began.status, began.headers["Location"]) == (303, "/cluster?note=rotate#manage")
    assert "being rotated; waiting for pi2, pi3." in during.text
    assert 'action="/cluster/key-rotation"' not in during.text
    assert (await web.browse("/cluster/key-rotation", {}, by="bob")).status == 403


async def test_status_warns_of_a_rotation_that_is_not_over_and_names_whom_it_waits_for(web: Stage) -> None:
    web.cluster.apply(RotateKey(by="ada"))
    web.cluster.apply(OfferKey(generation=1, mark="new", previous="old", node_id=f"{1:016x}"))
    during = (await web.api("GET", "/api/v1/status")).json()["warnings"]
    web.cluster.apply(AdvanceKeyRotation(generation=1, mark="new", stage="use"))
    web.cluster.apply(AdvanceKeyRotation(generation=1, mark="new", stage="done"))
    after = (await web.api("GET", "/api/v1/status")).json()["warnings"]

    assert [text for text in during if "waits for pi2, pi3 to take the new key" in text]
    assert not [text for text in after if "key" in text]
