"""One line of an app's log, as people see it."""

import re
from dataclasses import dataclass
from datetime import datetime, timezone

LINE_BYTES = 8 * 1024  # shown of one line; the rest is counted
PLATFORM_MARK = b"\x1e"  # begins a line that pinode wrote, between those of the dyno
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """What dyno `web.1` of an app said at a time (wall clock of its node, milliseconds since 1970).

    `source` is the app's name, or `pinode` where the platform speaks about the dyno.
    """

    time_ms: int
    app: str
    dyno: str
    node: str
    text: str
    source: str = "app"

    def __str__(self) -> str:
        """As in `2026-05-01T10:00:00.123Z app[web.1]: text`."""
        moment = datetime.fromtimestamp(self.time_ms / 1000, tz=timezone.utc)
        return (
            f"{moment:%Y-%m-%dT%H:%M:%S}.{self.time_ms % 1000:03d}Z {self.source}[{self.dyno}]: {self.text}"
        )


def clean_text(line: bytes) -> str:
    """Text of one raw line: bounded, without control characters, whatever bytes a dyno wrote."""
    shown = line[:LINE_BYTES]
    text = CONTROL.sub("\N{REPLACEMENT CHARACTER}", shown.rstrip(b"\r").decode("utf-8", "replace"))
    rest = len(line) - len(shown)
    return f"{text} … ({rest} more bytes)" if rest else text
