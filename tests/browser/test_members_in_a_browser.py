"""Who is in the cluster, with a mouse: a token for a new Pi, a Pi that is emptied, one that is gone."""

import pytest

from pinode.nodes.commands import AdvanceKeyRotation, ConfirmKey, OfferKey
from pinode.peers.join_token import decode_join_token
from tests.browser.browser_stage import Stage, register_and_log_in
from tests.pinode.fake_cluster import SETUP_CODE
from tests.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


async def test_a_token_is_made_a_node_is_emptied_and_a_dead_one_is_struck_off(web: Stage) -> None:
    web.cluster.change_node("pi3", state="dead")
    page = await web.open("/")
    await register_and_log_in(page, "ada", "four random words", SETUP_CODE)
    await page.get_by_role("link", name="Cluster").click()
    nodes = web.cluster.state.nodes

    await page.get_by_role("button", name="Make a token for a new node").click()
    shown = await page.locator("#join-token").inner_text()
    token = decode_join_token(shown.removeprefix("pinode start --join "))
    assert nodes.is_good(token.secret_hash, web.cluster.now_ms)
    await page.set_viewport_size({"width": 360, "height": 740})
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360

    await page.locator("#manage-pi2 summary").click()
    await page.get_by_role("button", name="Move its dynos away").click()
    await page.get_by_text("The node is being emptied").wait_for()
    await page.locator("#nodes .pill", has_text="drained").wait_for()

    await page.locator("#manage-pi3 summary").click()
    await page.locator("#confirm-pi3").fill("pi3")
    await page.locator("#manage-pi3").get_by_role("button", name="Remove").click()
    await page.get_by_text("The node is removed for good").wait_for()
    await eventually(lambda: nodes.named("pi3") is None)
    assert await page.locator("#manage-pi3").count() == 0


async def test_the_cluster_key_is_rotated_with_a_click_and_the_page_says_how_far_it_is(web: Stage) -> None:
    cluster, nodes = web.cluster, web.cluster.state.nodes
    page = await web.open("/")
    await register_and_log_in(page, "ada", "four random words", SETUP_CODE)
    await page.get_by_role("link", name="Cluster").click()

    await page.locator("#manage-key summary").click()
    await page.get_by_text("give what is secret there new values afterwards").wait_for()
    await page.get_by_role("button", name="Rotate the cluster key").click()
    await page.get_by_text("The cluster key is being replaced on all nodes").wait_for()
    rotation = nodes.key_rotation
    assert rotation is not None and (rotation.stage, rotation.by) == ("wanted", "ada")
    assert await page.get_by_role("button", name="Rotate the cluster key").count() == 0

    await page.get_by_role("button", name="Make a token for a new node").click()
    await page.locator("strong", has_text="The cluster key is being rotated").wait_for()
    cluster.change_node("pi3", stats_age_seconds=30.0, state="suspect")
    await page.locator("#nodes .pill", has_text="suspect").wait_for()  # the answer to a form goes on, too

    first, *others = [node.node_id for node in nodes.all()]
    cluster.apply(OfferKey(generation=1, mark="new", previous="old", node_id=first))
    for node_id in others[:-1]:
        cluster.apply(ConfirmKey(generation=1, mark="new", stage="install", node_id=node_id))
    await page.get_by_role("link", name="Cluster").click()
    waited_for = nodes.get(others[-1])
    assert waited_for is not None
    await page.locator("#key-rotation", has_text=f"waiting for {waited_for.name}.").wait_for()

    for stage in ("use", "done"):
        cluster.apply(AdvanceKeyRotation(generation=1, mark="new", stage=stage))  # type: ignore[arg-type]
    await page.get_by_role("link", name="Cluster").click()
    await page.locator("#manage-key summary").wait_for()
    assert await page.locator("#key-rotation").count() == 0
    (complaint,) = web.complaints
    assert "409" in complaint, "the token that was refused, and nothing after it"
