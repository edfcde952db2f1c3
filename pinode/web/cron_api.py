"""The API about cron: what an app runs by the clock, how that went, and a run at once."""

import time
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from pinode.apps.app import App
from pinode.apps.cron import CRON_TYPE, CronEntry, CronRun
from pinode.cluster import Cluster
from pinode.scheduler.cron import CLOCK_WARNING
from pinode.scheduler.cron_now import run_now
from pinode.scheduler.occurrences import Occurrences, in_words
from pinode.web.answer_shapes import CRON_ENTRY, CRON_RUN
from pinode.web.messages import answer, list_answer, path_number
from pinode.web.operation import operation
from pinode.web.shapes import page_of
from pinode.web.site import caller, managed_app, site_of


@operation("What it runs by the clock, with the last runs", is_paged=True, answers={200: page_of(CRON_ENTRY)})
async def list_cron(request: web.Request) -> web.StreamResponse:
    """GET …/cron: the entries of the live release, each with its runs, newest first"""
    return list_answer(request, cron_documents(site_of(request).cluster, managed_app(request)))


@operation("Run an entry of cron now, on some node", answers={202: CRON_RUN})
async def run_cron(request: web.Request) -> web.StreamResponse:
    """POST …/cron/{entry}/run → 202 and the run, which has not begun yet"""
    cluster = site_of(request).cluster
    run = await run_now(
        cluster,
        managed_app(request),
        path_number(request, "entry"),
        actor=caller(request).name,
    )
    return answer(_run_document(cluster, run), status=202)


def cron_documents(cluster: Cluster, app: App) -> list[dict[str, Any]]:
    """The entries of the live release, in their order there."""
    release = cluster.state.registry.live_release(app.name)
    if release is None:
        return []
    runs = cluster.state.registry.cron_runs(app.name)
    now, occurrences = time.time(), Occurrences()
    documents = []
    for ordinal, entry in enumerate(release.cron, 1):
        state = _state(cluster, app, entry)
        next_at = occurrences.after(entry.schedule, entry.timezone, now) if state == "scheduled" else None
        documents.append(
            {
                "id": ordinal,
                "name": f"{CRON_TYPE}.{ordinal}",
                "command": entry.command,
                "schedule": entry.schedule,
                "in_words": in_words(entry.schedule, entry.timezone),
                "timezone": entry.timezone,
                "concurrency_policy": entry.concurrency,
                "state": state,
                "next_run_at": _moment(next_at),
                "next_run_in_seconds": None if next_at is None else max(0.0, next_at - now),
                "runs": [_run_document(cluster, run) for run in runs if run.key == entry.key],
            }
        )
    return documents


def _state(cluster: Cluster, app: App, entry: CronEntry) -> str:
    """Whether the schedule starts it, and if not, why."""
    leader = cluster.node(cluster.leader_id) if cluster.leader_id else None
    if entry.is_suspended:
        return "suspended"
    if app.is_stopped:
        return "stopped"
    return "waits_for_clock" if leader is not None and CLOCK_WARNING in leader.warnings else "scheduled"


def _run_document(cluster: Cluster, run: CronRun) -> dict[str, Any]:
    """One run: why it was, how far it is, how it ended."""
    node = cluster.node(run.node_id)
    until = run.ended_at_ms if run.has_ended else cluster.now_ms
    return {
        "number": run.number,
        "state": run.state,
        "version": run.version,
        "node": node.name if node is not None else run.node_id,
        "for_minute": _moment(run.minute),
        "asked_by": run.actor or None,
        "skipped": run.skipped,
        "exit_code": run.exit_code,
        "failure": run.failure,
        "age_seconds": max(0.0, (cluster.now_ms - run.fired_at_ms) / 1000),
        "duration_seconds": None
        if run.started_at_ms is None or until is None
        else max(0.0, (until - run.started_at_ms) / 1000),
    }


def _moment(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
