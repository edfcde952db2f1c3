"""Small shares of what `make soak` does for hours, each from its own seed."""

import pytest

from benchmarks.gossip_scale import Result, picture, simulate
from tests.gossip.soak import MEMORY_GROWTH_BYTES, Fuzzer, long_life, replayed


@pytest.mark.parametrize("seed", [101, 102])
def test_minutes_of_loss_and_starvation_kill_nobody(seed: int) -> None:
    assert long_life(hours=0.05, seed=seed) == []


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_thousands_of_fuzzed_inputs_crash_nothing_and_memory_stays_bounded(seed: int) -> None:
    seen = Fuzzer(seed).run(5_000)

    assert seen.inputs == 5_000
    assert seen.understood > 1_000, "most of the damage went beyond the decoder"
    assert seen.memory_growth_bytes < MEMORY_GROWTH_BYTES


@pytest.mark.parametrize("seed", range(10))
def test_all_that_was_ever_heard_played_again_changes_nothing(seed: int) -> None:
    before, after = replayed(seed)

    assert after == before


@pytest.mark.parametrize("nodes", [5, 100])
def test_a_change_is_known_everywhere_in_five_seconds_and_datagrams_stay_flat(nodes: int) -> None:
    result = simulate(nodes, seconds=60)

    assert result.change_known_everywhere_seconds <= 5
    assert result.datagrams_per_node_per_second < 3.5
    assert result.false_deaths == 0


def test_the_picture_names_every_size() -> None:
    results = [Result(nodes, 60.0, 0.5, 2.0, 2.1, 200.0, 100.0 * nodes, 0, 1.0) for nodes in (5, 16, 1000)]

    drawn = picture(results)

    assert drawn.count("<polyline") == 4
    assert "1000 nodes, 1 min" in drawn
