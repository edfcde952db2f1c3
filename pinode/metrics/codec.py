"""A node's rings ↔ bytes, for a peer that has started again."""

from __future__ import annotations

import math
import sys
from array import array
from dataclasses import dataclass

import msgpack

from pinode.metrics.rings import (
    COARSE_SECONDS,
    COARSE_SLOTS,
    FIELDS,
    FINE_SECONDS,
    FINE_SLOTS,
    WIDTH,
    Stretch,
)

VERSION = 1
MAX_AGE_SECONDS = 10 * 86_400.0


class MalformedRings(ValueError):
    """What a peer sent are no rings of a format we know."""


@dataclass(frozen=True, slots=True)
class History:
    """What one node knows of one node's past."""

    node_id: str
    fine: Stretch
    coarse: Stretch


def encode_history(history: History) -> bytes:
    """Ages, for no two clocks agree; values as little-endian floats."""
    both = (history.fine, history.coarse)
    stretches = [[one.newest_age_seconds, _swapped(one.values).tobytes()] for one in both]
    return bytes(msgpack.packb([VERSION, history.node_id, list(FIELDS), *stretches]))


def decode_history(data: bytes) -> History:
    """Read a peer's rings: fields we do not know are skipped. Raises `MalformedRings`."""
    try:
        version, node_id, fields, fine, coarse, *_ = msgpack.unpackb(data)
        if version != VERSION or not isinstance(node_id, str) or not 0 < len(fields) <= 256:
            raise MalformedRings(f"rings of version {version!r}")
        return History(
            node_id,
            _stretch(fine, fields, step_seconds=FINE_SECONDS, slots=FINE_SLOTS),
            _stretch(coarse, fields, step_seconds=COARSE_SECONDS, slots=COARSE_SLOTS),
        )
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise MalformedRings(f"not to be read: {error}") from error


def _stretch(sent: list[object], fields: list[str], *, step_seconds: float, slots: int) -> Stretch:
    age, data, *_ = sent
    if not isinstance(age, float) or not 0 <= age <= MAX_AGE_SECONDS or not isinstance(data, bytes):
        raise MalformedRings("no age or no values")
    values = array("f")
    if len(data) > slots * len(fields) * values.itemsize:
        raise MalformedRings(f"{len(data)} bytes of values")
    values.frombytes(data)
    values = _swapped(values)
    if len(values) % len(fields):
        raise MalformedRings("half a row")
    if list(fields) != list(FIELDS):
        values = _in_our_order(values, fields)
    assert len(values) % WIDTH == 0
    return Stretch(step_seconds, age, values)


def _in_our_order(values: array[float], fields: list[str]) -> array[float]:
    places = [fields.index(name) if name in fields else None for name in FIELDS]
    ordered = array("f")
    for at in range(0, len(values), len(fields)):
        ordered.extend(math.nan if place is None else values[at + place] for place in places)
    return ordered


def _swapped(values: array[float]) -> array[float]:
    if sys.byteorder == "little":
        return values
    swapped = array("f", values)
    swapped.byteswap()
    return swapped
