"""app.json as Heroku and Dokku read it, and nothing else."""

import json
from typing import Any

import pytest

from builders.app_json import (
    AppJson,
    CronEntry,
    EnvWish,
    HealthCheck,
    MalformedAppJson,
    parse_app_json,
    render_app_json,
    schedule_fault,
)

DOCUMENT: dict[str, Any] = {
    "name": "Blog",
    "buildpacks": [{"url": "heroku/python"}],
    "env": {
        "PLAIN": "a value",
        "SECRET_KEY": {"description": "signs cookies", "generator": "secret"},
        "OPTIONAL": {"required": False},
        "WORKERS": {"value": 3},
    },
    "formation": {"web": {"quantity": 2, "size": "standard-1x"}, "worker": {"quantity": 0}},
    "healthchecks": {
        "web": [
            {"type": "startup", "name": "answers", "path": "/health", "attempts": 10, "timeout": 2, "wait": 1,
             "initialDelay": 3, "content": "ok", "httpHeaders": [{"name": "X-Probe", "value": "1"}]},
            {"type": "liveness", "command": ["/bin/check", "it"], "warn": True},
            {"uptime": 7},
        ]
    },
    "cron": [{"command": "python tidy.py", "schedule": "*/5 0-6 * jan-mar MON,fri"}, {"command": "x", "schedule": "@daily"}],
}  # fmt: skip


def test_what_heroku_and_dokku_write_is_read_and_what_is_not_known_is_skipped() -> None:
    read = parse_app_json(json.dumps(DOCUMENT).encode())

    assert read.env == (
        EnvWish(name="PLAIN", value="a value"),
        EnvWish(name="SECRET_KEY", description="signs cookies", is_generated=True),
        EnvWish(name="OPTIONAL", is_required=False),
        EnvWish(name="WORKERS", value="3"),
    )
    assert read.formation == {"web": 2, "worker": 0}
    startup, liveness, uptime = read.healthchecks["web"]
    assert (startup.path, startup.attempts, startup.timeout_seconds, startup.initial_delay_seconds) == (
        "/health",
        10,
        2,
        3,
    )
    assert startup.headers == (("X-Probe", "1"),)
    assert liveness == HealthCheck(kind="liveness", command=("/bin/check", "it"), only_warns=True)
    assert uptime.uptime_seconds == 7
    assert read.cron[0] == CronEntry(schedule="*/5 0-6 * jan-mar MON,fri", command="python tidy.py")


def test_it_survives_the_way_out_of_the_build() -> None:
    read = parse_app_json(json.dumps(DOCUMENT).encode())

    assert parse_app_json(json.dumps(render_app_json(read)).encode()) == read
    assert parse_app_json(json.dumps(render_app_json(AppJson())).encode()) == AppJson()


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (b"{", "cannot be read"),
        (b"\xff", "cannot be read"),
        (b"[" * 60_000, "cannot be read"),
        (b"[]", "app.json is no JSON object"),
        (b" " * 70_000, "70000 bytes"),
        ({"env": {"no-name": "x"}}, "env of app.json names 'no-name'"),
        ({"env": {"A": {"value": ["x"]}}}, "env.A.value of app.json is no text"),
        ({"env": {"A": {"generator": "sh"}}}, "env.A.generator"),
        ({"env": {"A": "\0"}}, "env.A of app.json is no text"),
        ({"env": {f"A{n}": "" for n in range(65)}}, "env is no JSON object of at most 64"),
        ({"formation": {"web": {"quantity": -1}}}, "formation.web.quantity of app.json is '-1'"),
        ({"formation": {"web": {"quantity": 10**9}}}, "formation.web.quantity"),
        ({"formation": {"web": {"quantity": True}}}, "formation.web.quantity"),
        ({"formation": {"../web": {"quantity": 1}}}, "formation of app.json names"),
        ({"healthchecks": {"web": [{"path": "http://evil/"}]}}, "healthchecks.web[0].path"),
        ({"healthchecks": {"web": [{"path": "/a b"}]}}, "healthchecks.web[0].path"),
        ({"healthchecks": {"web": [{"type": "lucky"}]}}, "healthchecks.web[0].type"),
        ({"healthchecks": {"web": [{"path": "/", "timeout": 10**6}]}}, "healthchecks.web[0].timeout"),
        ({"healthchecks": {"web": [{"httpHeaders": [{"name": "a\r\nb", "value": ""}]}]}}, "header named"),
        ({"healthchecks": {name: [{}] * 64 for name in ("a", "b", "c", "d", "e", "f")}}, "says too much"),
        ({"healthchecks": {"web": "/"}}, "healthchecks.web of app.json is no list"),
        ({"cron": [{"command": "x", "schedule": "61 * * * *"}]}, "cron[0].schedule of app.json is '61 * * * *'"),
        ({"cron": [{"command": "x", "schedule": "@daily", "timezone": "Europe/Atlantis"}]}, "cron[0].timezone"),
        ({"cron": [{"command": "x", "schedule": "@daily", "maintenance": "yes"}]}, "cron[0].maintenance"),
        ({"cron": [{"command": "x", "schedule": "@daily"}] * 2}, "cron of app.json has an entry twice"),
        ({"cron": [{"command": "", "schedule": "@daily"}]}, "cron[0] of app.json has no command"),
        ({"cron": [{"schedule": "@daily"}]}, "cron[0].command"),
        ({"cron": [{"command": "x", "schedule": "@daily", "concurrency_policy": "hope"}]}, "concurrency_policy"),
    ],
)  # fmt: skip
def test_what_is_malformed_is_refused_by_its_name(document: Any, said: str) -> None:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()

    with pytest.raises(MalformedAppJson) as refused:
        parse_app_json(data)

    assert said in refused.value.message
    assert refused.value.hint
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("* * * * *", True),
        ("0 3 1,15 * 1-5", True),
        ("*/15 * * * *", True),
        ("0 0 * * 7", True),
        ("@hourly", True),
        ("@reboot", False),
        ("0 0 30 2 *", False),
        ("0 0 29 2 *", True),
        ("* * * *", False),
        ("* * * * * *", False),
        ("*/0 * * * *", False),
        ("5-1 * * * *", False),
        ("*-5 * * * *", False),
        ("* 24 * * *", False),
        ("* * 0 * *", False),
        ("* * * * someday", False),
        ("", False),
    ],
)
def test_a_schedule_has_five_fields_within_their_bounds(text: str, holds: bool) -> None:
    assert (schedule_fault(text) is None) is holds
