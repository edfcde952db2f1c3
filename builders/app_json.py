"""`app.json`: what an app says of itself besides its Procfile, in the words of Heroku and Dokku.

Keys that are not known are skipped; what is known is checked, and everything is bounded, because it comes
from strangers and goes into what all nodes agree on.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from builders.errors import BuildError

APP_JSON_BYTES = 64 * 1024
MOST_ENTRIES = 64
TEXT_CHARACTERS = 4_096
MOST_DYNOS = 1_000
MOST_SECONDS = 3_600
MOST_ATTEMPTS = 100
LEFT_OUT = ("port", "scheme", "onFailure")  # of a health check
PROCESS_TYPE = re.compile(r"[A-Za-z0-9_-]{1,63}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
CRON_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
CRON_FIELDS = 5


Concurrency = Literal["allow", "forbid", "replace"]
CONCURRENCIES: tuple[Concurrency, ...] = ("allow", "forbid", "replace")


class MalformedAppJson(BuildError):
    """app.json cannot be read, or something in it is not what it should be."""

    code = "malformed_app_json"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvWish:
    """A config var the app wants. Without a value, a secret is made up or somebody has to set it."""

    name: str
    value: str | None = None
    description: str = ""
    is_required: bool = True
    is_generated: bool = False  # `"generator": "secret"`


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """When a dyno is well. `wait_seconds` is between attempts; `content` must be in the answer's body."""

    kind: str = "startup"  # or liveness, readiness
    name: str = ""
    path: str = ""  # asked over HTTP; empty: no question, but see `uptime_seconds` and `command`
    content: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    command: tuple[str, ...] = ()  # run in the dyno's sandbox; exit status 0 is well
    attempts: int = 3
    timeout_seconds: int = 5
    wait_seconds: int = 5
    initial_delay_seconds: int = 0
    uptime_seconds: int = 0  # well when it has run so long
    only_warns: bool = False
    left_out: tuple[str, ...] = ()  # keys that Dokku knows, and nobody asks here


@dataclass(frozen=True, slots=True, kw_only=True)
class CronEntry:
    """A command and when it runs: five fields, or a macro such as `@daily`."""

    schedule: str
    command: str
    concurrency: Concurrency = "forbid"  # with a run of it that has not ended
    is_suspended: bool = False  # `"maintenance": true`: no schedule starts it
    timezone: str = "UTC"  # in which the schedule is meant


@dataclass(frozen=True, slots=True, kw_only=True)
class AppJson:
    """All of it; empty where the app has none."""

    env: tuple[EnvWish, ...] = ()
    formation: Mapping[str, int] = field(default_factory=dict)  # how many dynos, by process type
    healthchecks: Mapping[str, tuple[HealthCheck, ...]] = field(default_factory=dict)  # by process type
    cron: tuple[CronEntry, ...] = ()


def parse_app_json(data: bytes) -> AppJson:
    """Read the file. Raises `MalformedAppJson`, naming what is wrong and where."""
    if len(data) > APP_JSON_BYTES:
        raise _malformed(f"app.json has {len(data)} bytes", f"At most {APP_JSON_BYTES} are allowed")
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise _malformed(f"app.json cannot be read ({error})", "It is a JSON object in UTF-8") from error
    fields = _object(document, "app.json")
    read = AppJson(
        env=tuple(_env(name, item) for name, item in _named(fields, "env", VARIABLE)),
        formation={name: _formation(name, item) for name, item in _named(fields, "formation", PROCESS_TYPE)},
        healthchecks={
            name: tuple(
                _health_check(item, f"healthchecks.{name}[{number}]")
                for number, item in enumerate(_list(items, f"healthchecks.{name}"))
            )
            for name, items in _named(fields, "healthchecks", PROCESS_TYPE)
        },
        cron=tuple(
            _cron(item, f"cron[{number}]") for number, item in enumerate(_list(fields.get("cron"), "cron"))
        ),
    )
    if len({(item.schedule, item.timezone, item.command) for item in read.cron}) < len(read.cron):
        raise _malformed("cron of app.json has an entry twice", "Write it once, or change one of them")
    if len(json.dumps(render_app_json(read))) > APP_JSON_BYTES:
        raise _malformed("app.json says too much", f"With its defaults, {APP_JSON_BYTES} bytes are allowed")
    return read


