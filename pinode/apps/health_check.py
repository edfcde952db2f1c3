"""When a dyno that has just started is well, as its app.json says; without one, any HTTP answer will do."""

from collections.abc import Mapping
from dataclasses import dataclass

from pinode.apps.checks import COMMAND_CHARS, check_process_type, check_text
from pinode.apps.errors import InvalidValue

CHECKS_OF_A_TYPE = 10
HEADERS_OF_A_CHECK = 20
WORDS_OF_A_COMMAND = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """Asked of a dyno that listens: `path` must be answered with a status below 400, and `content` in it;
    `command` must end with status 0.

    Without either it only has to have run for `uptime_seconds`.
    """

    path: str = ""
    content: str = ""  # must be in the answer's body
    headers: tuple[tuple[str, str], ...] = ()  # sent along
    attempts: int = 3  # answers that are not as they should be until it is given up
    timeout_seconds: int = 5  # for one answer
    wait_seconds: int = 5  # between two attempts
    initial_delay_seconds: int = 0
    uptime_seconds: int = 0
    command: tuple[str, ...] = ()  # run with the dyno's files, environment and walls


def check_health_checks(checks: Mapping[str, tuple[HealthCheck, ...]]) -> None:
    """Raises `InvalidName` or `InvalidValue`."""
    for name, of_type in sorted(checks.items()):
        check_process_type(name)
        if len(of_type) > CHECKS_OF_A_TYPE:
            raise InvalidValue(
                what=f"the health checks of {name}", rule=f"must be at most {CHECKS_OF_A_TYPE}"
            )
        for check in of_type:
            _check(name, check)


def _check(name: str, check: HealthCheck) -> None:
    if len(check.headers) > HEADERS_OF_A_CHECK or check.attempts < 1:
        raise InvalidValue(
            what=f"a health check of {name}",
            rule=f"has at most {HEADERS_OF_A_CHECK} headers and at least one attempt",
        )
    if len(check.command) > WORDS_OF_A_COMMAND or any(
        len(word) > COMMAND_CHARS or "\0" in word for word in check.command
    ):
        raise InvalidValue(
            what=f"the command of a health check of {name}",
            rule=f"must be at most {WORDS_OF_A_COMMAND} words of {COMMAND_CHARS} characters without NUL",
        )
    if check.path:
        check_text(f"the path of a health check of {name}", check.path)
    for header, value in check.headers:
        check_text(f"a header of a health check of {name}", header)
        if value:
            check_text(f"a header of a health check of {name}", value, chars=4096)
