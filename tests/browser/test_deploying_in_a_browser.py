"""What people do with a mouse, a keyboard or a thumb."""

import pytest

from pinode.apps.commands import CreateApp, EndCronRun, StartCronRun
from pinode.apps.cron import CronEntry
from tests.browser.browser_stage import PHONE, Stage, register_and_log_in
from tests.pinode.fake_cluster import SETUP_CODE
from tests.waiting import eventually

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

URL = "https://git.example.org/ada/a-repository-with-quite-a-long-name-that-must-not-widen-the-page.git"
PAGES = [
    "/",
    "/apps/new",
    "/apps/blog",
    "/apps/blog/builds/{build}",
    "/cluster",
    "/queue",
    "/queue/{topic}",
    "/account",
    "/nowhere",
]


def play_a_deploy(web: Stage, app: str) -> None:
    build = web.cluster.state.registry.builds(app)[0]
    if build.state == "queued":
        web.cluster.take_build(build.id)
    version = web.cluster.complete_build(build.id, web="gunicorn app:app", worker="python worker.py")
    web.cluster.bring_up(app, version)


async def test_from_the_setup_code_to_an_app_whose_build_and_start_are_watched(web: Stage) -> None:
    page = await web.open("/")
    await register_and_log_in(page, "ada", "four random words", SETUP_CODE)
    assert await page.get_by_text("No apps yet").is_visible()

    await page.get_by_role("link", name="Deploy your first app").click()
    await page.get_by_label("Name").fill("blog")
    await page.get_by_label("Git URL").fill(URL)
    await page.get_by_role("button", name="Create and deploy").click()
    await page.get_by_text("waits for a node").wait_for()

    build_id = web.cluster.state.registry.builds("blog")[0].id
    log = web.folder / "builds" / f"{build_id}.log"
    log.write_text("-----> Cloning\n<b>bold & brave</b>\n")
    web.cluster.take_build(build_id)
    await page.get_by_text("<b>bold & brave</b>").wait_for()

    play_a_deploy(web, "blog")
    await page.get_by_text("web.1").wait_for()
    await page.locator("#app-head .pill", has_text="live").wait_for()
    assert await page.get_by_role("link", name="http://192.0.2.1:9000/").first.is_visible()
    await page.get_by_label("worker").fill("2")
    await page.get_by_role("button", name="Scale").click()
    await page.get_by_text("Scaled. The dynos follow.").wait_for()
    assert web.cluster.state.registry.app("blog").formation == {"web": 1, "worker": 2}
    assert web.complaints == []


async def test_a_log_line_of_a_running_app_appears_while_one_looks(web: Stage) -> None:
    page = await web.open("/")
    await register_and_log_in(page, "ada", "four random words", SETUP_CODE)
    await page.goto("/apps/new")
    await page.get_by_label("Name").fill("blog")
    await page.get_by_label("Git URL").fill(URL)
    await page.get_by_role("button", name="Create and deploy").click()
    play_a_deploy(web, "blog")
    placement = web.cluster.state.registry.placements_of("blog")[0]
    folder = web.folder / "logs" / "blog"
    folder.mkdir()

    (folder / f"web.1.{placement.number}.log").write_text("<script>alert(1)</script> served\n")

    await page.get_by_text("<script>alert(1)</script> served").wait_for()


async def test_the_cluster_page_follows_what_happens(web: Stage) -> None:
    page = await web.open("/")
    await register_and_log_in(page, "ada", "four random words", SETUP_CODE)
    await page.get_by_role("link", name="Cluster").click()
    await page.get_by_text("3 of 3 nodes alive").wait_for()

    web.cluster.change_node("pi3", state="dead", stats_age_seconds=30.0)

    await page.get_by_text("2 of 3 nodes alive").wait_for()
    assert await page.get_by_text("pi3 is dead").is_visible()
    await page.locator("#manage-pi3 summary").click()
    assert await page.get_by_role("button", name="Remove", exact=True).is_visible()


