"""Cron over HTTP: shown with its runs, run at once, on the app's page as well."""

import re
from collections.abc import AsyncIterator

import pytest

from pinode.apps.commands import EndCronRun, FireCron, StartCronRun, StopDynos
from pinode.apps.cron import CronEntry
from tests.pinode.web_stage import Stage, stage

CRON = "/api/v1/apps/blog/cron"
ENTRIES = (
    CronEntry(schedule="0 3 * * *", command="python tidy.py <all>", timezone="Europe/Berlin"),
    CronEntry(schedule="@hourly", command="python report.py", is_suspended=True),
)


@pytest.fixture
async def web() -> AsyncIterator[Stage]:
    async with stage("ada", "bob") as made:
        made.add_app("blog", "bob")
        version = made.cluster.complete_build(made.cluster.start_build("blog"), schedule=ENTRIES)
        made.cluster.bring_up("blog", version)
        yield made


def finish(web: Stage, *, exit_code: int) -> None:
    (run,) = web.cluster.state.registry.open_cron_runs()
    failure = f"it exited with status {exit_code}." if exit_code else None
    web.cluster.apply(StartCronRun(number=run.number))
    web.cluster.apply(EndCronRun(number=run.number, exit_code=exit_code, failure=failure))


async def test_entries_are_shown_with_their_schedule_in_words_and_when_they_come_next(web: Stage) -> None:
    tidy, report = (await web.api("GET", CRON)).json()["items"]

    assert (tidy["id"], tidy["name"], tidy["in_words"]) == (1, "cron.1", "At 03:00 every day, Europe/Berlin")
    assert tidy["state"] == "scheduled" and tidy["next_run_at"].endswith(":00:00Z")
    assert 0 < tidy["next_run_in_seconds"] <= 25 * 3600
    assert (report["state"], report["next_run_at"], report["runs"]) == ("suspended", None, [])


async def test_one_is_run_now_and_shown_with_its_end(web: Stage) -> None:
    asked = await web.api("POST", f"{CRON}/2/run")
    refused = await web.api("POST", f"{CRON}/2/run")
    finish(web, exit_code=3)
    run = (await web.api("GET", CRON)).json()["items"][1]["runs"][0]

    assert (asked.status, asked.json()["state"], asked.json()["asked_by"]) == (202, "waiting", "bob")
    assert (refused.status, refused.code) == (409, "cron_still_runs")
    assert (run["state"], run["exit_code"], run["failure"]) == ("ended", 3, "it exited with status 3.")
    assert run["node"] in ("pi1", "pi2", "pi3") and run["duration_seconds"] is not None


async def test_asked_for_twice_under_one_key_it_runs_once(web: Stage) -> None:
    answers = [await web.api("POST", f"{CRON}/1/run", Idempotency_Key="once") for _ in range(2)]

    assert [answer.status for answer in answers] == [202, 202]
    assert len(web.cluster.state.registry.cron_runs("blog")) == 1


async def test_an_entry_that_is_not_there_is_said_with_those_that_are(web: Stage) -> None:
    refused = await web.api("POST", f"{CRON}/3/run")

    assert (refused.status, refused.code) == (404, "cron_entry_not_found")
    assert "cron.1 to cron.2" in refused.message


async def test_a_run_by_the_clock_says_for_which_minute_and_how_many_were_skipped(web: Stage) -> None:
    node_id = web.cluster.node_id
    for minute in (1_800_000_000, 1_800_000_060):
        web.cluster.apply(FireCron(app="blog", version=1, ordinal=1, node_id=node_id, minute=minute))

    (run,) = (await web.api("GET", CRON)).json()["items"][0]["runs"]

    assert (run["for_minute"], run["asked_by"], run["skipped"]) == ("2027-01-15T08:00:00Z", None, 1)


async def test_of_a_stopped_app_nothing_comes_next(web: Stage) -> None:
    web.cluster.apply(StopDynos(app="blog", actor="bob"))

    assert (await web.api("GET", CRON)).json()["items"][0]["state"] == "stopped"


async def test_the_page_shows_them_and_runs_one(web: Stage) -> None:
    page = await web.browse("/apps/blog")
    ran = await web.browse("/apps/blog/cron", {"id": "1"})
    finish(web, exit_code=0)
    after = await web.browse("/apps/blog")
    wrong = await web.browse("/apps/blog/cron", {"id": "one"})

    assert "python tidy.py &lt;all&gt;" in page.text and "At 03:00 every day, Europe/Berlin" in page.text
    assert (ran.status, ran.headers["Location"]) == (303, "/apps/blog?note=cron-runs#cron-card")
    assert "it ended well" in after.text
    assert wrong.status == 400


async def test_the_page_says_in_words_when_the_next_run_comes_and_how_long_the_last_one_took(
    web: Stage,
) -> None:
    await web.api("POST", f"{CRON}/1/run")
    (run,) = web.cluster.state.registry.open_cron_runs()
    web.cluster.apply(StartCronRun(number=run.number))
    web.cluster.now_ms += 90_000
    running = (await web.browse("/apps/blog")).text
    finish_at = web.cluster.now_ms + 30_000
    web.cluster.now_ms = finish_at
    web.cluster.apply(EndCronRun(number=run.number, exit_code=0))
    web.cluster.now_ms += 300_000
    ended = (await web.browse("/apps/blog")).text

    assert re.search(r"Runs on pi\d for 2 min now\.", running)
    assert re.search(r"next in \d+ (h|min|s|d)<", ended)
    assert re.search(r"Last run 7 min ago, 2 min long: it ended well\.", ended)


async def test_an_app_without_cron_has_no_card_for_it(web: Stage) -> None:
    web.add_app("shop", "bob")

    assert "cron-card" not in (await web.browse("/apps/shop")).text
    assert (await web.api("GET", "/api/v1/apps/shop/cron")).json()["items"] == []
