"""Bytes between replicas and on the disk: what is encoded comes back, and nothing else is believed."""

from random import Random

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicated_queue.codec import (
    Frame,
    Record,
    decode_command,
    decode_frame,
    decode_records,
    encode_command,
    encode_frame,
    encode_record,
)
from replicated_queue.errors import MalformedMessage, UnknownVersion
from replicated_queue.raft.messages import (
    Append,
    AppendRejected,
    AppendResponse,
    Entry,
    EntryId,
    HardState,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    PreVote,
    PreVoteResponse,
    Snapshot,
    TimeoutNow,
    Vote,
    VoteResponse,
)
from tests.replicated_queue.raft_group import entries_of

LARGE = (1 << 64) - 1
LINK = {"sender": LARGE, "to": 2}
MESSAGES: list[Message] = [
    PreVote(**LINK, term=3, last=EntryId(2, 9)),
    PreVoteResponse(**LINK, term=3, reject=True),
    Vote(**LINK, term=LARGE, last=EntryId(2, 9), transfer=True),
    VoteResponse(**LINK, term=3),
    Append(**LINK, term=9, previous=EntryId(1, 4), commit=3, entries=entries_of(1, 1, 2, 9, start=5)),
    Append(**LINK, term=9, previous=EntryId(0, 0), commit=0),
    AppendResponse(**LINK, term=3, index=7),
    AppendRejected(**LINK, term=3, index=7, hint=EntryId(1, 5)),
    Heartbeat(**LINK, term=3, commit=7),
    Heartbeat(**LINK, term=3, commit=7, read_round=LARGE),
    HeartbeatResponse(**LINK, term=3),
    HeartbeatResponse(**LINK, term=3, read_round=2),
    Append(**LINK, term=9, previous=EntryId(1, 4), commit=3, entries=[Entry(2, 5, b"x", True)]),
    InstallSnapshot(**LINK, term=3, snapshot=Snapshot(EntryId(2, 9), (1, LARGE), (3,))),
    TimeoutNow(**LINK, term=3),
]


def same(message: Message) -> Message:
    """With its entries as a list, as they are decoded."""
    if isinstance(message, Append):
        return Append(
            sender=message.sender,
            to=message.to,
            term=message.term,
            previous=message.previous,
            commit=message.commit,
            entries=list(message.entries),
        )
    return message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_frame_comes_back_as_it_was(message: Message) -> None:
    frame = encode_frame(message, now=1234)

    assert decode_frame(frame, **LINK) == Frame(same(message), 1234)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_field_of_a_later_version_is_skipped(message: Message) -> None:
    longer = msgpack.packb([*msgpack.unpackb(encode_frame(message, now=5)), "new", 1])

    assert decode_frame(longer, **LINK) == Frame(same(message), 5)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_frame_that_is_cut_or_damaged_is_malformed_or_another_message_but_no_crash(
    message: Message,
) -> None:
    frame, random = encode_frame(message, now=1234), Random(1)

    for length in range(len(frame)):
        with pytest.raises(MalformedMessage):
            decode_frame(frame[:length], **LINK)
    for _ in range(300):
        damaged = bytearray(frame)
        damaged[random.randrange(len(frame))] = random.randrange(256)
        try:
            decode_frame(bytes(damaged), **LINK)
        except MalformedMessage:
            pass


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_malformed(noise: bytes) -> None:
    try:
        decode_frame(noise, **LINK)
    except MalformedMessage:
        pass


@given(st.binary(max_size=200))
def test_any_bytes_are_records_or_refused(noise: bytes) -> None:
    try:
        list(decode_records(noise))
    except (MalformedMessage, UnknownVersion):
        pass


@pytest.mark.parametrize(
    "fields",
    [
        [2, 8, 1, 0, 0],  # a later version
        [1, 99, 1, 0, 0],  # an unknown kind
        [1, 8, -1, 0, 0],
        [1, 8, True, 0, 0],
        [1, 5, 3, 0, 1, 4, 3, [2, 5], [b"one"]],  # more entries promised than there are
        [1, 5, 3, 0, 1, 4, 3, [2, 1], [b"one", b"two"]],
        [1, 5, 3, 0, 1, 4, 3, [2, 1, 1, 1], [b"one", b"two"]],  # terms that fall
        [1, 5, 3, 0, 1, 4, 3, [4, 1], [b"one"]],  # an entry of a term to come
        [1, 5, 3, 0, 2, 4, 3, [1, 1], [b"one"]],  # older than what it follows on
        [1, 5, 3, 0, 1, 4, 3, [2, 1], ["text"]],
        [1, 5, 3, 0, 1, 4, 3, [2], [b"one"]],
        {},
    ],
)
def test_frames_that_break_a_rule_are_malformed(fields: object) -> None:
    with pytest.raises(MalformedMessage):
        decode_frame(msgpack.packb(fields), **LINK)


def test_records_come_back_in_order() -> None:
    first = Record(HardState(3, LARGE, 1), entries_of(1, 1, 3))
    second = Record(HardState(4, 0, 2), [])

    payload = encode_record(first.hard_state, first.entries) + encode_record(
        second.hard_state, second.entries
    )

    assert list(decode_records(payload)) == [first, second]


def test_a_command_comes_back_with_its_stamp() -> None:
    assert decode_command(encode_command(b"command", now=1 << 50)) == (1 << 50, b"command")


@pytest.mark.parametrize("data", [b"\x02" + bytes(8) + b"command", b"\x01short"])
def test_an_entry_of_an_unknown_version_stops_the_node_rather_than_part_the_replicas(data: bytes) -> None:
    """Checklist 1.40."""
    with pytest.raises(UnknownVersion):
        decode_command(data)


def test_an_entry_costs_few_bytes_beyond_its_data() -> None:
    entries = [Entry(7, index, bytes(256)) for index in range(1_000_000, 1_000_064)]

    assert len(encode_record(HardState(7, LARGE, 999_999), entries)) < 64 * (256 + 4) + 40
