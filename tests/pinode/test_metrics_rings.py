"""Rings of a node's statistics: what is kept for how long, in how little memory, and how it reaches a peer."""

import math
from array import array

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinode.metrics.codec import History, MalformedRings, decode_history, encode_history
from pinode.metrics.rings import FIELDS, NOTHING, WIDTH, NodeRings, Ring, Stretch, series


def row(cpu: float) -> list[float]:
    return [cpu, *[1.0] * (WIDTH - 1)]


def cpu_of(stretch: Stretch) -> list[float | None]:
    return series(stretch)["cpu_percent"]


def recorded(seconds: int, *, begin: float = 5_000.0) -> tuple[NodeRings, float]:
    """A row every 10 s; its CPU is the seconds since the beginning."""
    rings = NodeRings()
    for at in range(0, seconds, 10):
        rings.record(row(float(at)), now=begin + at)
    return rings, begin + seconds - 10


def test_an_hour_is_kept_in_steps_of_ten_seconds_and_a_day_in_steps_of_two_minutes() -> None:
    rings, now = recorded(30 * 3600)

    fine, coarse = rings.fine.stretch(now=now), rings.coarse.stretch(now=now)

    assert len(fine.rows()) * fine.step_seconds == 3600
    assert len(coarse.rows()) * coarse.step_seconds == 24 * 3600
    assert cpu_of(fine)[-3:] == [30 * 3600 - 30, 30 * 3600 - 20, 30 * 3600 - 10]


def test_the_rings_of_a_node_take_less_than_100_kilobytes() -> None:
    rings, _ = recorded(3600)

    assert rings.bytes_held() <= 100_000


def test_a_coarse_step_is_the_mean_of_what_was_recorded_in_it() -> None:
    rings = NodeRings()
    for at, cpu in ((0, 10.0), (10, 20.0), (20, 60.0), (120, 5.0)):
        rings.record(row(cpu), now=1200.0 + at)

    assert cpu_of(rings.coarse.stretch(now=1330.0)) == [30.0, 5.0]


def test_a_time_without_news_is_a_gap_and_an_unknown_value_is_none() -> None:
    rings = NodeRings()
    rings.record(row(1.0), now=1000.0)
    rings.record([NOTHING] + [2.0] * (WIDTH - 1), now=1030.0)

    stretch = rings.fine.stretch(now=1035.0)

    assert cpu_of(stretch) == [1.0, None, None, None]
    assert series(stretch)["builds"] == [1.0, None, None, 2.0]
    assert stretch.newest_age_seconds == pytest.approx(5.0)


def test_after_a_silence_longer_than_the_ring_nothing_old_is_left() -> None:
    rings = NodeRings()
    rings.record(row(1.0), now=1000.0)

    rings.record(row(2.0), now=1000.0 + 3600)

    assert cpu_of(rings.fine.stretch(now=4600.0)) == [2.0]


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=60))
def test_a_ring_has_what_a_table_by_step_would_have(steps: list[int]) -> None:
    ring, table, newest = Ring(step_seconds=1.0, slots=16), {}, 0
    for number, step in enumerate(steps):
        ring.put(row(float(number)), now=step + 0.5)
        newest = max(newest, step)
        if step > newest - 16:
            table[step] = float(number)

    wanted = [table.get(step) for step in range(max(0, newest - 15), newest + 1)]
    while wanted[0] is None:
        wanted.pop(0)
    assert cpu_of(ring.stretch(now=newest + 0.5)) == wanted


def test_a_restarted_node_fills_its_rings_from_a_peers_whose_clock_is_another() -> None:
    peers, now = recorded(1800)
    own = NodeRings()
    own.record(row(7.0), now=77_000.0)
    sent = encode_history(
        History("pi2", peers.fine.stretch(now=now + 20), peers.coarse.stretch(now=now + 20))
    )

    history = decode_history(sent)
    own.fine.fill(history.fine, now=77_000.0)
    own.coarse.fill(history.coarse, now=77_000.0)

    fine = cpu_of(own.fine.stretch(now=77_000.0))
    assert history.node_id == "pi2"
    assert fine[-3:] == [1790.0, None, 7.0]
    assert len(fine) == 182
    assert len(own.coarse.stretch(now=77_000.0).rows()) in (16, 17)


def test_what_we_saw_ourselves_is_not_replaced_by_what_a_peer_saw() -> None:
    ring = Ring(step_seconds=10.0, slots=6)
    ring.put(row(1.0), now=100.0)

    ring.fill(Stretch(10.0, 0.0, array("f", row(8.0) + row(9.0))), now=100.0)

    assert cpu_of(ring.stretch(now=100.0)) == [8.0, 1.0]


def test_fields_of_another_version_are_taken_by_name() -> None:
    fields = ["fan_rpm", "builds", "cpu_percent"]
    values = array("f", [900.0, 2.0, 55.0]).tobytes()

    history = decode_history(msgpack.packb([1, "pi2", fields, [0.0, values], [0.0, b""]]))

    assert cpu_of(history.fine) == [55.0]
    assert series(history.fine)["builds"] == [2.0]
    assert series(history.fine)["load_1m"] == [None]


FLOAT = b"\x00\x00\x00\x00"


@pytest.mark.parametrize(
    "sent",
    [
        b"", b"\xc1", msgpack.packb([]), msgpack.packb([2, "pi2", list(FIELDS), [0.0, b""], [0.0, b""]]),
        msgpack.packb([1, 7, list(FIELDS), [0.0, b""], [0.0, b""]]),
        msgpack.packb([1, "pi2", [], [0.0, b""], [0.0, b""]]),
        msgpack.packb([1, "pi2", list(FIELDS), [math.inf, b""], [0.0, b""]]),
        msgpack.packb([1, "pi2", list(FIELDS), [0.0, FLOAT], [0.0, b""]]),
        msgpack.packb([1, "pi2", list(FIELDS), [0.0, b"abc"], [0.0, b""]]),
        msgpack.packb([1, "pi2", list(FIELDS), [0.0, FLOAT * WIDTH * 361], [0.0, b""]]),
    ],
)  # fmt: skip
def test_bytes_that_are_no_rings_are_refused(sent: bytes) -> None:
    with pytest.raises(MalformedRings):
        decode_history(sent)
