"""How answers look: tables a tired person understands, or JSON. Data goes to stdout, talk to stderr."""

import json
from collections.abc import Sequence
from typing import Any

import click

from pinode.cli.invocation import Invocation

STATES_OF_COLOUR = {
    "green": ("alive", "up", "live", "succeeded"),
    "yellow": ("suspect", "starting", "fetching", "building", "queued", "pending"),
    "red": ("dead", "failed", "crashed"),
}
COLOURS = {state: colour for colour, states in STATES_OF_COLOUR.items() for state in states}


def show_json(document: Any) -> None:
    """The document, on stdout."""
    click.echo(json.dumps(document, indent=2, sort_keys=False))


def table(invocation: Invocation, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under headings; known states are coloured on a terminal."""
    cells = [[("" if cell is None else str(cell)) for cell in row] for row in rows]
    widths = [max([len(head), *(len(row[i]) for row in cells)]) for i, head in enumerate(headings)]
    click.echo(
        "  ".join(head.upper().ljust(width) for head, width in zip(headings, widths, strict=True)).rstrip()
    )
    for row in cells:
        line = "  ".join(
            _coloured(invocation, cell, cell.ljust(width)) for cell, width in zip(row, widths, strict=True)
        )
        click.echo(line.rstrip(), color=invocation.colour)


def say(text: str) -> None:
    """Talk: to stderr, so that it never mixes with data."""
    click.echo(text, err=True)


def _coloured(invocation: Invocation, cell: str, padded: str) -> str:
    return click.style(padded, fg=COLOURS[cell]) if invocation.colour and cell in COLOURS else padded


def ago(seconds: float | None) -> str:
    """A duration in words: `3 s`, `4 min`, `2 h`, `5 d`."""
    if seconds is None:
        return ""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
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