def render_app_json(app_json: AppJson) -> dict[str, Any]:
    """The same as the document that `parse_app_json` reads, for the way from the build to whoever asked."""
    return {
        "env": {
            item.name: {
                "description": item.description,
                "required": item.is_required,
                **({} if item.value is None else {"value": item.value}),
                **({"generator": "secret"} if item.is_generated else {}),
            }
            for item in app_json.env
        },
        "formation": {name: {"quantity": quantity} for name, quantity in app_json.formation.items()},
        "healthchecks": {
            name: [_rendered_check(check) for check in checks]
            for name, checks in app_json.healthchecks.items()
        },
        "cron": [
            {
                "schedule": item.schedule,
                "command": item.command,
                "concurrency_policy": item.concurrency,
                "maintenance": item.is_suspended,
                "timezone": item.timezone,
            }
            for item in app_json.cron
        ],
    }


def _rendered_check(check: HealthCheck) -> dict[str, Any]:
    return {
        "type": check.kind,
        "name": check.name,
        "path": check.path,
        "content": check.content,
        "httpHeaders": [{"name": name, "value": value} for name, value in check.headers],
        "command": list(check.command),
        "attempts": check.attempts,
        "timeout": check.timeout_seconds,
        "wait": check.wait_seconds,
        "initialDelay": check.initial_delay_seconds,
        "uptime": check.uptime_seconds,
        "warn": check.only_warns,
        **dict.fromkeys(check.left_out, True),
    }


def _env(name: str, item: Any) -> EnvWish:
    where = f"env.{name}"
    if isinstance(item, str):
        return EnvWish(name=name, value=_text(item, where))
    fields = _object(item, where)
    value = fields.get("value")
    if isinstance(value, bool | int | float):
        value = json.dumps(value)
    generator = fields.get("generator")
    if generator not in (None, "secret"):
        raise _malformed(f"{where}.generator of app.json is {str(generator)[:40]!a}", 'It can be "secret"')
    return EnvWish(
        name=name,
        value=None if value is None else _text(value, f"{where}.value"),
        description=_text(fields.get("description") or "", f"{where}.description"),
        is_required=_truth(fields.get("required", True), f"{where}.required"),
        is_generated=generator == "secret",
    )


def _formation(name: str, item: Any) -> int:
    fields = _object(item, f"formation.{name}")
    return _number(fields.get("quantity", 1), f"formation.{name}.quantity", most=MOST_DYNOS)


def _health_check(item: Any, where: str) -> HealthCheck:
    fields = _object(item, where)
    kind = fields.get("type", "startup")
    if kind not in ("startup", "liveness", "readiness"):
        raise _malformed(
            f"{where}.type of app.json is {str(kind)[:40]!a}", "It is startup, liveness or readiness"
        )
    command = fields.get("command") or []
    command = [command] if isinstance(command, str) else command
    path = _text(fields.get("path") or "", f"{where}.path")
    if path and (not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path):
        raise _malformed(f"{where}.path of app.json is {path[:80]!a}", "It begins with / and has no spaces")
    seconds = {
        ours: _number(fields.get(theirs, default), f"{where}.{theirs}", most=MOST_SECONDS)
        for ours, theirs, default in (
            ("timeout_seconds", "timeout", 5),
            ("wait_seconds", "wait", 5),
            ("initial_delay_seconds", "initialDelay", 0),
            ("uptime_seconds", "uptime", 0),
        )
    }
    return HealthCheck(
        kind=kind,
        name=_text(fields.get("name") or "", f"{where}.name"),
        path=path,
        content=_text(fields.get("content") or "", f"{where}.content"),
        headers=tuple(
            _header(header, f"{where}.httpHeaders")
            for header in _list(fields.get("httpHeaders"), f"{where}.httpHeaders")
        ),
        command=tuple(_text(word, f"{where}.command") for word in _list(command, f"{where}.command")),
        attempts=_number(fields.get("attempts", 3), f"{where}.attempts", most=MOST_ATTEMPTS),
        only_warns=_truth(fields.get("warn", False), f"{where}.warn"),
        left_out=tuple(key for key in LEFT_OUT if fields.get(key) not in (None, False, "")),
        **seconds,
    )


