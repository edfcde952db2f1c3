"""How the API's documents look. Their tests hold every answer against this."""

from dataclasses import fields
from typing import get_args

from pinode.apps.app import APP_NAME, PROCESS_TYPE
from pinode.apps.build import BuildState
from pinode.apps.cron import Concurrency, RunState
from pinode.apps.observed import Availability, DynoState, NodeState, NodeStats
from pinode.apps.release import CommandState, ReleaseState
from pinode.apps.source import Origin
from pinode.operations.app_view import AppState
from pinode.people.user import USER_NAME, Role
from pinode.web.shapes import (
    COUNT,
    FLAG,
    NUMBER,
    SECONDS,
    TEXT,
    WHOLE,
    Record,
    by_name,
    list_of,
    maybe,
    one_of,
    text,
)
from replicated_queue.queue.job import State

APP_NAME_TEXT = text(APP_NAME.pattern)
USER_NAME_TEXT = text(USER_NAME.pattern)
COMMIT = text("[0-9a-f]{40}|[0-9a-f]{64}")
ROLE = one_of(*get_args(Role))

APP = Record(
    {
        "name": APP_NAME_TEXT,
        "owner": TEXT,
        "git_url": maybe(TEXT),
        "state": one_of(*get_args(AppState)),
        "url": TEXT,
        "urls": list_of(TEXT),
        "name_url": maybe(TEXT),
        "live_version": maybe(COUNT),
        "last_version": COUNT,
        "building": maybe(COUNT),
        "formation": by_name(COUNT),
        "maintenance": FLAG,
        "stopped": FLAG,
        "missing_slugs": list_of(TEXT),
        "created_at_ms": COUNT,
        "age_seconds": SECONDS,
    },
    name="App",
)
BUILD = Record(
    {
        "id": COUNT,
        "app": APP_NAME_TEXT,
        "state": one_of(*get_args(BuildState)),
        "git_url": maybe(TEXT),
        "origin": one_of(*get_args(Origin)),
        "ref": maybe(TEXT),
        "dir": maybe(TEXT),
        "commit": maybe(COMMIT),
        "version": maybe(COUNT),
        "node": maybe(TEXT),
        "variant_of": maybe(COUNT),
        "for_nodes": maybe(TEXT),
        "failure": maybe(TEXT),
        "cancelling": FLAG,
        "created_by": TEXT,
        "created_at_ms": COUNT,
        "age_seconds": SECONDS,
        "duration_seconds": maybe(SECONDS),
    },
    name="Build",
)
RELEASE = Record(
    {
        "version": COUNT,
        "state": one_of(*get_args(ReleaseState)),
        "description": TEXT,
        "commit": maybe(COMMIT),
        "build": maybe(COUNT),
        "slug": maybe(text("[0-9a-f]{64}")),
        "slugs": list_of(
            Record(
                {
                    "digest": text("[0-9a-f]{64}"),
                    "bytes": COUNT,
                    "arch": list_of(TEXT),
                    "interpreter": maybe(TEXT),
                    "copies": COUNT,
                }
            )
        ),
        "process_types": by_name(TEXT),
        "command_state": maybe(one_of(*get_args(CommandState))),
        "failure": maybe(TEXT),
        "last_lines": list_of(TEXT),
        "has_served": FLAG,
        "created_by": TEXT,
        "created_at_ms": COUNT,
        "age_seconds": SECONDS,
    },
    name="Release",
)
CRON_RUN = Record(
    {
        "number": COUNT,
        "state": one_of(*get_args(RunState)),
        "version": COUNT,
        "node": TEXT,
        "for_minute": maybe(TEXT),
        "asked_by": maybe(TEXT),
        "skipped": COUNT,
        "exit_code": maybe(WHOLE),
        "failure": maybe(TEXT),
        "age_seconds": SECONDS,
        "duration_seconds": maybe(SECONDS),
    },
    name="CronRun",
)

CRON_ENTRY = Record(
    {
        "id": COUNT,
        "name": TEXT,
        "command": TEXT,
        "schedule": TEXT,
        "in_words": TEXT,
        "timezone": TEXT,
        "concurrency_policy": one_of(*get_args(Concurrency)),
        "state": one_of("scheduled", "suspended", "stopped", "waits_for_clock"),
        "next_run_at": maybe(TEXT),
        "next_run_in_seconds": maybe(SECONDS),
        "runs": list_of(CRON_RUN),
    },
    name="CronEntry",
)

