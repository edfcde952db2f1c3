"""Who is in the cluster, with a mouse: a token for a new Pi, a Pi that is emptied, one that is gone."""

import pytest

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
