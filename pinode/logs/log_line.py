"""One line of an app's log, as people see it, and how raw output becomes lines."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

LINE_BYTES = 8 * 1024  # shown of one line; the rest is counted
PLATFORM_MARK = b"\x1e"  # begins a line that pinode wrote, between those of the dyno
CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """What dyno `web.1` of an app said at a time (wall clock of its node, milliseconds since 1970).

    `source` is `app`, or `pinode` where the platform speaks about the dyno.
    """

    time_ms: int
    app: str
    dyno: str
    node: str
    text: str
    source: str = "app"

    def __str__(self) -> str:
        """As in `2026-05-01T10:00:00.123Z app[web.1]: text`."""
        moment = datetime.fromtimestamp(self.time_ms // 1000, tz=UTC)
        return (
            f"{moment:%Y-%m-%dT%H:%M:%S}.{self.time_ms % 1000:03d}Z {self.source}[{self.dyno}]: {self.text}"
        )


@dataclass(frozen=True, slots=True)
class Mark:
    """The output up to offset `end` (not included) was there at `time_ms`; by pinode or not."""

    end: int
    time_ms: int
    is_platform: bool = False


@dataclass(frozen=True, slots=True)
class RawLine:
    """A line of a dyno's output, without its end."""

    time_ms: int
    text: str
    is_platform: bool


def clean_text(line: bytes) -> str:
    """Text of one raw line: bounded, without control characters, whatever bytes a dyno wrote."""
    shown = line[:LINE_BYTES]
    text = CONTROL.sub("\N{REPLACEMENT CHARACTER}", shown.rstrip(b"\r").decode("utf-8", "replace"))
    rest = len(line) - len(shown)
    return f"{text} … ({rest} more bytes)" if rest else text


def split_lines(content: bytes, *, start: int, marks: Sequence[Mark], last_ms: int) -> list[RawLine]:
    """Lines of the output that begins at offset `start`; what came after the last mark is of `last_ms`."""
    ends = [mark.end for mark in marks]
    lines = []
    offset = start
    pieces = content.split(b"\n")
    if not pieces[-1]:
        pieces.pop()
    for line in pieces:
        place = bisect_right(ends, offset)
        time_ms = marks[place].time_ms if place < len(marks) else last_ms
        offset += len(line) + 1
        # A dyno can print the mark too, but not where we noted that we wrote.
        is_platform = line.startswith(PLATFORM_MARK) and place < len(marks) and marks[place].is_platform
        lines.append(RawLine(time_ms, clean_text(line[1:] if is_platform else line), is_platform))
    return lines
