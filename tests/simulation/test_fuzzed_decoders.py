"""A seeded share of what `python -m tests.simulation.fuzzed_decoders` feeds for long."""

import pytest

from tests.simulation.fuzzed_decoders import MEMORY_GROWTH_BYTES, Fuzzer, peak_bytes, seeds


@pytest.mark.parametrize("seed", range(4))
def test_damaged_and_invented_bytes_are_understood_or_refused_by_the_typed_error(seed: int) -> None:
    fuzzer = Fuzzer(seed)
    before = peak_bytes()

    fuzzer.run(20_000)

    assert fuzzer.understood > 1_000, "nothing is decoded far enough to say much"
    assert peak_bytes() - before < MEMORY_GROWTH_BYTES


def test_what_is_damaged_was_good() -> None:
    for good, decode in seeds():
        decode(good)