DYNO = Record(
    {
        "name": TEXT,
        "process_type": text(PROCESS_TYPE.pattern),
        # waiting: its node said nothing yet; unknown: its node is not in reach
        "state": one_of("waiting", *get_args(DynoState), "unknown"),
        "version": COUNT,
        "node": TEXT,
        "placement": COUNT,
        "restarts": COUNT,
        "exit_code": maybe(WHOLE),
        "detail": maybe(TEXT),
        "last_lines": list_of(TEXT),
        "for_seconds": maybe(SECONDS),
    },
    name="Dyno",
)
STATS = Record({**{one.name: maybe(NUMBER) for one in fields(NodeStats)}, "age_seconds": maybe(SECONDS)})
NODE = Record(
    {
        "name": TEXT,
        "id": TEXT,
        "address": TEXT,
        "web": TEXT,
        "state": one_of(*get_args(NodeState)),
        "role": one_of("leader", "voter", "learner", "none"),
        "incarnation": COUNT,
        "version": TEXT,
        "arch": TEXT,
        "interpreters": list_of(TEXT),
        "python": TEXT,
        "uptime_seconds": maybe(SECONDS),
        "roles": list_of(TEXT),
        "cordoned": FLAG,
        "availability": one_of(*get_args(Availability)),
        "dynos": COUNT,
        "builds": COUNT,
        "stats": Record({**STATS.fields, "throttled": maybe(FLAG)}),
    },
    name="Node",
)
STATUS = Record(
    {
        "cluster": Record(
            {
                "name": TEXT,
                "id": TEXT,
                "leader": maybe(TEXT),
                "term": COUNT,
                "commit_index": COUNT,
                "has_quorum": FLAG,
                "view_age_seconds": SECONDS,
            }
        ),
        "nodes": list_of(NODE),
        "queue": by_name(Record({"ready": COUNT, "delayed": COUNT, "leased": COUNT, "buried": COUNT})),
        "warnings": list_of(TEXT),
    },
    name="Status",
)
HISTORY = Record(
    {
        "name": TEXT,
        "span": one_of("hour", "day"),
        "step_seconds": SECONDS,
        "newest_age_seconds": SECONDS,
        "series": by_name(list_of(maybe(NUMBER))),
    },
    name="History",
)
TOPIC = Record(
    {
        "name": TEXT,
        "ready": COUNT,
        "delayed": COUNT,
        "leased": COUNT,
        "buried": COUNT,
        "used_bytes": COUNT,
        "oldest_ready_seconds": SECONDS,
        "paused_seconds": SECONDS,
        "draining": FLAG,
        "max_jobs": maybe(COUNT),
        "max_bytes": maybe(COUNT),
        "ageing_seconds": maybe(SECONDS),
        "total_put": COUNT,
        "total_succeeded": COUNT,
        "total_failed": COUNT,
        "total_buried": COUNT,
        "total_cancelled": COUNT,
    },
    name="Topic",
)
# Bytes are text where they are UTF-8, else base64 under the other name.
JOB = Record(
    {
        "id": COUNT,
        "topic": TEXT,
        "state": one_of(*get_args(State)),
        "priority": COUNT,
        "attempts": COUNT,
        "max_attempts": COUNT,
        "needs": list_of(TEXT),
        "worker": maybe(TEXT),
        "reasons": list_of(TEXT),
        "created_at_ms": COUNT,
        "age_seconds": SECONDS,
    },
    optional={"data": TEXT, "data_base64": TEXT, "result": TEXT, "result_base64": TEXT},
    name="Job",
)
HELD_JOB = Record(
    {
        "job": Record(
            {"id": COUNT, "topic": TEXT, "priority": COUNT, "attempts": COUNT},
            optional={"data": TEXT, "data_base64": TEXT},
        ),
        "token": COUNT,
        "lease_seconds": SECONDS,
    },
    name="HeldJob",
)
TOKEN = Record(
    {
        "id": text("[0-9a-f]{12}"),
        "label": TEXT,
        "created_at_ms": COUNT,
        "age_seconds": SECONDS,
        "expires_in_seconds": SECONDS,
    },
    name="Token",
)
HOOK = Record(
    {
        "id": text("[0-9a-f]{16}"),
        "url": TEXT,
        "branch": maybe(TEXT),
        "created_by": TEXT,
        "age_seconds": SECONDS,
        "deliveries": COUNT,
    },
    name="Hook",
)
USER = Record({"username": USER_NAME_TEXT, "role": ROLE, "email": maybe(TEXT)}, name="User")
