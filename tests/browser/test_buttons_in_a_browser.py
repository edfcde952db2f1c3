"""Every other button of an app and of a node: it does what it says, and the page says so afterwards."""

import pytest
from playwright.async_api import Page

from pinode.apps.commands import CreateApp
from tests.browser.browser_stage import Stage, register_and_log_in
from tests.pinode.fake_cluster import SETUP_CODE
from tests.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

URL = "https://git.example.org/ada/blog.git"


async def deployed(web: Stage, *, times: int) -> Page:
    """The page of the app blog after so many deploys."""
    page = await web.open("/")
    await register_and_log_in(page, "ada", "four random words", SETUP_CODE)
    cluster = web.cluster
    cluster.apply(CreateApp(name="blog", owner="ada", git_url=URL))
    for _ in range(times):
        version = cluster.complete_build(cluster.start_build("blog"), web="gunicorn app:app")
        cluster.bring_up("blog", version)
    await page.goto("/apps/blog")
    return page


async def press(page: Page, button: str, note: str) -> None:
    await page.get_by_role("button", name=button, exact=True).click()
    await page.get_by_text(note).wait_for()


async def test_a_build_is_cancelled_and_an_older_release_is_rolled_back_to(web: Stage) -> None:
    page = await deployed(web, times=2)
    registry = web.cluster.state.registry

    await page.locator("#deploy").get_by_role("button", name="Deploy").click()
    await page.get_by_role("link", name="Open").click()
    await press(page, "Cancel", "The build is cancelled")
    assert registry.builds("blog")[0].state == "cancelled"

    await page.goto("/apps/blog")
    await press(page, "Roll back to v1", "The release before is coming up again")
    newest = registry.newest_release("blog")
    assert newest is not None and newest.description == "Rollback to v1"
    assert web.complaints == []


async def test_dynos_are_restarted_stopped_and_started_and_visitors_are_kept_out(web: Stage) -> None:
    page = await deployed(web, times=1)
    registry = web.cluster.state.registry

    await page.get_by_role("button", name="Restart", exact=True).click()
    await eventually(lambda: all(one.is_to_restart for one in registry.placements_of("blog")))
    await page.get_by_role("button", name="Stop", exact=True).click()
    await page.get_by_role("button", name="Start again").wait_for()
    assert registry.app("blog").is_stopped
    await page.get_by_role("button", name="Start again").click()
    await page.get_by_role("button", name="Restart", exact=True).wait_for()
    assert not registry.app("blog").is_stopped

    await page.get_by_role("button", name="Begin maintenance").click()
    await page.locator("#app-head .pill", has_text="in maintenance").wait_for()
    assert registry.app("blog").in_maintenance
    await page.get_by_role("button", name="End maintenance").click()
    await page.get_by_role("button", name="Begin maintenance").wait_for()
    assert not registry.app("blog").in_maintenance
    assert web.complaints == []


async def test_config_vars_are_set_and_removed_and_never_shown(web: Stage) -> None:
    page = await deployed(web, times=1)
    config = page.locator("#config")

    await config.get_by_label("Name").fill("SECRET_KEY")
    await config.get_by_label("Value").fill("two\nlines $HOME")
    await config.get_by_role("button", name="Set").click()
    await config.get_by_text("SECRET_KEY").wait_for()
    sealed = web.cluster.state.registry.app("blog").config.values["SECRET_KEY"]
    assert web.cluster.reveal(sealed).replace("\r\n", "\n") == "two\nlines $HOME"
    assert "$HOME" not in await page.content()

    await config.get_by_role("button", name="Remove SECRET_KEY").click()
    await config.get_by_text("SECRET_KEY").wait_for(state="detached")
    assert not web.cluster.state.registry.app("blog").config.values
    assert web.complaints == []


async def test_an_app_is_renamed_and_destroyed_only_by_its_name(web: Stage) -> None:
    page = await deployed(web, times=1)
    registry = web.cluster.state.registry

    await page.locator("#rename summary").click()
    await page.locator("#new_name").fill("pi2")
    await page.get_by_role("button", name="Rename").click()
    await page.get_by_text("pi2.local is a node of this cluster already").wait_for()
    await page.locator("#new_name").fill("news")
    await press(page, "Rename", "The app has its new name")
    await page.get_by_role("heading", name="news", exact=True).wait_for()

    await page.locator("#destroy summary").click()
    await page.locator("#confirm").fill("blog")
    await press(page, "Destroy", "is not the app's name")
    assert registry.app("news") is not None
    await page.locator("#destroy summary").click()
    await page.locator("#confirm").fill("news")
    await press(page, "Destroy", "The app is destroyed")
    assert registry.apps() == ()


async def test_a_node_is_given_nothing_new_and_work_again_and_one_logs_out(web: Stage) -> None:
    page = await web.open("/")
    await register_and_log_in(page, "ada", "four random words", SETUP_CODE)
    await page.get_by_role("link", name="Cluster").click()
    nodes = web.cluster.state.nodes

    for button, availability in (("Give it nothing new", "cordoned"), ("Give it work again", "active")):
        await page.locator("#manage-pi2 summary").click()
        await page.locator("#manage-pi2").get_by_role("button", name=button).click()
        await eventually(lambda wanted=availability: nodes.named("pi2").availability == wanted)
        await page.wait_for_load_state()

    await page.get_by_role("button", name="Log out").click()
    await page.get_by_role("button", name="Log in").wait_for()
    await page.goto("/cluster")
    assert "/login" in page.url
    assert web.complaints == []
