"""Lives from a seed alone, and what to say of one that broke a promise.

    python -m tests.simulation.lives [--seeds 10000] [--first 1000000]

The long version of the simulation: half of the lives keep a queue, a quarter do so in the real shells, the others
change members or have five nodes.
"""

import argparse
import gc
import logging
import time
from collections.abc import Callable

from tests.simulation.queue_world import QueueWorld, live_by
from tests.simulation.schedule import Schedule, plan, shrunk
from tests.simulation.shell_world import ShellWorld
from tests.simulation.world import World, live_through

SHORT_SECONDS, LONG_SECONDS = 6.0, 10.0
FIRST_LONG_SEED = 1_000_000
FAULTS_A_LIFE = 16
WISHES_A_LIFE = 60
CHANGES_A_LIFE = 12


def queue_life(
    seed: int, schedule: Schedule | None = None, *, make: Callable[..., QueueWorld] = QueueWorld
) -> QueueWorld:
    """A group that keeps a queue; in every third life leases run out. Raises `AssertionError`."""
    if schedule is None:
        schedule = schedule_of(seed)
    return live_by(
        schedule,
        seed,
        seconds=seconds_of(seed) + 1.0,
        leases_end=seed % 3 == 0,
        spares=spares_of(seed),
        make=make,
    )


def seconds_of(seed: int) -> float:
    """As much happens in a short life as in a long one, but it costs less."""
    return LONG_SECONDS if seed >= FIRST_LONG_SEED else SHORT_SECONDS


def spares_of(seed: int) -> int:
    """In every fourth life members change."""
    return 2 if seed % 4 == 1 else 0


def schedule_of(seed: int) -> Schedule:
    """All that happens in the life of this seed."""
    changes = CHANGES_A_LIFE if spares_of(seed) else 0
    return plan(seed, seconds=seconds_of(seed), faults=FAULTS_A_LIFE, wishes=WISHES_A_LIFE, changes=changes)


def judged(seed: int, *, make: Callable[..., QueueWorld] = QueueWorld) -> QueueWorld:
    """`queue_life`; one that fails is shrunk, so that the error shows a short schedule."""
    try:
        return queue_life(seed, make=make)
    except AssertionError as error:
        why = str(error)
    short = shrunk(schedule_of(seed), lambda schedule: breaks(seed, schedule, make=make))
    lines = "\n".join(f"    {happening}" for happening in short)
    raise AssertionError(f"seed {seed}: {why}; this much of its schedule is enough:\n{lines}")


def breaks(seed: int, schedule: Schedule, *, make: Callable[..., QueueWorld] = QueueWorld) -> bool:
    """Whether a promise is broken."""
    try:
        queue_life(seed, schedule, make=make)
    except AssertionError:
        return True
    return False


def life(seed: int) -> World:
    """One of the long version."""
    match seed % 8:
        case 6:
            return live_through(seed, spares=3)
        case 7:
            return live_through(seed, nodes=5)
        case 4 | 5:
            return judged(seed, make=ShellWorld)
        case _:
            return judged(seed)


def main() -> None:
    """Live through many and say how it went; the first broken promise flies."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=FIRST_LONG_SEED)
    wanted = parser.parse_args()
    logging.disable()  # of full and slow disks there is no end in these lives
    began, steps = time.perf_counter(), 0
    for seed in range(wanted.first, wanted.first + wanted.seeds):
        try:
            steps += life(seed).steps
            if seed % 20 == 0:
                gc.collect()  # the shells tell it to leave alone what a node loads at its start
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    seconds = time.perf_counter() - began
    print(f"{wanted.seeds} lives in {seconds:.0f} s, {steps / seconds:.0f} steps a second, no promise broken")


if __name__ == "__main__":
    main()
