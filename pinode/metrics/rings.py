"""Rings of one node's statistics: an hour in steps of 10 s, a day in steps of 2 min, of a fixed size."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

FIELDS = (
    "cpu_percent",
    "load_1m",
    "memory_percent",
    "disk_percent",
    "net_tx_bytes_per_s",
    "net_rx_bytes_per_s",
    "temperature_celsius",
    "throttled",
    "disk_written_bytes_per_hour",
    "loop_lag_ms",
    "dynos",
    "builds",
)
WIDTH = len(FIELDS)
FINE_SECONDS, FINE_SLOTS = 10.0, 360
COARSE_SECONDS, COARSE_SLOTS = 120.0, 720
NOTHING = math.nan

Row = Sequence[float]  # one value a field, in the order of FIELDS; NaN: not known


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows in the order of time, one a step without a gap."""

    step_seconds: float
    newest_age_seconds: float  # since the last row's step began
    values: array[float]  # row after row

    def rows(self) -> list[array[float]]:
        """One a step."""
        return [self.values[at : at + WIDTH] for at in range(0, len(self.values), WIDTH)]


class Ring:
    """The newest rows, each in the slot of its time; a slot that nobody wrote is empty."""

    def __init__(self, *, step_seconds: float, slots: int) -> None:
        self.step_seconds = step_seconds
        self.slots = slots
        self._values = array("f", [NOTHING]) * (slots * WIDTH)
        self._newest: int | None = None  # steps since the clock's beginning

    def step_at(self, now: float) -> int:
        return int(now // self.step_seconds)

    def put(self, row: Row, *, now: float) -> None:
        """This is how it is now."""
        step = self.step_at(now)
        self._advance(step)
        self._write(step, row)

    def fill(self, stretch: Stretch, *, now: float) -> None:
        """Take over what somebody else saw, where there is nothing of our own."""
        newest = self.step_at(now - stretch.newest_age_seconds)
        rows = stretch.rows()
        self._advance(max(newest, self._newest or newest))
        for back, row in enumerate(reversed(rows)):
            step = newest - back
            if self._holds(step) and all(math.isnan(value) for value in self._read(step)):
                self._write(step, row)

    def stretch(self, *, now: float) -> Stretch:
        """From the oldest row there is to the newest."""
        if self._newest is None:
            return Stretch(self.step_seconds, 0.0, array("f"))
        values = array("f")
        for step in range(self._newest - self.slots + 1, self._newest + 1):
            row = self._read(step)
            if values or not all(math.isnan(value) for value in row):
                values.extend(row)
        return Stretch(self.step_seconds, max(0.0, now - self._newest * self.step_seconds), values)

    def bytes_held(self) -> int:
        return self._values.itemsize * len(self._values)

    def _holds(self, step: int) -> bool:
        return self._newest is not None and self._newest - self.slots < step <= self._newest

    def _advance(self, step: int) -> None:
        """Make room up to this step; what falls out at the other end is forgotten."""
        if self._newest is None or step - self._newest >= self.slots:
            self._values = array("f", [NOTHING]) * (self.slots * WIDTH)
            self._newest = step
        while self._newest < step:
            self._newest += 1
            self._write(self._newest, [NOTHING] * WIDTH)

    def _write(self, step: int, row: Row) -> None:
        if self._holds(step):
            place = step % self.slots * WIDTH
            self._values[place : place + WIDTH] = array("f", row)

    def _read(self, step: int) -> array[float]:
        place = step % self.slots * WIDTH
        return self._values[place : place + WIDTH]


class NodeRings:
    """One node's last hour and last day."""

    def __init__(self) -> None:
        self.fine = Ring(step_seconds=FINE_SECONDS, slots=FINE_SLOTS)
        self.coarse = Ring(step_seconds=COARSE_SECONDS, slots=COARSE_SLOTS)
        self._step: int | None = None
        self._sums = [0.0] * WIDTH
        self._counts = [0] * WIDTH

    def record(self, row: Row, *, now: float) -> None:
        """Keep how it is now; the coarse ring has the mean of what was recorded in its step."""
        if len(row) != WIDTH:
            raise ValueError(f"a row of {len(row)} values; there are {WIDTH} fields")
        self.fine.put(row, now=now)
        if self._step != self.coarse.step_at(now):
            self._step = self.coarse.step_at(now)
            self._sums, self._counts = [0.0] * WIDTH, [0] * WIDTH
        for index, value in enumerate(row):
            if not math.isnan(value):
                self._sums[index] += value
                self._counts[index] += 1
        sums = zip(self._sums, self._counts, strict=True)
        self.coarse.put([total / count if count else NOTHING for total, count in sums], now=now)

    def bytes_held(self) -> int:
        return self.fine.bytes_held() + self.coarse.bytes_held()


def series(stretch: Stretch) -> dict[str, list[float | None]]:
    """By field, the oldest first; None where nothing was heard."""
    rows = stretch.rows()
    return {
        name: [None if math.isnan(row[index]) else round(row[index], 2) for row in rows]
        for index, name in enumerate(FIELDS)
    }
