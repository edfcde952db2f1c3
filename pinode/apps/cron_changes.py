"""What runs of cron go through: fired, begun, ended. Each fires once, and begins at most once.

A minute of an entry is fired by one entry of the log at most, whoever leads and however often it is asked
for; and the process of a run is made only after its start stands in the log.
"""

from dataclasses import replace
from typing import assert_never

from pinode.apps.checks import check_text, one_line
from pinode.apps.commands import EndCronRun, FireCron, MoveCronRun, StartCronRun
from pinode.apps.cron import WRONG_CLOCK_SECONDS, CronEntry, CronRun
from pinode.apps.cron_errors import (
    CronEntryNotFound,
    CronFired,
    CronRunNotFound,
    CronRunStarted,
    CronStillRuns,
    ReleaseNotLive,
)
from pinode.apps.errors import InvalidValue
from pinode.apps.tables import Tables

RUNS_KEPT = 5  # that have ended, of each entry of the live release
OLD_RUNS_KEPT = 20  # of an app's entries that its live release has not
OPEN_RUNS = 20  # of an app at once
REPLACED = "it was ended for the next run."

CronCommand = FireCron | MoveCronRun | StartCronRun | EndCronRun


def apply_to_cron(tables: Tables, command: CronCommand, *, index: int, now: int) -> int | None:
    """Run one of the commands about cron; its result is named there."""
    match command:
        case FireCron():
            return _fire(tables, command, index=index, now=now)
        case MoveCronRun():
            return _move(tables, command, index=index)
        case StartCronRun():
            _start(tables, command, now=now)
        case EndCronRun():
            _end(tables, command, now=now)
        case _:
            assert_never(command)
    return None


def forget_cron(tables: Tables, app: str) -> None:
    """The app is gone."""
    for run in tables.cron_runs.of(app):
        tables.cron_runs.drop(run.number)


def _fire(tables: Tables, command: FireCron, *, index: int, now: int) -> int:
    entry = _entry(tables, command)
    check_text("the node", command.node_id, chars=100)
    if command.actor or command.minute is None:
        check_text("actor", command.actor)
    runs = tables.cron_runs.of(command.app)
    own = [run for run in runs if run.key == entry.key]
    if command.minute is not None and _is_fired(own, command.minute):
        raise CronFired(app=command.app, ordinal=command.ordinal, minute=command.minute)
    blocking = _blocking(entry, runs)
    if blocking is not None and command.minute is None:
        raise CronStillRuns(app=command.app, ordinal=command.ordinal, bound=OPEN_RUNS)
    if blocking is not None:
        skipping = replace(blocking, skipped=blocking.skipped + 1, skipped_minute=command.minute)
        tables.cron_runs.put(blocking.number, skipping)
        return 0
    tables.check_room()
    for run in own:
        if entry.concurrency == "replace" and not run.has_ended:
            replaced = replace(run, state="ended", ended_at_ms=now, failure=REPLACED)
            tables.cron_runs.put(run.number, replaced)
    fired = CronRun(
        number=index,
        app=command.app,
        version=command.version,
        ordinal=command.ordinal,
        key=entry.key,
        node_id=command.node_id,
        fired_at_ms=now,
        minute=command.minute,
        actor=command.actor,
    )
    tables.cron_runs.put(index, fired)
    _forget_old(tables, command.app)
    return index


def _entry(tables: Tables, command: FireCron) -> CronEntry:
    release = tables.release(command.app, command.version)
    if release.state != "live":
        raise ReleaseNotLive(app=release.app, version=release.version, state=release.state)
    if not 1 <= command.ordinal <= len(release.cron):
        raise CronEntryNotFound(app=release.app, ordinal=command.ordinal, known=len(release.cron))
    return release.cron[command.ordinal - 1]


def _is_fired(runs: list[CronRun], minute: int) -> bool:
    """Whether that minute, or one after it, was fired; what a clock far ahead of now fired does not count."""
    marks = [mark for run in runs if (mark := run.newest_minute) is not None]
    return any(minute <= mark < minute + WRONG_CLOCK_SECONDS for mark in marks)


def _blocking(entry: CronEntry, runs: list[CronRun]) -> CronRun | None:
    """The run that has to end before another one may begin."""
    is_open = [run for run in runs if not run.has_ended]
    own = [run for run in is_open if run.key == entry.key]
    if entry.concurrency == "forbid" and own:
        return own[-1]
    return own[-1] if len(is_open) >= OPEN_RUNS and own and entry.concurrency == "allow" else None


def _move(tables: Tables, command: MoveCronRun, *, index: int) -> int:
    run = _open_run(tables, command.number)
    if run.state != "waiting":
        raise CronRunStarted(app=run.app, number=run.number)
    check_text("the node", command.node_id, chars=100)
    tables.cron_runs.drop(run.number)
    tables.cron_runs.put(index, replace(run, number=index, node_id=command.node_id))
    return index


def _start(tables: Tables, command: StartCronRun, *, now: int) -> None:
    run = _open_run(tables, command.number)
    if run.state != "waiting":
        raise CronRunStarted(app=run.app, number=run.number)
    tables.cron_runs.put(run.number, replace(run, state="running", started_at_ms=now))


def _end(tables: Tables, command: EndCronRun, *, now: int) -> None:
    run = _open_run(tables, command.number)
    if command.failure is None and run.state != "running":
        raise InvalidValue(what="a run of cron", rule="must begin before it ends well")
    ended = replace(
        run,
        state="ended",
        ended_at_ms=now,
        exit_code=command.exit_code,
        failure=None if command.failure is None else one_line(command.failure),
    )
    tables.cron_runs.put(run.number, ended)
    _forget_old(tables, run.app)


def _open_run(tables: Tables, number: int) -> CronRun:
    run = tables.cron_runs.get(number)
    if run is None or run.has_ended:
        raise CronRunNotFound(number=number)
    return run


def _forget_old(tables: Tables, app: str) -> None:
    live = tables.releases.get((app, tables.app(app).live_version or 0))
    room = {entry.key: RUNS_KEPT for entry in live.cron} if live is not None else {}
    others = OLD_RUNS_KEPT
    for run in reversed(tables.cron_runs.of(app)):
        if not run.has_ended:
            continue
        if room.get(run.key, 0) > 0:
            room[run.key] -= 1
        elif run.key not in room and others > 0:
            others -= 1
        else:
            tables.cron_runs.drop(run.number)