def _header(item: Any, where: str) -> tuple[str, str]:
    fields = _object(item, where)
    name, value = _text(fields.get("name"), where), _text(fields.get("value"), where)
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) or not value.isprintable():
        raise _malformed(f"{where} of app.json has a header named {name[:40]!a}", "Write an HTTP header")
    return name, value


def _cron(item: Any, where: str) -> CronEntry:
    fields = _object(item, where)
    command = _text(fields.get("command"), f"{where}.command").strip()
    schedule = " ".join(_text(fields.get("schedule"), f"{where}.schedule").split())
    wanted = fields.get("concurrency_policy") or "forbid"
    concurrency = next((known for known in CONCURRENCIES if known == wanted), None)
    if not command or not command.isprintable():
        raise _malformed(f"{where} of app.json has no command in one line", "Name what it runs")
    reason = schedule_fault(schedule)
    if reason is not None:
        raise _malformed(
            f"{where}.schedule of app.json is {schedule[:80]!a} ({reason})",
            "Write five fields such as `0 3 * * *`, or a macro such as `@daily`",
        )
    if concurrency is None:
        raise _malformed(
            f"{where}.concurrency_policy of app.json is {str(wanted)[:40]!a}",
            "It is allow, forbid or replace",
        )
    return CronEntry(
        schedule=schedule,
        command=command,
        concurrency=concurrency,
        is_suspended=_truth(fields.get("maintenance", False), f"{where}.maintenance"),
        timezone=_timezone(fields.get("timezone"), f"{where}.timezone"),
    )


def schedule_fault(text: str) -> str | None:
    """What is wrong with a cron schedule: minute, hour, day of month, month, day of week; or a macro."""
    from cronsim import CronSim, CronSimError  # only for apps that have a schedule

    fields = cron_fields(text)
    if len(fields.split()) != CRON_FIELDS:
        return "Wrong number of fields"
    try:
        next(CronSim(fields, datetime(2000, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        return str(error)
    except StopIteration:
        return "It never comes"
    return None


def cron_fields(schedule: str) -> str:
    """The five fields that a macro stands for; else the schedule as it is."""
    return CRON_MACROS.get(schedule, schedule)


def _timezone(value: Any, where: str) -> str:
    name = _text(value or "UTC", where)
    try:
        ZoneInfo(name)
    except (ValueError, LookupError, OSError) as error:
        raise _malformed(
            f"{where} of app.json is {name[:40]!a}", "Write a name such as Europe/Berlin"
        ) from error
    return name


def _named(fields: Mapping[str, Any], key: str, pattern: re.Pattern[str]) -> list[tuple[str, Any]]:
    value = fields.get(key)
    found = _object({} if value is None else value, key)
    for name in found:
        if not pattern.fullmatch(name):
            raise _malformed(f"{key} of app.json names {name[:80]!a}", f"A name is {pattern.pattern}")
    return list(found.items())


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) > MOST_ENTRIES:
        raise _malformed(
            f"{where} is no JSON object of at most {MOST_ENTRIES} entries", "See docs/builders.md"
        )
    return value


def _list(value: Any, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MOST_ENTRIES:
        raise _malformed(
            f"{where} of app.json is no list of at most {MOST_ENTRIES} entries", "See docs/builders.md"
        )
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) > TEXT_CHARACTERS or "\0" in value:
        raise _malformed(f"{where} of app.json is no text of at most {TEXT_CHARACTERS} characters", "Mend it")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _malformed(f"{where} of app.json is no Unicode text", "Mend it") from error
    return value


def _number(value: Any, where: str, *, most: int) -> int:
    if isinstance(value, str) and value.isdecimal() and len(value) < 9:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise _malformed(f"{where} of app.json is {str(value)[:40]!a}", f"It is a number from 0 to {most}")
    return value


def _truth(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise _malformed(f"{where} of app.json is {str(value)[:40]!a}", "It is true or false")
    return value


def _malformed(message: str, hint: str) -> MalformedAppJson:
    return MalformedAppJson(message, hint=hint)
