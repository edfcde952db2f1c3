"""The decoder trusts nobody: whatever it is given, it answers with a message or with a typed refusal."""

from dataclasses import replace
from random import Random

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gossip.codec import decode_datagram, decode_state, encode_datagram, encode_state
from gossip.member import MAX_META_BYTES, Member, MemberState
from gossip.messages import (
    Ack,
    Datagram,
    FullState,
    GossipError,
    Introduce,
    KnownMember,
    MalformedMessage,
    MemberUpdate,
    Nack,
    NameTaken,
    News,
    NotMe,
    Ping,
    PingRequest,
    RowUpdate,
    WrongCluster,
)
from tests.gossip.factories import Core, address, member, node_id

CLUSTER = b"home"
node_ids = st.binary(min_size=8, max_size=8).map(bytes.hex)
sequences = st.integers(0, (1 << 32) - 1)
numbers = st.integers(0, 1 << 53)
seconds = st.floats(0, 1e9)
addresses = st.tuples(st.ip_addresses().map(str), st.integers(1, 65_535))
members = st.builds(
    Member,
    node_id=node_ids,
    name=st.text("abc-ü", max_size=20),
    address=addresses,
    run_id=numbers,
    incarnation=numbers,
    state=st.sampled_from(MemberState),
    meta=st.binary(max_size=MAX_META_BYTES),
)
rows = st.builds(
    RowUpdate,
    node_id=node_ids,
    run_id=numbers,
    version=numbers,
    age_seconds=seconds,
    payload=st.binary(max_size=400),
)
messages = st.one_of(
    st.builds(Ping, sequence=sequences, target=node_ids, target_run_id=numbers),
    st.builds(PingRequest, sequence=sequences, target=node_ids, target_run_id=numbers, address=addresses),
    *(st.builds(kind, sequence=sequences) for kind in (Ack, NotMe, Nack)),
    st.just(News()),
    st.just(Introduce()),
    st.builds(NameTaken, uptime_seconds=seconds),
)
datagrams = st.builds(
    Datagram,
    sender=node_ids,
    run_id=numbers,
    incarnation=numbers,
    beat=seconds,
    message=messages,
    updates=st.lists(st.builds(MemberUpdate, member=members, by=node_ids), max_size=3).map(tuple),
    rows=st.lists(rows, max_size=3).map(tuple),
)
states = st.builds(
    FullState,
    sender=node_ids,
    run_id=numbers,
    beat=seconds,
    members=st.lists(st.builds(KnownMember, member=members, gone_seconds=seconds), max_size=5).map(tuple),
    rows=st.lists(rows, max_size=3).map(tuple),
)


def datagram_bytes() -> bytes:
    datagram = Datagram(
        sender=node_id("b"),
        run_id=1,
        incarnation=0,
        beat=12.5,
        message=PingRequest(sequence=3, target=node_id("c"), target_run_id=1, address=address("c")),
        updates=(MemberUpdate(member=member("c"), by=node_id("b")),),
        rows=(RowUpdate(node_id=node_id("b"), run_id=1, version=1, age_seconds=0.1, payload=b"row"),),
    )
    return encode_datagram(datagram, cluster_id=CLUSTER)


def decodes(data: bytes) -> bool:
    """Whether the bytes are a message; anything but a typed refusal flies."""
    try:
        decode_datagram(data, cluster_id=CLUSTER)
    except GossipError:
        return False
    return True


@given(datagrams)
@settings(max_examples=150)
def test_a_datagram_is_the_same_after_its_way(datagram: Datagram) -> None:
    assert decode_datagram(encode_datagram(datagram, cluster_id=CLUSTER), cluster_id=CLUSTER) == datagram


@given(states)
@settings(max_examples=50)
def test_a_full_state_is_the_same_after_its_way(state: FullState) -> None:
    assert decode_state(encode_state(state, cluster_id=CLUSTER), cluster_id=CLUSTER) == state


