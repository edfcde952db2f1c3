"""Gossip alone as real processes on a bad network: small shares of `python -m tests.multi_host.gossip_faults`."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.multi_host.gossip_faults import (
    Members,
    halves_apart,
    lost_frames,
    members,
    one_way_cut,
    stalled_radio,
    stopped_process,
    wall_clock,
)

pytestmark = [pytest.mark.multi_host, pytest.mark.netns]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Members]:
    if os.geteuid():
        pytest.fail("network namespaces need root: sudo make test")
    with members(5) as made:
        yield made


def test_a_cut_in_one_direction_makes_nobody_dead(cluster: Members) -> None:
    assert one_way_cut(cluster, 6)["deaths"] == 0


@pytest.mark.soak  # lived through in virtual time by tests/gossip in every run
def test_a_fifth_of_all_frames_lost_makes_nobody_dead(cluster: Members) -> None:
    assert lost_frames(cluster, 6)["deaths"] == 0


@pytest.mark.soak  # lived through in virtual time by tests/gossip in every run
def test_a_radio_that_stalls_for_300_milliseconds_makes_nobody_dead(cluster: Members) -> None:
    assert stalled_radio(cluster, 6)["deaths"] == 0


def test_a_process_that_stood_still_for_five_seconds_is_back_everywhere_in_two_and_accused_nobody(
    cluster: Members,
) -> None:
    measured: Any = stopped_process(cluster, 3)

    assert measured["believed_dead_by"] == 4
    assert measured["back_seconds"] <= 2
    assert measured["accused"] == 0


@pytest.mark.soak  # lived through in virtual time by tests/gossip in every run
def test_a_wall_clock_that_jumps_a_day_ahead_and_then_to_1970_changes_nothing(cluster: Members) -> None:
    measured: Any = wall_clock(cluster, 5)

    assert measured["changes"] == 0
    assert measured["tables_as_before"]
    assert measured["in_1970"]["believed_dead_by"] == 4, "who stands still is noticed all the same"
    assert measured["in_1970"]["back_seconds"] <= 2
    ahead, back = measured["clock_off_by_days"]
    assert ahead == pytest.approx(1.0, abs=0.1)
    assert back < -10_000


@pytest.mark.soak  # lived through in virtual time by tests/gossip in every run
def test_two_halves_that_were_apart_hold_equal_tables_soon_after_they_meet(cluster: Members) -> None:
    measured: Any = halves_apart(cluster, 0)

    assert measured["equal_again_seconds"] <= 60
