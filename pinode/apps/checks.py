"""Rules for names, texts and amounts, checked before anything is changed."""

import re
from collections.abc import Iterable, Mapping

from pinode.apps.app import APP_NAME, CONFIG_BYTES, CONFIG_NAME, PROCESS_TYPE
from pinode.apps.errors import ConfigTooLarge, InvalidName, InvalidValue

TEXT_CHARS = 2048  # of a URL, a path, a ref
LINE_CHARS = 1000  # of a failure, a description
COMMAND_CHARS = 4096  # of one process type
PROCESS_TYPES = 50
LAST_LINES = 10  # kept of what a dyno said that failed its release
LAST_LINE_CHARS = 200
DYNOS_PER_TYPE = 100
SEAL_BYTES = 64  # what sealing may add to one value
SLUG_DIGEST = re.compile(r"[0-9a-f]{64}")
RELEASE_TYPE = "release"  # runs once before a release goes live, never as a dyno
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def check_app_name(name: str) -> None:
    """Raises `InvalidName`."""
    if not APP_NAME.fullmatch(name):
        raise InvalidName(
            kind="name for an app",
            name=name,
            rule="1 to 30 characters a-z, 0-9 and '-', beginning with a letter, for example 'hello-flask'",
        )


def check_config_name(name: str) -> None:
    """Raises `InvalidName`."""
    if not CONFIG_NAME.fullmatch(name):
        raise InvalidName(
            kind="name for a config var",
            name=name,
            rule="letters, digits and '_', not beginning with a digit, for example 'SECRET_KEY'",
        )


def check_config_size(app: str, values: Mapping[str, bytes]) -> None:
    """Raises `ConfigTooLarge`; what sealing adds does not count against the user."""
    size_bytes = sum(len(name.encode()) + max(0, len(value) - SEAL_BYTES) for name, value in values.items())
    if size_bytes > CONFIG_BYTES or len(values) > 1000:
        raise ConfigTooLarge(app=app, size_bytes=size_bytes, bound_bytes=CONFIG_BYTES)


def check_process_type(name: str) -> None:
    """Raises `InvalidName`."""
    if not PROCESS_TYPE.fullmatch(name):
        raise InvalidName(
            kind="name for a process type", name=name, rule="letters, digits, '_' and '-', for example 'web'"
        )


def check_process_types(process_types: Mapping[str, str]) -> None:
    """Raises `InvalidName` or `InvalidValue`."""
    if not process_types or len(process_types) > PROCESS_TYPES:
        raise InvalidValue(what="the process types", rule=f"must be 1 to {PROCESS_TYPES}")
    for name, command in sorted(process_types.items()):
        check_process_type(name)
        check_text(f"the command of process type {name!r}", command, chars=COMMAND_CHARS)


def check_quantities(quantities: Mapping[str, int]) -> None:
    """Raises `InvalidName` or `InvalidValue`."""
    for name, quantity in sorted(quantities.items()):
        check_process_type(name)
        if name == RELEASE_TYPE:
            raise InvalidValue(
                what=f"process type {name!r}", rule="runs once per release and cannot be scaled"
            )
        if not 0 <= quantity <= DYNOS_PER_TYPE:
            raise InvalidValue(what=f"{name}={quantity}", rule=f"must be from 0 to {DYNOS_PER_TYPE}")


def check_text(what: str, text: str, *, chars: int = TEXT_CHARS) -> None:
    """Raises `InvalidValue` for an empty, an over-long text or one with control characters."""
    if not text or len(text) > chars:
        raise InvalidValue(what=what, rule=f"must have 1 to {chars} characters")
    if _CONTROL.search(text):
        raise InvalidValue(what=what, rule="must not contain control characters")


def check_texts(**texts: str | None) -> None:
    """`check_text` for each that is given."""
    for what, text in texts.items():
        if text is not None:
            check_text(what.replace("_", " "), text)


def check_slug(digest: str, slug_bytes: int, holders: Iterable[str]) -> None:
    """Raises `InvalidValue`."""
    if not SLUG_DIGEST.fullmatch(digest) or slug_bytes < 0:
        raise InvalidValue(what="the slug", rule="needs a sha256 in hexadecimal and its size in bytes")
    for holder in holders:
        check_text("a holder", holder, chars=100)


def check_lines(lines: tuple[str, ...]) -> None:
    """Raises `InvalidValue` for more, or longer ones, than `last_lines` gives."""
    if len(lines) > LAST_LINES or any(len(line) > LAST_LINE_CHARS for line in lines):
        raise InvalidValue(
            what="the last lines", rule=f"must be at most {LAST_LINES} of {LAST_LINE_CHARS} characters"
        )


def last_lines(lines: Iterable[str]) -> tuple[str, ...]:
    """The end of what a dyno printed, as many and as much of them as is agreed on."""
    cleaned = (_CONTROL.sub(" ", line).rstrip() for line in lines)
    return tuple(line[:LAST_LINE_CHARS] for line in cleaned if line)[-LAST_LINES:]


def one_line(text: str) -> str:
    """What a build or a dyno said, as one line of bounded length."""
    return " ".join(_CONTROL.sub(" ", text).split())[:LINE_CHARS]
