"""When the leader fires: by a clock that may be wrong, over changes of leaders, each minute once."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinode.apps.commands import EndCronRun, FireCron, MoveCronRun, SetMaintenance, StopDynos
from pinode.apps.cron import WRONG_CLOCK_SECONDS, CronEntry
from pinode.scheduler.cron_plan import BEGIN_MS, GRACE_SECONDS
from pinode.scheduler.occurrences import Occurrences, in_words
from pinode.scheduler.plan_memory import RETURN_GRACE_MS
from tests.pinode.cron_world import HOURLY, CronWorld, at
from tests.pinode.observed_world import node

MINUTELY = CronEntry(schedule="* * * * *", command="python beat.py", concurrency="allow")
NINE_TO_ELEVEN = CronEntry(schedule="0 9-11 * * *", command="x")


def test_it_fires_at_its_minute_and_says_before_when_that_is() -> None:
    world = CronWorld(HOURLY)

    assert world.fired() == []
    assert world.plan().look_again_seconds == at("2026-03-01 12:00") - (world.wall or 0)
    assert world.live_until(at("2026-03-01 12:59")) == ["12:00"]


def test_a_minute_that_comes_while_the_last_run_goes_on_is_skipped_once() -> None:
    world = CronWorld(HOURLY)

    world.live_until(at("2026-03-01 12:00"))
    world.start(world.runs()[0])

    assert world.live_until(at("2026-03-01 13:30")) == ["13:00"]

    (run,) = world.runs()
    assert (run.skipped, run.state) == (1, "running")


def test_nothing_is_planned_while_nothing_is_due() -> None:
    world = CronWorld(HOURLY)
    before = world.agreed.index

    assert world.live_until(at("2026-03-01 11:59:59")) == []
    assert world.agreed.index == before


def test_without_a_clock_to_trust_it_waits_and_says_so_and_then_does_not_make_up_for_it() -> None:
    world = CronWorld(HOURLY)

    world.wall = None
    world.pass_time(3600)
    assert world.plan().waits_for_clock
    assert world.act() == ()

    world.wall = at("2026-03-01 12:31")
    assert not world.plan().waits_for_clock
    assert world.fired() == []
    assert world.live_until(at("2026-03-01 13:00")) == ["13:00"]


def test_an_app_without_a_schedule_does_not_wait_for_the_clock() -> None:
    world = CronWorld()
    world.wall = None

    assert not world.plan().waits_for_clock


@pytest.mark.parametrize(("late_seconds", "expected"), [(GRACE_SECONDS - 1, ["12:00"]), (GRACE_SECONDS, [])])
def test_what_was_missed_is_made_up_for_within_the_grace_alone(
    late_seconds: int, expected: list[str]
) -> None:
    world = CronWorld(HOURLY)

    world.wall = at("2026-03-01 12:00") + late_seconds
    world.new_leader()

    assert world.fired() == expected


def test_a_new_leader_does_not_fire_again_what_the_old_one_fired() -> None:
    world = CronWorld(HOURLY)
    assert world.live_until(at("2026-03-01 12:00")) == ["12:00"]
    world.finish_all()

    world.new_leader()

    assert world.live_until(at("2026-03-01 12:59")) == []


def test_a_clock_that_steps_back_by_less_than_three_hours_fires_nothing_again() -> None:
    world = CronWorld(HOURLY)
    assert world.live_until(at("2026-03-01 12:00")) == ["12:00"]
    world.finish_all()

    world.wall = at("2026-03-01 10:30")

    assert world.live_until(at("2026-03-01 12:59")) == []
    assert world.live_until(at("2026-03-01 13:00")) == ["13:00"]


def test_a_clock_that_was_far_ahead_does_not_silence_the_schedule() -> None:
    world = CronWorld(HOURLY)
    world.wall = at("2030-01-01 11:59:50")
    assert world.live_until(at("2030-01-01 12:00")) == ["12:00"]
    world.finish_all()

    world.wall = at("2026-03-01 12:30")

    assert world.live_until(at("2026-03-01 13:00")) == ["13:00"]


def test_a_step_forward_fires_nothing_of_what_was_jumped_over() -> None:
    world = CronWorld(HOURLY)

    world.wall = at("2026-03-01 18:30")

    assert world.live_until(at("2026-03-01 19:00")) == ["19:00"]


def test_a_minute_before_the_release_was_live_is_not_fired() -> None:
    world = CronWorld(wall=at("2026-03-01 11:58:10"))
    world.pass_time(30)  # it is 12:00:40

    world.deploy(HOURLY)

    assert world.fired() == []


def test_a_new_release_with_the_same_entry_does_not_fire_the_same_minute_again() -> None:
    world = CronWorld(HOURLY)
    assert world.live_until(at("2026-03-01 12:00")) == ["12:00"]
    world.finish_all()

    world.deploy(CronEntry(schedule="@daily", command="another"), HOURLY)
    world.pass_time(1)

    assert world.fired() == []
    assert world.live_until(at("2026-03-01 13:00")) == ["13:00"]


def test_neither_a_suspended_entry_nor_a_stopped_app_fires() -> None:
    world = CronWorld(replace(HOURLY, is_suspended=True))
    assert world.live_until(at("2026-03-01 12:01")) == []

    world = CronWorld(HOURLY)
    world.agreed.do(StopDynos(app="blog", actor="ada"))
    assert world.live_until(at("2026-03-01 12:01")) == []


def test_maintenance_mode_is_about_visitors_and_does_not_stop_cron() -> None:
    world = CronWorld(HOURLY)
    world.agreed.do(SetMaintenance(app="blog", on=True, actor="ada"))

    assert world.live_until(at("2026-03-01 12:00")) == ["12:00"]


def test_where_no_node_can_run_it_it_waits_for_one_but_not_for_long() -> None:
    world = CronWorld(HOURLY)
    world.nodes = {}
    assert world.live_until(at("2026-03-01 12:00:20")) == []

    world.nodes = {"c": node("c")}
    assert world.fired() == ["12:00"]
    assert [run.node_id for run in world.runs()] == ["c"]


def test_runs_at_the_same_time_are_spread_over_the_nodes() -> None:
    entries = [replace(HOURLY, command=f"job {number}") for number in range(3)]
    world = CronWorld(*entries)

    assert world.live_until(at("2026-03-01 12:00")) == ["12:00"] * 3
    assert {run.node_id for run in world.runs()} == {"a", "b", "c"}


def test_one_that_had_not_begun_on_a_node_that_died_begins_on_another() -> None:
    world = CronWorld(HOURLY)
    world.live_until(at("2026-03-01 12:00"))
    (first,) = world.runs()

    world.nodes[first.node_id] = node(first.node_id, state="dead")
    (moved,) = world.act()

    assert isinstance(moved, MoveCronRun)
    (second,) = world.runs()
    assert second.node_id != first.node_id
    assert (second.minute, second.state) == (first.minute, "waiting")
    assert world.act() == ()


def test_one_that_ran_on_a_node_that_died_ended_in_a_way_nobody_knows() -> None:
    world = CronWorld(HOURLY)
    world.live_until(at("2026-03-01 12:00"))
    (run,) = world.runs()
    world.start(run)

    world.nodes[run.node_id] = node(run.node_id, state="dead")
    (ended,) = world.act()

    assert isinstance(ended, EndCronRun)
    (run,) = world.runs()
    assert run.failure == (
        f"it is unknown how it ended: pi-{run.node_id} went away while it ran. It was not started a second time."
    )
    assert run.exit_code is None


def test_a_new_leader_gives_a_node_it_has_not_seen_time_to_come_back() -> None:
    world = CronWorld(HOURLY)
    world.live_until(at("2026-03-01 12:00"))
    (run,) = world.runs()
    world.start(run)
    world.nodes[run.node_id] = node(run.node_id, state="dead")

    world.new_leader()

    assert world.act() == ()
    assert world.plan().look_again_seconds == RETURN_GRACE_MS / 1000
    world.pass_time(RETURN_GRACE_MS / 1000)
    assert [type(one) for one in world.act()] == [EndCronRun]


def test_one_that_its_node_cannot_begin_is_given_up() -> None:
    world = CronWorld(HOURLY)
    world.live_until(at("2026-03-01 12:00"))

    world.pass_time(BEGIN_MS / 1000)
    world.act()

    (run,) = world.runs()
    assert run.failure == f"pi-{run.node_id} could not begin it in time."


def test_a_schedule_is_meant_in_utc_unless_it_says_otherwise() -> None:
    occurrences = Occurrences()

    assert occurrences.after("0 3 * * *", "UTC", at("2026-07-01 00:00")) == at("2026-07-01 03:00")
    assert occurrences.after("0 3 * * *", "Europe/Berlin", at("2026-07-01 00:00")) == at("2026-07-01 01:00")


def test_where_the_clock_is_put_forward_what_was_left_out_comes_after_and_what_comes_twice_counts_once() -> (
    None
):
    occurrences, berlin = Occurrences(), "Europe/Berlin"

    forward = occurrences.after("30 2 * * *", berlin, at("2026-03-28 23:00"))
    back = occurrences.after("30 2 * * *", berlin, at("2026-10-24 12:00"))

    assert forward == at("2026-03-29 01:00")  # 03:00, just after the hour that is left out
    assert back == at("2026-10-25 00:30")
    assert occurrences.after("30 2 * * *", berlin, back) == at("2026-10-26 01:30")


def test_a_time_zone_that_this_machine_does_not_know_is_never_due() -> None:
    assert Occurrences().after("* * * * *", "Mars/Olympus", 0.0) is None


def test_schedules_are_told_in_words() -> None:
    assert in_words("0 3 * * *", "UTC") == "At 03:00 every day"
    assert in_words("@hourly", "UTC") == "At the start of every hour"
    assert in_words("0 3 * * *", "Europe/Berlin") == "At 03:00 every day, Europe/Berlin"


@given(
    moments=st.lists(st.integers(0, 4_000_000_000), min_size=1, max_size=20),
    schedule=st.sampled_from(["* * * * *", "*/7 3 * * *", "@monthly", "0 0 29 2 *", "30 2 * * sun"]),
    timezone=st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns"]),
)
def test_what_is_remembered_of_a_schedule_is_what_a_fresh_look_says(
    moments: list[int], schedule: str, timezone: str
) -> None:
    remembering = Occurrences()

    for moment in moments:
        found = remembering.after(schedule, timezone, moment)
        assert found == Occurrences().after(schedule, timezone, moment)
        assert found is not None and found > moment


HAPPENING = st.one_of(
    st.tuples(st.just("pass"), st.floats(0.5, 400.0)),
    st.tuples(st.just("step"), st.floats(-9_000.0, 9_000.0)),
    st.tuples(st.just("leader"), st.just(0.0)),
    st.tuples(st.just("unsynchronised"), st.floats(1.0, 400.0)),
    st.tuples(st.just("die"), st.sampled_from([0.0, 1.0, 2.0])),
    st.tuples(st.just("finish"), st.just(0.0)),
    st.tuples(st.just("deploy"), st.just(0.0)),
)


@settings(max_examples=60, deadline=None)
@given(happenings=st.lists(HAPPENING, max_size=25))
def test_whatever_the_clock_and_the_leaders_do_no_minute_is_fired_twice_and_none_late(
    happenings: list[tuple[str, float]],
) -> None:
    entries = (MINUTELY, HOURLY)
    world = CronWorld(*entries)
    seen: dict[str, set[int]] = {entry.key: set() for entry in entries}

    for kind, value in [*happenings, ("pass", 130.0)]:
        match kind:
            case "pass":
                _live(world, value, seen)
            case "step":
                world.wall = (world.wall or 0.0) + value
            case "leader":
                world.new_leader()
            case "unsynchronised":
                wall, world.wall = world.wall or 0.0, None
                assert not [one for one in world.act() if isinstance(one, FireCron)]
                world.pass_time(value)
                world.wall = wall + value
            case "die":
                name = "abc"[int(value)]
                is_dead = world.nodes[name].state == "dead"
                world.nodes[name] = node(name, state="alive" if is_dead else "dead")
            case "finish":
                world.finish_all()
            case "deploy":
                world.deploy(*entries)

    assert world.agreed.replay().digest() == world.agreed.state.digest()


def _live(world: CronWorld, seconds: float, seen: dict[str, set[int]]) -> None:
    end = (world.wall or 0.0) + seconds
    while True:
        for command in world.act():
            if not isinstance(command, FireCron):
                continue
            assert command.minute is not None and world.wall is not None
            assert world.wall - GRACE_SECONDS < command.minute <= world.wall
            key = (MINUTELY, HOURLY)[command.ordinal - 1].key
            near = {minute for minute in seen[key] if minute < command.minute + WRONG_CLOCK_SECONDS}
            assert command.minute not in near, "the same minute twice"
            seen[key].add(command.minute)
        world.finish_all()
        if (world.wall or 0.0) >= end:
            return
        world.pass_time(min(20.0, end - (world.wall or 0.0)))
