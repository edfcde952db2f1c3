"""One's own page, with a mouse: a token for git, and somebody else who can log in."""

import pytest

from pinode.web.caller import token_hash
from tests.browser.browser_stage import PHONE, Stage, register_and_log_in
from tests.pinode.fake_cluster import SETUP_CODE

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


async def test_a_token_is_made_and_revoked_and_a_person_is_added_who_logs_in(web: Stage) -> None:
    page = await web.open("/")
    await register_and_log_in(page, "ada", "four random words", SETUP_CODE)
    people = web.cluster.state.people
    await page.get_by_role("link", name="ada").click()

    await page.get_by_label("What it is for").fill("git on my laptop")
    await page.get_by_role("button", name="Make a token").click()
    token = await page.locator("#new-token").inner_text()
    assert people.session(token_hash(token), web.cluster.now_ms) is not None
    await page.set_viewport_size(PHONE)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360

    await page.get_by_role("button", name="Revoke git on my laptop").click()
    await page.get_by_text("The token opens nothing any more.").wait_for()
    assert people.session(token_hash(token), web.cluster.now_ms) is None

    await page.get_by_text("Add somebody").click()
    await page.get_by_label("User name").fill("bob")
    await page.get_by_label("Password").fill("more random words")
    await page.get_by_role("button", name="Add", exact=True).click()
    await page.get_by_text("They can log in now.").wait_for()
    theirs = await web.open("/login")
    await theirs.get_by_label("User name").fill("bob")
    await theirs.get_by_label("Password").fill("more random words")
    await theirs.get_by_role("button", name="Log in").click()
    await theirs.get_by_role("heading", name="Apps", exact=True).wait_for()
    assert web.complaints == []
