"""Durations as people type them."""

import re

import click

SPAN = re.compile(r"([0-9]{1,9})(s|m|h|d|)")
SECONDS_OF_UNIT = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def span(text: str) -> int:
    """A duration in seconds, or with a unit: 90, 90s, 5m, 1h, 2d."""
    found = SPAN.fullmatch(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no duration, for example 90, 5m or 1h")
    return int(found[1]) * SECONDS_OF_UNIT[found[2]]
