"""What happens to one dyno: the decisions alone, in virtual time."""

from itertools import pairwise

import pytest

from pinode.dynos.dyno import Dyno, DynoTimings, Forget, Kill, Prepare, Probe, Start, Terminate

TIMINGS = DynoTimings()


def web_dyno() -> Dyno:
    return Dyno(app="blog", timings=TIMINGS, listens=True)


def running(now: float = 0) -> Dyno:
    dyno = web_dyno()
    dyno.begin(now)
    dyno.prepared(now)
    dyno.started(now)
    return dyno


def up(now: float = 0) -> Dyno:
    dyno = running(now)
    dyno.answered(now)
    return dyno


def test_a_dyno_is_up_when_it_answers() -> None:
    dyno = web_dyno()

    assert (dyno.begin(0), dyno.state) == ([Prepare()], "fetching")
    assert dyno.prepared(1) == [Start()]
    dyno.started(2)
    assert dyno.state == "starting"
    assert dyno.tick(2.1) == [Probe()]
    dyno.did_not_answer("nothing listens", 2.2, is_last=False)
    assert dyno.tick(2.4) == [Probe()]
    dyno.answered(3)

    assert dyno.state == "up" and dyno.detail is None
    assert dyno.tick(3600) == []


def test_a_dyno_that_answers_late_is_noticed_soon_and_one_that_takes_long_is_not_asked_all_the_time() -> None:
    dyno = running()
    looks, now = [], 0.0
    while now < 50:
        now = dyno.next_deadline() or 60
        assert dyno.tick(now) == [Probe()]
        dyno.did_not_answer("nothing listens", now, is_last=False)
        looks.append(now)

    lost = [(later - earlier, earlier) for earlier, later in pairwise(looks)]
    assert all(gap <= max(0.051, 0.11 * look) for gap, look in lost)
    assert max(lost)[0] <= 1.001 and len(looks) < 100


def test_a_dyno_that_does_not_listen_in_time_fails_says_where_it_listens_and_is_ended() -> None:
    dyno = running()

    assert dyno.tick(60) == [Probe(is_last=True)]
    effects = dyno.did_not_answer("it listens on 5000", 60.1, is_last=True)

    assert effects == [Terminate()]
    assert dyno.state == "failed" and "60 s: it listens on 5000. See: pinode logs -a blog" in str(dyno.detail)
    assert dyno.tick(90.2) == [Kill()]
    assert dyno.exited(137, [], 90.3) == [] and dyno.state == "failed"


def test_a_worker_is_up_when_it_runs_for_a_moment() -> None:
    dyno = Dyno(app="blog", timings=TIMINGS, listens=False)
    dyno.begin(0)
    dyno.prepared(0)
    dyno.started(0)
    dyno.tick(0.5)
    assert dyno.state == "starting"

    dyno.tick(1.1)

    assert dyno.state == "up"


def test_a_crash_is_answered_by_a_restart_after_a_growing_pause_and_several_by_giving_up() -> None:
    dyno = up()
    now, pauses = 10.0, []
    while dyno.state != "failed":
        dyno.exited(1, ["ImportError: no module named x"], now)
        due = dyno.next_deadline()
        assert due is not None
        pauses.append(due - now)
        now = due
        if dyno.state == "crashed":
            assert "exited with status 1: ImportError: no module named x. Started again in" in str(
                dyno.detail
            )
            assert dyno.tick(now) == [Prepare()]
            dyno.prepared(now)
            dyno.started(now)

    assert pauses == [1, 2, 4, 300]
    assert dyno.restarts == 3
    assert str(dyno.detail).startswith(
        "crashed 4 times in a row; the last time it exited with status 1: Import"
    )


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        (
            ["  File \"app.py\", line 1", "ModuleNotFoundError: No module named 'flask'",
             "[2026-11-26 15:20:32 +0000] [3] [ERROR] Reason: Worker failed to boot."],
            "exited with status 3: ModuleNotFoundError: No module named 'flask'. Started again in 1 s",
        ),
        (["django.core.exceptions.ImproperlyConfigured: x", "KeyError", ""], "3: KeyError. Started"),
        (["Error: Cannot find module 'express'", "    at x (y.js:1)", "Node.js v18.20.4"], "module 'express'. St"),
        (["panic: no DSN", "", "goroutine 1 [running]:"], "exited with status 3: panic: no DSN. Started"),
        (["no such table: Error", "giving up."], "exited with status 3: giving up. Started again"),
        (["."], "exited with status 3. Started again"),
        ([], "exited with status 3. Started again"),
    ],
)  # fmt: skip
def test_a_crash_is_told_by_the_exception_that_was_printed_else_by_the_last_line(
    printed: list[str], told: str
) -> None:
    dyno = up()

    dyno.exited(3, printed, 10)

    assert told in str(dyno.detail)


def test_a_failed_dyno_is_tried_again_much_later_and_fails_at_once_if_it_crashes_again() -> None:
    dyno = up()
    for _ in range(4):
        dyno.exited(1, [], 0)
        dyno.prepared(0)
        dyno.started(0)
    dyno.exited(1, [], 0)
    assert dyno.state == "failed"

    assert dyno.tick(301) == [Prepare()]
    dyno.prepared(301)
    dyno.started(301)
    dyno.exited(1, [], 302)

    assert dyno.state == "failed"