def test_a_message_of_another_cluster_is_refused() -> None:
    with pytest.raises(WrongCluster):
        decode_datagram(datagram_bytes(), cluster_id=b"elsewhere")


def test_fields_that_a_newer_version_added_are_skipped() -> None:
    parts = msgpack.unpackb(datagram_bytes())
    parts[7].append("new in Ping")
    parts[8][0][0].append({"new": "in members"})
    parts[8][0].append(None)
    parts[9][0].append(2.5)
    parts.append(["new in datagrams"])

    newer = decode_datagram(msgpack.packb(parts), cluster_id=CLUSTER)

    assert newer == decode_datagram(datagram_bytes(), cluster_id=CLUSTER)


def test_a_newer_format_is_refused() -> None:
    parts = msgpack.unpackb(datagram_bytes())
    parts[0] = 2

    with pytest.raises(MalformedMessage, match="format 2"):
        decode_datagram(msgpack.packb(parts), cluster_id=CLUSTER)


@given(st.binary(max_size=300))
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xc6\xff\xff\xff\xff")
@example(b"\x91" * 5000)
@example(b"\xd6\xff\x00\x00\x00\x00")
@settings(max_examples=300)
def test_random_bytes_never_crash_the_decoder(data: bytes) -> None:
    assert not decodes(data)


def test_truncated_and_bit_flipped_datagrams_never_crash_the_decoder() -> None:
    whole = datagram_bytes()
    random = Random(1)

    for length in range(len(whole)):
        assert not decodes(whole[:length])
    for _ in range(5_000):
        damaged = bytearray(whole)
        for _ in range(random.randint(1, 4)):
            damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
        decodes(bytes(damaged))


WRONG = [
    None, True, -1, 1 << 60, 1.5, float("nan"), float("inf"), "text", b"bytes", b"x" * 1000, [], [[]], {}, {"a": 1},
    msgpack.Timestamp(1), msgpack.ExtType(5, b"ext"), "\x00", "x" * 1000,
]  # fmt: skip


def places(value: object, at: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    """The way to every value of nested lists."""
    found = [at] if at else []
    if isinstance(value, list):
        for index, inner in enumerate(value):
            found += places(inner, (*at, index))
    return found


def test_every_field_with_every_wrong_value_is_refused_or_harmless() -> None:
    parts = msgpack.unpackb(datagram_bytes())

    for place in places(parts):
        for wrong in WRONG:
            changed = msgpack.unpackb(datagram_bytes())
            inner = changed
            for index in place[:-1]:
                inner = inner[index]
            inner[place[-1]] = wrong
            decodes(msgpack.packb(changed))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "two\nlines"},
        {"name": "x" * 129},
        {"address": ("not-an-ip.example", 7300)},
        {"address": ("10.0.0.1", 0)},
        {"address": ("10.0.0.1", 65_536)},
        {"run_id": -1},
        {"incarnation": (1 << 53) + 1},
        {"meta": b"x" * 401},
    ],
)
def test_a_member_beyond_its_bounds_is_refused(change: dict[str, object]) -> None:
    wrong = replace(member("c"), **change)  # type: ignore[arg-type]
    datagram = Datagram(
        sender=node_id("b"),
        run_id=1,
        incarnation=0,
        beat=0.0,
        message=News(),
        updates=(MemberUpdate(member=wrong, by=node_id("b")),),
    )

    with pytest.raises(MalformedMessage):
        decode_datagram(encode_datagram(datagram, cluster_id=CLUSTER), cluster_id=CLUSTER)


@given(st.lists(datagrams, max_size=8))
@settings(max_examples=60)
def test_no_sequence_of_well_formed_datagrams_breaks_the_core(said: list[Datagram]) -> None:
    core = Core("b", "c")

    for datagram in said:
        core.receives(datagram, source=("10.0.0.9", 7300))
        core.run(0.3)

    assert core.swim.me.state is MemberState.ALIVE
    assert core.swim.next_deadline() < core.now + 60
