"""How answers look: tables a tired person understands, or JSON. Data goes to stdout, talk to stderr."""

import json
import re
from collections.abc import Sequence
from typing import Any

import click

from pinode.cli.invocation import Invocation

STATES_OF_COLOUR = {
    "green": ("alive", "up", "live", "succeeded"),
    "yellow": ("suspect", "starting", "fetching", "building", "queued", "pending", "waiting", "stopping"),
    "red": ("dead", "failed", "crashed", "exited", "down", "unknown"),
}
COLOURS = {state: colour for colour, states in STATES_OF_COLOUR.items() for state in states}
AMOUNT = re.compile(r"|[0-9]+(\.[0-9]+)?( ?(%|°C|B|KiB|MiB|GiB|s|min|h|d))?")
# A terminal obeys these; what apps print and people type must not give it orders.
CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def show_json(document: Any) -> None:
    """The document, on stdout."""
    click.echo(json.dumps(document, indent=2, sort_keys=False))


def show_json_line(document: Any) -> None:
    """One of many documents, on a line of its own, on stdout."""
    click.echo(json.dumps(document))


def table(invocation: Invocation, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under headings. Amounts stand to the right, columns without any value are left out.

    On a terminal the known words of a column `state` are coloured.
    """
    cells = [["" if cell is None else printable(str(cell)) for cell in row] for row in rows]
    used = [place for place in range(len(headings)) if any(row[place] for row in cells)]
    columns = [_aligned(headings[place].upper(), [row[place] for row in cells]) for place in used]
    click.echo("  ".join(column[0] for column in columns).rstrip())
    for number, row in enumerate(cells, 1):
        line = "  ".join(
            _coloured(invocation, headings[place], row[place], column[number])
            for place, column in zip(used, columns, strict=True)
        )
        click.echo(line.rstrip(), color=invocation.colour)


def _aligned(heading: str, cells: Sequence[str]) -> list[str]:
    width = max(map(len, [heading, *cells]))
    is_amount = all(AMOUNT.fullmatch(cell) for cell in cells)
    return [cell.rjust(width) if is_amount else cell.ljust(width) for cell in (heading, *cells)]


def _coloured(invocation: Invocation, heading: str, cell: str, padded: str) -> str:
    is_known = invocation.colour and heading == "state" and cell in COLOURS
    return click.style(padded, fg=COLOURS[cell]) if is_known else padded


def say(text: str) -> None:
    """Talk: to stderr, so that it never mixes with data."""
    click.echo(text, err=True)


def printable(text: str) -> str:
    """The text without what a terminal would obey."""
    return CONTROL.sub("�", text)


def ago(seconds: float | None) -> str:
    """A duration in words: `3 s`, `4 min`, `2 h`, `5 d`."""
    if seconds is None:
        return ""
    for unit, span in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= span:
            return f"{seconds / span:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def size(count: float | None) -> str:
    """Bytes in words: `12 MiB`."""
    if count is None:
        return ""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit in ("B", "KiB") or value >= 10 else f"{value:.1f} {unit}"
        value /= 1024
    return ""
