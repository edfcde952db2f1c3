"""Seeds of the real shells: services, brokers and clients on event loops in virtual time."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.lives import judged, queue_life
from tests.simulation.shell_world import ShellWorld

SEEDS_A_TEST = 10
SOURCES = Path(__file__).parents[2]


@pytest.mark.parametrize("block", range(6))
def test_shells_keep_every_promise_through_faults_and_agree_after_them(block: int) -> None:
    for seed in range(50_000 + block * SEEDS_A_TEST, 50_000 + (block + 1) * SEEDS_A_TEST):
        judged(seed, make=ShellWorld)


@pytest.mark.parametrize(
    "seed",
    [
        23,  # a snapshot is left behind by the log while it travels, and the next one waits for a minute
        77,  # a learner that waits for a snapshot is made a voter, for its distance is small
        100,  # who restarts while it fetches a snapshot is taken for busy with it for a minute
        1_000_130,  # a leader that hands over is busy with a repeated request, which another had done
        207,  # who came for a damaged snapshot hears of the next one late
        2_001_732,  # a leader loses its power while somebody comes for a snapshot
        3_003_661,  # somebody comes for a snapshot while the leader starts and reads its log
    ],
)
def test_lives_of_shells_that_once_went_wrong(seed: int) -> None:
    judged(seed, make=ShellWorld)


def test_the_seeds_of_shells_reach_what_they_are_for() -> None:
    worlds = [queue_life(seed, make=ShellWorld) for seed in range(20)]
    history = [operation for world in worlds for operation in world.history]

    assert {"put", "reserve", "ack"} == {operation.kind for operation in history}
    assert sum(operation.is_known for operation in history) > 200
    assert sum(not operation.is_known for operation in history) > 20
    assert sum(world.calls_answered for world in worlds) > 100  # type: ignore[attr-defined]
    assert sum(world.waits_served for world in worlds) > 5  # type: ignore[attr-defined]
    assert (
        sum(
            name.endswith(".snapshot")
            for world in worlds
            for node in world.nodes.values()
            for name in node.disk.files
        )
        > 60
    )
    assert sum(len(world.given_back) for world in worlds) > 3
    assert sum(node.life - 1 for world in worlds for node in world.nodes.values()) > 30


def trace_of_some_lives() -> str:
    """Everything that happened, as one hash."""
    digest = hashlib.blake2b()
    for seed in (1, 3, 4):
        world = queue_life(seed, make=ShellWorld)
        digest.update(repr((world.steps, world.now, world.committed, world.history)).encode())
    return digest.hexdigest()


def test_the_same_seed_lives_the_same_life_of_shells_whatever_the_hash_seed() -> None:
    code = "from tests.simulation.test_shells import trace_of_some_lives as trace; print(trace())"
    traces = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=SOURCES,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(SOURCES)},
            capture_output=True,
            text=True,
            check=True,
            timeout=100,
        ).stdout
        for hash_seed in ("1", "2")
    }

    assert traces == {trace_of_some_lives() + "\n"}
