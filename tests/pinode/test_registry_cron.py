"""Runs of cron in the agreed state: fired once, begun once, kept in bounds."""

from dataclasses import replace

import pytest

from pinode.apps.commands import (
    DestroyApp,
    EndCronRun,
    FireCron,
    MakeReleaseLive,
    MoveCronRun,
    Rollback,
    SetConfig,
    StartCronRun,
)
from pinode.apps.cron import WRONG_CLOCK_SECONDS, CronEntry, CronRun
from pinode.apps.cron_changes import OPEN_RUNS, RUNS_KEPT
from pinode.apps.cron_errors import (
    CronEntryNotFound,
    CronFired,
    CronRunNotFound,
    CronRunStarted,
    CronStillRuns,
    ReleaseNotLive,
)
from pinode.apps.errors import AppDestroyed, InvalidValue
from tests.pinode.agreement import Agreement
from tests.pinode.test_snapshots_of_cluster_state import restored

DAILY = CronEntry(schedule="@daily", command="python tidy.py")
NOON = 1_800_000_000


def agreed_on(*entries: CronEntry) -> Agreement:
    agreed = Agreement()
    agreed.create()
    deploy(agreed, *entries)
    return agreed


def deploy(agreed: Agreement, *entries: CronEntry) -> int:
    version = agreed.deploy(cron=entries)
    agreed.do(MakeReleaseLive(app="blog", version=version))
    return version


def fire(agreed: Agreement, *, minute: int | None = NOON, ordinal: int = 1, node_id: str = "a") -> int:
    live = agreed.registry.live_release("blog")
    assert live is not None
    actor = "" if minute is not None else "ada"
    return int(
        agreed.do(
            FireCron(
                app="blog",
                version=live.version,
                ordinal=ordinal,
                node_id=node_id,
                minute=minute,
                actor=actor,
            )
        )
    )


def run_through(agreed: Agreement, number: int) -> None:
    agreed.do(StartCronRun(number=number))
    agreed.do(EndCronRun(number=number, exit_code=0))


def run(agreed: Agreement, number: int) -> CronRun:
    found = agreed.registry.cron_run(number)
    assert found is not None
    return found


def test_a_run_is_fired_begins_and_ends_with_its_times_and_its_status() -> None:
    agreed = agreed_on(DAILY)

    number = fire(agreed)
    agreed.now += 2_000
    agreed.do(StartCronRun(number=number))
    agreed.now += 5_000
    agreed.do(EndCronRun(number=number, exit_code=3, failure="exited with status 3."))

    ended = run(agreed, number)
    assert (ended.state, ended.exit_code, ended.failure) == ("ended", 3, "exited with status 3.")
    assert (ended.ended_at_ms or 0) - (ended.started_at_ms or 0) == 5_000
    assert ended.placement.dyno == "cron.1"
    assert agreed.registry.placements_on("a") == ()


def test_two_leaders_that_fire_the_same_minute_have_it_run_once() -> None:
    agreed = agreed_on(DAILY)
    first = fire(agreed, node_id="a")

    with pytest.raises(CronFired):
        fire(agreed, node_id="b")

    assert [one.number for one in agreed.registry.cron_runs("blog")] == [first]


def test_an_older_minute_is_not_fired_after_a_newer_one_but_a_clock_far_ahead_counts_for_nothing() -> None:
    agreed = agreed_on(DAILY)
    run_through(agreed, fire(agreed, minute=NOON))

    with pytest.raises(CronFired):
        fire(agreed, minute=NOON - WRONG_CLOCK_SECONDS + 60)
    assert fire(agreed, minute=NOON - WRONG_CLOCK_SECONDS)


def test_while_a_run_goes_on_forbid_skips_allow_runs_beside_and_replace_ends_it() -> None:
    agreed = agreed_on(
        DAILY,
        replace(DAILY, command="beside", concurrency="allow"),
        replace(DAILY, command="instead", concurrency="replace"),
    )
    first = [fire(agreed, ordinal=ordinal) for ordinal in (1, 2, 3)]

    second = [fire(agreed, ordinal=ordinal, minute=NOON + 60) for ordinal in (1, 2, 3)]

    assert second[0] == 0
    assert run(agreed, first[0]).skipped == 1
    assert [run(agreed, number).state for number in (first[1], second[1])] == ["waiting", "waiting"]
    assert [run(agreed, number).state for number in (first[2], second[2])] == ["ended", "waiting"]
    assert run(agreed, first[2]).failure == "it was ended for the next run."
    with pytest.raises(CronFired):  # skipped is as good as fired
        fire(agreed, minute=NOON + 60)


