"""Bugs somebody could write into cron."""

from tests.mutants.mutant import Mutant

PLAN, CHANGES = "pinode/scheduler/cron_plan.py", "pinode/apps/cron_changes.py"
PLANNED, AGREED = "tests/pinode/test_cron_plan.py::", "tests/pinode/test_registry_cron.py::"


def planted(what: str, file: str, old: str, new: str, test: str) -> Mutant:
    return Mutant(line="cron", what=what, file=file, old=old, new=new, test=test)


MUTANTS = (
    planted(
        "two leaders fire the same minute",
        CHANGES,
        "return any(minute <= mark < minute + WRONG_CLOCK_SECONDS for mark in marks)",
        "return any(minute < mark < minute + WRONG_CLOCK_SECONDS for mark in marks)",
        AGREED + "test_two_leaders_that_fire_the_same_minute_have_it_run_once",
    ),
    planted(
        "a run begins twice",
        CHANGES,
        '    if run.state != "waiting":\n        raise CronRunStarted(app=run.app, number=run.number)\n'
        "    tables.cron_runs.put(run.number, replace(run, state",
        "    tables.cron_runs.put(run.number, replace(run, state",
        AGREED + "test_a_run_begins_once_and_only_what_has_not_begun_moves",
    ),
    planted(
        "after a week off everything that was missed is fired",
        PLAN,
        "return max(wall_seconds - GRACE_SECONDS, ",
        "return max(wall_seconds - 7 * 86_400, ",
        PLANNED + "test_what_was_missed_is_made_up_for_within_the_grace_alone",
    ),
    planted(
        "a new release fires what was due before it was live",
        PLAN,
        "wall_seconds - live_seconds, ",
        "",
        PLANNED + "test_a_minute_before_the_release_was_live_is_not_fired",
    ),
    planted(
        "one wrong clock silences a schedule for years",
        PLAN,
        "fired = [mark for mark in marks if mark < wall_seconds + WRONG_CLOCK_SECONDS]",
        "fired = marks",
        PLANNED + "test_a_clock_that_was_far_ahead_does_not_silence_the_schedule",
    ),
    planted(
        "a run of a dead node that had begun begins again elsewhere",
        PLAN,
        '        if run.state == "running":\n            self._end(run, UNKNOWN_END)\n            return\n',
        "",
        PLANNED + "test_one_that_ran_on_a_node_that_died_ended_in_a_way_nobody_knows",
    ),
    planted(
        "the newest firing of a rare entry is pushed out by those of a frequent one",
        CHANGES,
        "            room[run.key] -= 1\n",
        "            room = {key: left - 1 for key, left in room.items()}\n",
        AGREED + "test_of_each_entry_a_few_runs_are_kept_and_its_newest_always",
    ),
)