def test_crashes_of_a_dyno_that_was_up_for_long_in_between_are_no_loop() -> None:
    dyno, now = up(), 0.0
    for _ in range(10):
        now += 100
        dyno.tick(now)
        dyno.exited(1, [], now)
        assert dyno.state == "crashed"
        now += 1
        dyno.tick(now)
        dyno.prepared(now)
        dyno.started(now)
        dyno.answered(now)

    assert dyno.restarts == 10


def test_stopping_leaves_the_routes_first_then_asks_then_kills() -> None:
    dyno = up()

    assert dyno.stop(10) == [] and dyno.state == "stopping"
    assert dyno.tick(10.9) == []
    assert dyno.tick(11) == [Terminate()]
    assert dyno.tick(40) == []
    assert dyno.tick(41) == [Kill()]
    assert dyno.exited(137, [], 41.1) == [Forget()]
    assert dyno.is_gone


def test_a_dyno_that_is_stopped_is_not_started_again() -> None:
    waiting, crashed = web_dyno(), up()
    waiting.begin(0)
    crashed.exited(1, [], 1)

    assert waiting.stop(2) == [Forget()] and crashed.stop(2) == [Forget()]
    assert waiting.prepared(3) == [] and crashed.tick(500) == []


def test_a_dyno_stopped_while_its_process_is_being_made_is_ended_as_soon_as_that_runs() -> None:
    late, never = web_dyno(), web_dyno()
    for dyno in (late, never):
        dyno.begin(0)
        dyno.prepared(0)
        assert dyno.stop(1) == [] and not dyno.is_gone

    assert late.started(2) == [Terminate()]
    assert never.start_failed("no such file", 2) == [Forget()]


@pytest.mark.parametrize("event", ["answered", "did_not_answer"])
def test_the_answer_to_an_old_question_changes_nothing(event: str) -> None:
    dyno = running()
    dyno.exited(1, [], 1)

    if event == "answered":
        dyno.answered(1.1)
    else:
        dyno.did_not_answer("", 1.1, is_last=True)

    assert dyno.state == "crashed"


def test_a_slug_that_is_not_to_be_had_is_asked_for_again() -> None:
    dyno = web_dyno()
    dyno.begin(0)

    dyno.prepare_failed("pi2 is away", 1)
    assert (dyno.state, dyno.detail) == ("fetching", "pi2 is away")
    assert dyno.tick(1.9) == [] and dyno.tick(2) == [Prepare()]
    dyno.prepare_failed("pi2 is away", 3)

    assert dyno.next_deadline() == 5 and dyno.restarts == 0


def test_another_slug_is_tried_at_once_by_a_dyno_that_waits_and_by_no_other() -> None:
    runs, begins, failed, missing = up(), web_dyno(), up(), web_dyno()
    begins.begin(0)
    begins.prepared(0)
    missing.begin(0)
    missing.prepare_failed("pi2 is away", 0)
    for _ in range(TIMINGS.crash_limit):
        failed.prepared(0)
        failed.started(0)
        failed.exited(1, [], 0)
    assert failed.state == "failed"

    assert runs.may_have_another_slug(1) == [] and begins.may_have_another_slug(1) == []
    assert failed.may_have_another_slug(1) == [Prepare()] == missing.may_have_another_slug(1)
    assert failed.may_have_another_slug(1) == [] and failed.next_deadline() is None
    assert (failed.state, missing.state) == ("starting", "fetching")
    failed.prepared(2)
    failed.started(2)
    failed.exited(1, [], 3)
    assert failed.state == "crashed"  # its earlier crashes say nothing of this slug


def test_one_that_is_ended_for_a_bound_crashes_of_that_and_one_that_is_leaving_anyway_does_not() -> None:
    greedy, leaving, ended = up(), up(), up()
    leaving.stop(1)
    ended.exited(1, [], 1)

    assert greedy.took_too_much("took 9 MiB", 1) == [Kill()]
    assert leaving.took_too_much("took 9 MiB", 1) == [] and ended.took_too_much("took 9 MiB", 1) == []
    greedy.exited(137, ["hello"], 2)
    assert greedy.detail == "took 9 MiB. Started again in 1 s"
    greedy.prepared(3)
    greedy.started(3)
    greedy.exited(1, [], 4)
    assert str(greedy.detail).startswith("exited with status 1. ")


def test_a_dyno_found_running_is_up_at_once_when_it_listens() -> None:
    listening, silent = web_dyno(), web_dyno()

    listening.adopt(0, is_listening=True, restarts=3)
    silent.adopt(0, is_listening=False, restarts=0)

    assert (listening.state, listening.restarts, silent.state) == ("up", 3, "starting")


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "exited with status 0"), (137, "too much memory"), (143, "SIGTERM"), (None, "nobody watched")],
)
def test_how_a_dyno_ended_is_said_in_words(code: int | None, words: str) -> None:
    dyno = up()

    dyno.exited(code, [], 1)

    assert words in str(dyno.detail)
    assert dyno.state == ("exited" if code == 0 else "crashed")