def test_a_person_is_refused_while_a_run_goes_on_and_does_not_take_the_place_of_the_schedule() -> None:
    agreed = agreed_on(DAILY)
    by_hand = fire(agreed, minute=None)

    with pytest.raises(CronStillRuns):
        fire(agreed, minute=None)
    run_through(agreed, by_hand)

    assert run(agreed, by_hand).actor == "ada"
    assert fire(agreed, minute=NOON)


def test_a_run_begins_once_and_only_what_has_not_begun_moves() -> None:
    agreed = agreed_on(DAILY)
    number = fire(agreed)

    moved = int(agreed.do(MoveCronRun(number=number, node_id="b")))
    assert [one.number for one in agreed.registry.placements_on("b")] == [moved]
    with pytest.raises(CronRunNotFound):
        agreed.do(StartCronRun(number=number))
    agreed.do(StartCronRun(number=moved))

    with pytest.raises(CronRunStarted):
        agreed.do(StartCronRun(number=moved))
    with pytest.raises(CronRunStarted):
        agreed.do(MoveCronRun(number=moved, node_id="c"))


def test_one_that_did_not_begin_cannot_end_well_and_none_ends_twice() -> None:
    agreed = agreed_on(DAILY)
    number = fire(agreed)

    with pytest.raises(InvalidValue):
        agreed.do(EndCronRun(number=number, exit_code=0))
    agreed.do(EndCronRun(number=number, failure="a could not begin it in time."))
    with pytest.raises(CronRunNotFound):
        agreed.do(EndCronRun(number=number, failure="again"))


def test_only_entries_of_the_live_release_are_fired() -> None:
    agreed = agreed_on(DAILY)
    pending = agreed.deploy(cron=(DAILY, replace(DAILY, command="new")))

    with pytest.raises(CronEntryNotFound):
        fire(agreed, ordinal=2)
    with pytest.raises(ReleaseNotLive):
        agreed.do(FireCron(app="blog", version=pending, ordinal=2, node_id="a", minute=NOON))


def test_the_schedule_belongs_to_the_release_through_config_changes_and_rollbacks() -> None:
    agreed = agreed_on(DAILY)
    deploy(agreed)

    rolled_back = int(agreed.do(Rollback(app="blog", actor="ada", version=1)))
    agreed.do(MakeReleaseLive(app="blog", version=rolled_back))
    configured = int(agreed.do(SetConfig(app="blog", set_values={"A": b"1"}, actor="ada")))

    assert [len(one.cron) for one in reversed(agreed.registry.releases("blog"))] == [1, 0, 1, 1]
    assert configured == 4


def test_of_each_entry_a_few_runs_are_kept_and_its_newest_always() -> None:
    agreed = agreed_on(DAILY, replace(DAILY, command="rare"))
    rare = fire(agreed, ordinal=2)
    run_through(agreed, rare)

    for count in range(3 * RUNS_KEPT):
        run_through(agreed, fire(agreed, minute=NOON + 60 * count))

    runs = agreed.registry.cron_runs("blog")
    assert len(runs) == RUNS_KEPT + 1
    assert runs[-1].number == rare


def test_an_app_has_a_bounded_number_of_runs_at_once() -> None:
    agreed = agreed_on(replace(DAILY, concurrency="allow"))
    for count in range(OPEN_RUNS + 5):
        fire(agreed, minute=NOON + 60 * count)

    runs = agreed.registry.cron_runs("blog")

    assert len(runs) == OPEN_RUNS
    assert runs[0].skipped == 5


def test_with_its_app_all_of_it_goes_and_a_new_app_of_the_name_is_another_one() -> None:
    agreed = agreed_on(DAILY)
    created_index = agreed.registry.apps()[0].created_index
    fire(agreed)

    agreed.do(DestroyApp(name="blog", actor="ada"))
    assert agreed.registry.open_cron_runs() == ()
    agreed.create()
    deploy(agreed, DAILY)

    with pytest.raises(AppDestroyed):
        agreed.do(
            FireCron(app="blog", version=1, ordinal=1, node_id="a", minute=NOON, created_index=created_index)
        )


def test_a_snapshot_carries_what_was_fired() -> None:
    agreed = agreed_on(DAILY)
    run_through(agreed, fire(agreed))
    other = restored(agreed.state)

    assert other.registry.cron_runs("blog") == agreed.registry.cron_runs("blog")
    assert other.registry.digest() == agreed.registry.digest()
