"""Seeds of whole groups that keep a queue: clients repeat their requests while everything goes wrong."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from replicated_queue.request_codec import decode_bundle, encode_bundle
from tests.simulation.lives import judged, queue_life, schedule_of
from tests.simulation.machine import Machine
from tests.simulation.queue_world import Customer, QueueWorld
from tests.simulation.schedule import Schedule, shrunk
from tests.simulation.world import live_through

SEEDS_A_TEST = 36
SOURCES = Path(__file__).parents[2]


@pytest.mark.parametrize("block", range(20))
def test_queues_keep_every_promise_through_faults_and_agree_after_them(block: int) -> None:
    for seed in range(30_000 + block * SEEDS_A_TEST, 30_000 + (block + 1) * SEEDS_A_TEST):
        judged(seed)


def test_the_seeds_reach_what_they_are_for() -> None:
    worlds = [queue_life(seed) for seed in range(30)]
    history = [operation for world in worlds for operation in world.history]

    assert {"put", "reserve", "ack"} == {operation.kind for operation in history}
    assert sum(operation.is_known for operation in history) > 200
    assert sum(not operation.is_known for operation in history) > 30
    assert sum(operation.kind == "ack" and operation.result is False for operation in history) > 0
    assert sum(world.expired for world in worlds) > 20
    assert sum(node.life - 1 for world in worlds for node in world.nodes.values()) > 30
    assert sum(world.snapshots_taken > 0 for world in worlds) > 25
    assert sum(world.snapshots_received for world in worlds) > 3
    assert sum(node.is_ruined for world in worlds for node in world.nodes.values()) > 0
    assert sum(world.halted for world in worlds) > 0
    assert sum(world.changes for world in worlds) > 3


def test_what_somebody_still_waits_for_when_all_ends_may_have_been_done() -> None:
    assert not judged(1_006_457).history[-1].is_known


def test_what_is_asked_for_last_gets_to_everybody_before_they_are_compared() -> None:
    judged(2_002_625)


class Forgetful(QueueWorld):
    """Clients that ask again under another number."""

    def take(self, node: Machine, customer: Customer, sequence: int, data: bytes) -> None:
        if data:
            bundle = decode_bundle(data)
            slot, _, command = bundle.requests
            other = bundle._replace(client_id=self.random.randbytes(16), requests=(slot, 1, command))
            data = encode_bundle(other)
        super().take(node, customer, sequence, data)


class Hasty(QueueWorld):
    """Nodes that promise before their disk does."""

    def perform(self, node, replica, ready):  # type: ignore[no-untyped-def]
        self.keep_promises(node, replica, [ready])
        super().perform(node, replica, ready)


@pytest.mark.parametrize("bug", [Forgetful, Hasty])
def test_a_planted_bug_is_found_replayed_and_shrunk_to_a_short_schedule(bug: type[QueueWorld]) -> None:
    def fails(schedule: Schedule, seed: int) -> str:
        try:
            queue_life(seed, schedule, make=bug)
        except AssertionError as error:
            return str(error) or "an assertion"
        return ""

    broken = ((seed, schedule_of(seed)) for seed in range(1, 400, 3))
    broken = ((seed, schedule) for seed, schedule in broken if fails(schedule, seed))
    for seed, schedule in broken:
        short = shrunk(schedule, lambda schedule: bool(fails(schedule, seed)), most_tries=80)  # noqa: B023
        if len(short) <= 20:
            break

    assert fails(short, seed) == fails(short, seed) != ""
    assert len(short) <= 20 < len(schedule), short


def trace_of_some_lives() -> str:
    """Everything that happened, as one hash."""
    digest = hashlib.blake2b()
    for world in (queue_life(4), queue_life(6), live_through(3)):
        digest.update(repr((world.steps, world.now, world.committed, world.promises.acknowledged)).encode())
        digest.update(repr(getattr(world, "history", None)).encode())
    return digest.hexdigest()


def test_the_same_seed_lives_the_same_life_whatever_the_hash_seed() -> None:
    code = "from tests.simulation.test_queues import trace_of_some_lives as trace; print(trace())"
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
