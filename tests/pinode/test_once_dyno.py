"""The core of a `release:` command's dyno: agreed before it starts, never started twice, its end said once."""

from pinode.dynos.dyno import (
    Announce,
    Conclude,
    DynoTimings,
    Forget,
    Kill,
    Prepare,
    Start,
    Terminate,
)
from pinode.dynos.once_dyno import UNKNOWN, OnceDyno, release_command

TIMINGS = DynoTimings(release_seconds=100, stop_seconds=30, backoff_seconds=1)


def a_dyno() -> OnceDyno:
    return OnceDyno(release_command(7, TIMINGS), app="blog", timings=TIMINGS)


def running() -> OnceDyno:
    dyno = a_dyno()
    dyno.begin(0)
    dyno.prepared(1)
    dyno.announced(2)
    dyno.started(3)
    return dyno


def test_it_is_announced_before_its_process_is_made() -> None:
    dyno = a_dyno()

    assert dyno.begin(0) == [Prepare()]
    assert dyno.prepared(1) == [Announce()]
    assert dyno.announced(2) == [Start()]
    assert dyno.started(3) == [] and dyno.state == "up"


def test_a_slug_that_is_not_here_yet_is_asked_for_again() -> None:
    dyno = a_dyno()
    dyno.begin(0)

    dyno.prepare_failed("pi2 does not answer", 1)

    assert (dyno.state, dyno.detail, dyno.next_deadline()) == ("fetching", "pi2 does not answer", 2)
    assert dyno.tick(2) == [Prepare()]


def test_it_ends_well_and_keeps_what_it_said() -> None:
    dyno = running()

    assert dyno.exited(0, ["Migrating", "", "done"], 4) == [Conclude(None)]
    assert (dyno.state, dyno.exit_code, dyno.last_lines) == ("exited", 0, ("Migrating", "done"))


def test_another_status_fails_and_says_which_and_where_the_rest_is() -> None:
    dyno = running()

    (concluded,) = dyno.exited(3, ["no such table"], 4)

    assert concluded == Conclude(
        "the release command exited with status 3. All it said: pinode logs -p release.7 -a blog"
    )
    assert (dyno.state, dyno.last_lines) == ("failed", ("no such table",))


def test_what_began_before_and_has_no_process_here_has_an_unknown_end() -> None:
    dyno = a_dyno()
    dyno.begin(0)
    dyno.prepared(1)

    assert dyno.has_begun_before(2) == [Conclude(UNKNOWN)]


def test_an_end_that_nobody_saw_is_unknown_and_not_taken_for_a_good_one() -> None:
    assert running().exited(None, [], 4) == [Conclude(UNKNOWN)]


def test_a_process_that_cannot_be_made_is_a_failure_and_not_tried_again() -> None:
    dyno = a_dyno()
    dyno.begin(0)
    dyno.prepared(1)
    dyno.announced(2)

    (concluded,) = dyno.start_failed("could not be started: no python3.14 here", 3)

    assert isinstance(concluded, Conclude) and "no python3.14 here" in str(concluded.failure)
    assert dyno.next_deadline() is None


def test_one_that_runs_too_long_is_ended_and_says_so() -> None:
    dyno = running()

    assert dyno.next_deadline() == 103
    assert dyno.tick(103) == [Terminate()]
    assert dyno.tick(133) == [Kill()]
    (concluded,) = dyno.exited(137, [], 134)

    assert "did not end within 100 s and was ended" in str(concluded)


def test_found_running_it_goes_on() -> None:
    dyno = a_dyno()

    assert dyno.adopt(50, is_listening=False, restarts=0) == []
    assert (dyno.state, dyno.next_deadline()) == ("up", 150)


def test_when_its_app_goes_it_is_stopped_and_concludes_nothing() -> None:
    dyno = running()

    assert dyno.stop(4) == [Terminate()]
    assert dyno.tick(34) == [Kill()]
    assert dyno.exited(143, [], 35) == [Forget()] and dyno.is_gone


def test_dropped_in_the_moment_it_was_agreed_it_does_not_start() -> None:
    dyno = a_dyno()
    dyno.begin(0)
    dyno.prepared(1)

    assert dyno.stop(2) == [Forget()]
    assert dyno.announced(3) == []


def test_dropped_while_its_process_is_made_it_is_stopped_as_soon_as_it_is_there() -> None:
    dyno = a_dyno()
    dyno.begin(0)
    dyno.prepared(1)
    dyno.announced(2)

    assert dyno.stop(3) == [] and not dyno.is_gone
    assert dyno.started(4) == [Terminate()]


def test_after_its_end_it_waits_only_to_be_forgotten() -> None:
    dyno = running()
    dyno.exited(0, [], 4)

    assert dyno.next_deadline() is None
    assert dyno.stop(5) == [Forget()]
