"""The Procfile: which commands an app's processes run."""

import re

from builders.errors import BuildError

LINE = re.compile(r"(?P<type>[A-Za-z0-9_-]{1,63}):[ \t]*(?P<command>\S.*)")
PROCFILE_BYTES = 64 * 1024
COMMAND_CHARACTERS = 4_096
MOST_TYPES = 64


class MalformedProcfile(BuildError):
    """A line of the Procfile is none."""

    code = "malformed_procfile"


def parse_procfile(data: bytes) -> dict[str, str]:
    """Commands by process type, in the file's order. Empty lines and lines that begin with # are skipped."""
    if len(data) > PROCFILE_BYTES:
        raise MalformedProcfile(
            f"the Procfile has {len(data)} bytes", hint=f"At most {PROCFILE_BYTES} are allowed"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedProcfile("the Procfile is not UTF-8", hint="Save it as UTF-8") from error
    types: dict[str, str] = {}
    for number, raw in enumerate(re.split(r"\r\n|\n|\r", text), 1):
        line = raw.strip(" \t")
        if not line or line.startswith("#"):
            continue
        name, command = _parse_line(line, number)
        if name in types:
            raise MalformedProcfile(
                f"line {number} of the Procfile names '{name}' again", hint="Keep one of them"
            )
        types[name] = command
    if len(types) > MOST_TYPES:
        raise MalformedProcfile(
            f"the Procfile has {len(types)} process types", hint=f"At most {MOST_TYPES} are allowed"
        )
    return types


def _parse_line(line: str, number: int) -> tuple[str, str]:
    match = LINE.fullmatch(line)
    if match is None or any(ord(character) < 32 and character != "\t" for character in line):
        raise MalformedProcfile(
            f"line {number} of the Procfile is {line[:80]!a}",
            hint="A line is `type: command`, such as `web: gunicorn app:app`",
        )
    if len(match["command"]) > COMMAND_CHARACTERS:
        raise MalformedProcfile(
            f"the command in line {number} of the Procfile has {len(match['command'])} characters",
            hint="Put it into a script of the repository",
        )
    return match["type"], match["command"]
