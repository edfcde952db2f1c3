"""Sealed datagrams: members hear each other; strangers, recordings and damaged bytes are not believed."""

from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.sealing import MAX_CHALLENGES, OVERHEAD_BYTES, WINDOW, ReplayWindow
from pinode.peers.cluster_key import ClusterKey
from pinode.peers.datagrams import DatagramSeal
from pinode.peers.identity import Identity
from pinode.peers.keys import ClusterSecrets
from pinode.peers.standing import ClusterMark
from pinode.peers.tls import PeerFiles

HERE, THERE = ("10.0.0.1", 7300), ("10.0.0.2", 7300)
ONE, TWO, THREE = "11" * 8, "22" * 8, "33" * 8


def seal_of(
    node_id: str, seed: int = 0, *, key: bytes = b"k" * 32, cluster_id: bytes = b"c" * 16, epoch: int = 0
) -> DatagramSeal:
    nowhere = PeerFiles(key=Path(), certificate=Path(), authority=Path())
    identity = Identity(node_id=node_id, files=nowhere, secrets=ClusterSecrets.derived_from(ClusterKey(key)))
    return DatagramSeal(identity, cluster=ClusterMark(cluster_id, epoch), random=Random(f"{node_id} {seed}"))


def deliver(datagram: bytes, sender: DatagramSeal, receiver: DatagramSeal) -> list[bytes]:
    """Carry a datagram and all replies it causes; return what either end believed."""
    heard = []
    pending = [(datagram, receiver, sender)]
    while pending:
        carried, to, back = pending.pop(0)
        opened = to.open(carried, source=HERE)
        pending += [(reply, back, to) for reply in opened.replies]
        if opened.payload is not None:
            heard.append(opened.payload)
    return heard


def acquainted() -> tuple[DatagramSeal, DatagramSeal]:
    one, two = seal_of(ONE), seal_of(TWO)
    assert deliver(one.seal(b"hello", to=THERE), one, two) == [b"hello"]
    return one, two


def test_the_first_message_of_a_start_is_believed_after_an_echo_and_later_ones_at_once() -> None:
    one, two = seal_of(ONE), seal_of(TWO)

    first = two.open(one.seal(b"first", to=THERE), source=HERE)
    echo = one.open(first.replies[0], source=THERE)
    parked = two.open(echo.replies[0], source=HERE)
    second = two.open(one.seal(b"second", to=THERE), source=HERE)

    assert (first.payload, echo.payload, parked.payload, second.payload) == (None, None, b"first", b"second")
    assert (parked.replies, second.replies) == ((), ())


def test_the_first_message_of_a_start_is_heard_once_too() -> None:
    one, two = seal_of(ONE), seal_of(TWO)
    first = one.seal(b"first", to=THERE)
    deliver(first, one, two)

    again = two.open(first, source=HERE)

    assert (again.payload, again.replies) == (None, ())


def test_what_is_sealed_cannot_be_read_and_adds_a_bounded_number_of_bytes() -> None:
    sealed = seal_of(ONE).seal(b"secret" * 10, to=THERE)

    assert b"secret" not in sealed
    assert len(sealed) == 60 + OVERHEAD_BYTES
    assert OVERHEAD_BYTES <= 64


def test_a_datagram_that_comes_twice_is_heard_once() -> None:
    one, two = acquainted()
    datagram = one.seal(b"again", to=THERE)

    heard = [two.open(datagram, source=HERE).payload for _ in range(3)]

    assert heard == [b"again", None, None]


def test_datagrams_that_overtake_each_other_are_all_heard() -> None:
    one, two = acquainted()
    datagrams = [one.seal(str(number).encode(), to=THERE) for number in range(200)]
    Random(1).shuffle(datagrams)

    heard = [two.open(datagram, source=HERE).payload for datagram in datagrams]

    assert sorted(int(payload or b"-1") for payload in heard) == list(range(200))


@given(st.lists(st.integers(0, 3 * WINDOW), max_size=60))
def test_no_counter_is_ever_accepted_twice(counters: list[int]) -> None:
    window = ReplayWindow()

    accepted = [counter for counter in counters if window.accept(counter)]

    assert len(accepted) == len(set(accepted))


