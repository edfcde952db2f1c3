"""What an app.json wishes, in the words of what is agreed; what cannot be done for it is said."""

from collections.abc import Mapping

from builders import app_json
from builders.app_json import AppJson
from pinode.apps.checks import DYNOS_PER_TYPE, RELEASE_TYPE
from pinode.apps.cron import CronEntry
from pinode.apps.health_check import CHECKS_OF_A_TYPE, HEADERS_OF_A_CHECK, HealthCheck

WEB = "web"
STARTING = ("startup", "readiness")  # kinds that are about the start of a dyno


def formation_of(wishes: AppJson) -> dict[str, int]:
    """How many dynos of each type a first deploy starts; later the owner says."""
    return {
        name: min(quantity, DYNOS_PER_TYPE)
        for name, quantity in wishes.formation.items()
        if name != RELEASE_TYPE
    }


def health_checks_of(wishes: AppJson) -> tuple[Mapping[str, tuple[HealthCheck, ...]], list[str]]:
    """The checks of dynos that start, by process type; and a line for each one that is not done here."""
    found: dict[str, tuple[HealthCheck, ...]] = {}
    unsupported: list[str] = []
    for name, checks in wishes.healthchecks.items():
        kept = []
        for check in checks:
            for problem in _problems(check, name):
                unsupported.append(f"The health check {check.name or check.kind!r} of {name} {problem}")
            if _is_asked(check, name):
                kept.append(_check(check))
        if kept:
            found[name] = tuple(kept[:CHECKS_OF_A_TYPE])
    return found, unsupported


def cron_of(wishes: AppJson) -> tuple[CronEntry, ...]:
    """What the release has run by the clock."""
    return tuple(
        CronEntry(
            schedule=item.schedule,
            command=item.command,
            concurrency=item.concurrency,
            is_suspended=item.is_suspended,
            timezone=item.timezone,
        )
        for item in wishes.cron
    )


def _is_asked(check: app_json.HealthCheck, process_type: str) -> bool:
    is_for_web = bool(check.command or check.path)
    return check.kind in STARTING and not check.only_warns and (process_type == WEB or not is_for_web)


def _problems(check: app_json.HealthCheck, process_type: str) -> list[str]:
    """What is not done of it, each in the words that follow its name."""
    if check.kind not in STARTING:
        return [f"is of type {check.kind}, and only the start of a dyno is checked"]
    if check.only_warns:
        return ["only warns, and is left out"]
    if not _is_asked(check, process_type):
        return [f"asks something, and only dynos of {WEB} are asked; others must run for their uptime"]
    return [f"names {key}, which is not looked at: PORT is asked over HTTP" for key in check.left_out]


def _check(check: app_json.HealthCheck) -> HealthCheck:
    return HealthCheck(
        path=check.path,
        content=check.content,
        headers=check.headers[:HEADERS_OF_A_CHECK],
        attempts=max(1, check.attempts),
        timeout_seconds=max(1, check.timeout_seconds),
        wait_seconds=check.wait_seconds,
        initial_delay_seconds=check.initial_delay_seconds,
        uptime_seconds=check.uptime_seconds,
        command=check.command,
    )
