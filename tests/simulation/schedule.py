"""What happens to a group, as a list that can be made shorter: faults and wishes of clients, each with its time."""

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

FAULTS = (
    *("crash", "crash", "kill", "start", "start", "start"),
    *("part", "cut", "reset", "mend", "mend", "mend"),
    *("pause", "stall", "fill", "drift", "step", "rot", "upgrade", "tomorrow"),
)


class Happening(NamedTuple):
    """`seed` decides the rest: which node, which sides, how long."""

    at: float
    what: str
    seed: int


Schedule = Sequence[Happening]


def plan(seed: int, *, seconds: float, faults: int, wishes: int, changes: int = 0) -> Schedule:
    """A schedule from a seed, in the order of time."""
    random = Random(seed)
    happenings = [
        Happening(random.uniform(0, seconds), random.choice(FAULTS), random.getrandbits(32))
        for _ in range(faults)
    ]
    happenings += [
        Happening(random.uniform(0, seconds), what, random.getrandbits(32))
        for what in ["wish"] * wishes + ["member"] * changes
    ]
    return sorted(happenings)


def shrunk(schedule: Schedule, fails: Callable[[Schedule], bool], *, most_tries: int = 400) -> Schedule:
    """A short part of `schedule` that still fails: whole halves are left out first, single ones last."""
    left, tries = list(schedule), 0
    size = max(1, len(left) // 2)
    while tries < most_tries:
        at, before = 0, len(left)
        while at < len(left) and tries < most_tries:
            tries += 1
            without = left[:at] + left[at + size :]
            if fails(without):
                left = without
            else:
                at += size
        if size == 1 and len(left) == before:
            break
        size = max(1, size // 2)
    return left
