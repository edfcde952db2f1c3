"""A line of an app's log, taken apart again."""

import re
from dataclasses import dataclass

MOST_LINES = 1_500  # a node keeps more, but shows no more at once
LINE = re.compile(r"(?P<time>\S+) (?P<source>[a-z]+)\[(?P<dyno>[^\]]*)\]: (?P<text>.*)")


@dataclass(frozen=True, slots=True)
class ShownLine:
    """Its parts; None where a line has no such part."""

    time: str | None
    source: str | None
    dyno: str | None
    text: str


def parse_log_line(line: str) -> ShownLine:
    """The parts of a line as `GET …/logs` gives it."""
    found = LINE.fullmatch(line)
    return ShownLine(**found.groupdict()) if found else ShownLine(None, None, None, line)