async def test_everything_is_reached_with_the_keyboard_alone(web: Stage) -> None:
    page = await web.open("/")
    # The focus is given by the browser with the first picture, not before.
    await page.locator("#setup_code:focus").wait_for()
    await page.keyboard.type(SETUP_CODE)
    await page.keyboard.press("Tab")
    await page.keyboard.type("ada")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.type("four random words")
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="Log in").wait_for()
    await page.locator("#username:focus").wait_for()
    await page.keyboard.type("ada")
    await page.keyboard.press("Tab")
    await page.keyboard.type("four random words")
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="Apps", exact=True).wait_for()

    await page.keyboard.press("Tab")

    assert await page.evaluate("document.activeElement.textContent") == "Skip to content"
    assert await page.get_by_text("Skip to content").bounding_box() is not None
    outline = await page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline != "0px"


async def test_forms_work_without_scripts(web: Stage) -> None:
    page = await web.open("/", java_script_enabled=False)
    await register_and_log_in(page, "ada", "four random words", SETUP_CODE)
    await page.goto("/apps/new")
    await page.get_by_label("Name").fill("blog")
    await page.get_by_label("Git URL").fill("ext::sh -c x")
    await page.get_by_role("button", name="Create and deploy").click()

    assert await page.get_by_role("alert").is_visible()
    assert await page.get_by_label("Name").input_value() == "blog"


async def test_nothing_is_wider_than_a_small_phone(web: Stage) -> None:
    page = await web.open("/", viewport=PHONE, is_mobile=True, has_touch=True)
    await register_and_log_in(page, "ada", "four random words", SETUP_CODE)
    await page.goto("/apps/new")
    await page.get_by_label("Name").fill("blog")
    await page.get_by_label("Git URL").fill(URL)
    await page.get_by_role("button", name="Create and deploy").click()
    await page.get_by_text("waits for a node").wait_for()
    build_id = web.cluster.state.registry.builds("blog")[0].id
    play_a_deploy(web, "blog")
    (web.folder / "builds" / f"{build_id}.log").write_text("x" * 500 + "\n")
    topic = "a.topic.with.a.very.long.name.that.goes.on.and.on.and.on"
    web.cluster.put_job(topic, b"y" * 500)

    widths = {}
    for path in PAGES:
        await page.goto(path.format(build=build_id, topic=topic))
        widths[path] = await page.evaluate("document.documentElement.scrollWidth")

    assert set(widths.values()) == {360}, widths
    await page.goto("/queue")
    for row in await page.get_by_role("row").all():
        for cell in await row.get_by_role("cell").all():
            box = await cell.bounding_box()
            assert box and box["height"] < 3 * 16 * 1.55, "a word of the table is broken"


async def test_a_page_left_open_over_the_end_of_its_login_leads_to_the_login(web: Stage) -> None:
    page = await web.open("/")
    await register_and_log_in(page, "ada", "four random words", SETUP_CODE)
    await page.goto("/cluster")

    web.cluster.now_ms += 40 * 24 * 3600 * 1000
    web.cluster.note_change()

    await page.get_by_role("heading", name="Log in").wait_for()
    await eventually(lambda: "/login" in page.url)


async def test_an_entry_of_cron_is_run_with_a_click_and_its_end_appears_by_itself(web: Stage) -> None:
    entry = CronEntry(schedule="0 3 * * *", command="python tidy.py")
    page = await web.open("/")
    await register_and_log_in(page, "ada", "four random words", SETUP_CODE)
    web.cluster.apply(CreateApp(name="blog", owner="ada"))
    version = web.cluster.complete_build(web.cluster.start_build("blog"), schedule=(entry,))
    web.cluster.bring_up("blog", version)

    await page.goto("/apps/blog")
    await page.get_by_text("At 03:00 every day").wait_for()
    await page.get_by_role("button", name="Run cron.1 now").click()
    await page.get_by_text("Is about to run").wait_for()

    (run,) = web.cluster.state.registry.open_cron_runs()
    web.cluster.apply(StartCronRun(number=run.number))
    web.cluster.apply(EndCronRun(number=run.number, exit_code=3, failure="it exited with status 3."))
    await page.get_by_text("it exited with status 3.").wait_for()