@settings(max_examples=60)
@given(st.data())
def test_a_bit_flipped_anywhere_makes_a_datagram_worthless(data: st.DataObject) -> None:
    one, two = acquainted()
    datagram = bytearray(one.seal(b"original", to=THERE))
    bit = data.draw(st.integers(0, len(datagram) * 8 - 1))
    datagram[bit // 8] ^= 1 << bit % 8

    opened = two.open(bytes(datagram), source=HERE)

    assert (opened.payload, opened.replies) == (None, ())


@pytest.mark.parametrize("length", [0, 1, 33, 49, 50, 57])
def test_a_truncated_datagram_is_worthless(length: int) -> None:
    one, two = acquainted()

    opened = two.open(one.seal(b"original", to=THERE)[:length], source=HERE)

    assert (opened.payload, opened.replies) == (None, ())


@pytest.mark.parametrize("datagram", [b"", b"\0" * 60, b"\1" * 60, b"\2" + b"\0" * 60, b"\1" * 9000])
def test_strangers_newer_versions_and_over_long_datagrams_get_no_answer(datagram: bytes) -> None:
    opened = seal_of(TWO).open(datagram, source=HERE)

    assert (opened.payload, opened.replies) == (None, ())


@pytest.mark.parametrize(
    "other",
    [
        seal_of(ONE, key=b"x" * 32),
        seal_of(ONE, cluster_id=b"other cluster id"),
        seal_of(ONE, epoch=1),
    ],
    ids=["key", "cluster", "epoch"],
)
def test_another_key_or_another_cluster_is_a_stranger(other: DatagramSeal) -> None:
    assert deliver(other.seal(b"hello", to=THERE), other, seal_of(TWO)) == []


def test_a_sender_that_started_again_is_believed_after_a_new_echo() -> None:
    _, two = acquainted()
    restarted = seal_of(ONE, seed=2)

    heard = deliver(restarted.seal(b"back", to=THERE), restarted, two)

    assert heard == [b"back"]
    assert two.open(restarted.seal(b"more", to=THERE), source=HERE).payload == b"more"


def test_a_receiver_that_started_again_hears_its_peers_after_a_new_echo() -> None:
    one, _ = acquainted()
    restarted = seal_of(TWO, seed=2)

    assert deliver(one.seal(b"hello again", to=THERE), one, restarted) == [b"hello again"]


def test_a_recording_of_an_earlier_start_is_not_believed_and_the_present_one_still_is() -> None:
    one, two = acquainted()
    recording = one.seal(b"node 3 is dead", to=THERE)
    restarted = seal_of(ONE, seed=2)
    deliver(restarted.seal(b"back", to=THERE), restarted, two)

    heard = deliver(recording, restarted, two)

    assert heard == []
    assert two.open(restarted.seal(b"still here", to=THERE), source=HERE).payload == b"still here"


def test_a_recording_of_the_whole_handshake_is_not_believed_by_a_receiver_that_started_again() -> None:
    one, two = seal_of(ONE), seal_of(TWO)
    first = one.seal(b"old news", to=THERE)
    echo = one.open(two.open(first, source=HERE).replies[0], source=THERE).replies[0]
    restarted = seal_of(TWO, seed=2)

    heard = [restarted.open(datagram, source=HERE).payload for datagram in (first, echo, first)]

    assert heard == [None, None, None]


def test_an_echo_is_for_one_start_of_one_node() -> None:
    one, two, three = seal_of(ONE), seal_of(TWO), seal_of(THREE)
    challenge = two.open(one.seal(b"hello", to=THERE), source=HERE).replies[0]

    assert three.open(challenge, source=THERE).replies == ()


def test_a_lost_challenge_is_asked_again_by_the_next_datagram() -> None:
    one, two = seal_of(ONE), seal_of(TWO)
    two.open(one.seal(b"lost", to=THERE), source=HERE)

    assert deliver(one.seal(b"next", to=THERE), one, two) == [b"next"]


def test_a_flood_of_recordings_is_bounded_and_does_not_displace_who_is_known() -> None:
    one, two = acquainted()
    for seed in range(3 * MAX_CHALLENGES):
        two.open(seal_of(THREE, seed).seal(b"old", to=THERE), source=HERE)

    assert two.open(one.seal(b"known", to=THERE), source=HERE).payload == b"known"
    assert len(two._challenges) == MAX_CHALLENGES


def test_our_own_datagram_sent_back_to_us_is_nothing() -> None:
    one = seal_of(ONE)

    opened = one.open(one.seal(b"mirror", to=THERE), source=HERE)

    assert (opened.payload, opened.replies) == (None, ())
