"""Messages ↔ bytes as msgpack arrays: new fields go to the end and have a default, unknown ones are skipped.

Decoding trusts nobody: every length and number has a bound; whatever is not ours raises `MalformedMessage`.
"""

import ipaddress
import math
from typing import Any, assert_never

import msgpack

from gossip.member import MAX_META_BYTES, MAX_NAME_BYTES, MAX_ROW_BYTES, Address, Member, MemberState, NodeId
from gossip.messages import (
    Ack,
    Datagram,
    FullState,
    Introduce,
    KnownMember,
    MalformedMessage,
    MemberUpdate,
    Message,
    Nack,
    NameTaken,
    News,
    NotMe,
    Ping,
    PingRequest,
    RowUpdate,
    WrongCluster,
)

FORMAT_VERSION = 1
MAX_CLUSTER_ID_BYTES = 32
HEADER_BYTES = 176  # at most so many bytes of a datagram are neither updates nor rows
MAX_UPDATES = 64  # in one datagram
MAX_STATE_BYTES = 1 << 20
MAX_STATE_MEMBERS = 2048
MAX_NUMBER = 1 << 53
MAX_SEQUENCE = 1 << 32
MAX_SECONDS = 1e12

_PING, _ACK, _NOT_ME, _PING_REQUEST, _NACK, _NEWS, _INTRODUCE, _NAME_TAKEN = range(8)


def encode_datagram(datagram: Datagram, *, cluster_id: bytes) -> bytes:
    kind, fields = _message_fields(datagram.message)
    return _pack(
        [
            FORMAT_VERSION,
            cluster_id,
            bytes.fromhex(datagram.sender),
            datagram.run_id,
            datagram.incarnation,
            datagram.beat,
            kind,
            fields,
            [_update_fields(update) for update in datagram.updates],
            [_row_fields(row) for row in datagram.rows],
        ]
    )


def decode_datagram(data: bytes, *, cluster_id: bytes) -> Datagram:
    """Raises `MalformedMessage` or `WrongCluster`."""
    parts = _unpack(data, at_least=10, cluster_id=cluster_id, max_bytes=65_507)
    _, _, sender, run_id, incarnation, beat, kind, fields, updates, rows = parts[:10]
    return Datagram(
        sender=_node_id(sender),
        run_id=_number(run_id),
        incarnation=_number(incarnation),
        beat=_seconds(beat),
        message=_message(kind, _array(fields, at_least=0, at_most=16)),
        updates=tuple(_update(one) for one in _array(updates, at_least=0, at_most=MAX_UPDATES)),
        rows=tuple(_row(one) for one in _array(rows, at_least=0, at_most=MAX_UPDATES)),
    )


def encode_state(state: FullState, *, cluster_id: bytes) -> bytes:
    return _pack(
        [
            FORMAT_VERSION,
            cluster_id,
            bytes.fromhex(state.sender),
            state.run_id,
            state.beat,
            [[_member_fields(known.member), known.gone_seconds] for known in state.members],
            [_row_fields(row) for row in state.rows],
        ]
    )


def decode_state(data: bytes, *, cluster_id: bytes) -> FullState:
    """Raises `MalformedMessage` or `WrongCluster`."""
    parts = _unpack(data, at_least=7, cluster_id=cluster_id, max_bytes=MAX_STATE_BYTES)
    _, _, sender, run_id, beat, members, rows = parts[:7]
    return FullState(
        sender=_node_id(sender),
        run_id=_number(run_id),
        beat=_seconds(beat),
        members=tuple(_known_member(one) for one in _array(members, at_least=0, at_most=MAX_STATE_MEMBERS)),
        rows=tuple(_row(one) for one in _array(rows, at_least=0, at_most=MAX_STATE_MEMBERS)),
    )


def update_size(update: MemberUpdate) -> int:
    """Bytes that the update takes in a datagram."""
    return len(_pack(_update_fields(update)))


def row_size(payload: bytes) -> int:
    """At most so many bytes a row with this payload takes in a datagram."""
    return len(payload) + 42


def is_sound(member: Member) -> bool:
    """Whether the member could be told to others: what `decode` would refuse must not be said either."""
    try:
        _member(msgpack.unpackb(_pack(_member_fields(member)), use_list=True))
    except (MalformedMessage, ValueError, OverflowError):
        return False
    return True


def _pack(value: object) -> bytes:
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def _unpack(data: bytes, *, at_least: int, cluster_id: bytes, max_bytes: int) -> list[Any]:
    if len(data) > max_bytes:
        raise MalformedMessage(f"{len(data)} bytes, at most {max_bytes} are taken")
    try:
        # 1 KiB is beyond every field's own bound, which is checked below.
        value = msgpack.unpackb(
            data, raw=False, use_list=True, max_bin_len=1024, max_str_len=1024, max_map_len=64
        )
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise MalformedMessage("not msgpack") from error
    parts = _array(value, at_least=2, at_most=32)
    if parts[0] != FORMAT_VERSION:
        raise MalformedMessage(f"format {parts[0]!r:.20}, we read {FORMAT_VERSION}")
    if _binary(parts[1], MAX_CLUSTER_ID_BYTES) != cluster_id:
        raise WrongCluster
    return _array(parts, at_least=at_least, at_most=32)


def _message_fields(message: Message) -> tuple[int, list[object]]:
    match message:
        case Ping():
            return _PING, [message.sequence, bytes.fromhex(message.target), message.target_run_id]
        case Ack():
            return _ACK, [message.sequence]
        case NotMe():
            return _NOT_ME, [message.sequence]
        case PingRequest():
            target = bytes.fromhex(message.target)
            return _PING_REQUEST, [message.sequence, target, message.target_run_id, *message.address]
        case Nack():
            return _NACK, [message.sequence]
        case News():
            return _NEWS, []
        case Introduce():
            return _INTRODUCE, []
        case NameTaken():
            return _NAME_TAKEN, [message.uptime_seconds]
        case _:
            assert_never(message)


def _message(kind: object, fields: list[Any]) -> Message:
    match kind, fields:
        case (0, [sequence, target, run_id, *_]):
            return Ping(sequence=_sequence(sequence), target=_node_id(target), target_run_id=_number(run_id))
        case (1, [sequence, *_]):
            return Ack(sequence=_sequence(sequence))
        case (2, [sequence, *_]):
            return NotMe(sequence=_sequence(sequence))
        case (3, [sequence, target, run_id, host, port, *_]):
            return PingRequest(
                sequence=_sequence(sequence),
                target=_node_id(target),
                target_run_id=_number(run_id),
                address=_address(host, port),
            )
        case (4, [sequence, *_]):
            return Nack(sequence=_sequence(sequence))
        case (5, _):
            return News()
        case (6, _):
            return Introduce()
        case (7, [uptime, *_]):
            return NameTaken(uptime_seconds=_seconds(uptime))
        case _:
            raise MalformedMessage(f"unknown kind of message {kind!r:.20}")


def _member_fields(member: Member) -> list[object]:
    return [
        bytes.fromhex(member.node_id),
        member.name,
        member.address[0],
        member.address[1],
        member.run_id,
        member.incarnation,
        int(member.state),
        member.meta,
    ]


def _member(value: object) -> Member:
    node_id, name, host, port, run_id, incarnation, state, meta = _array(value, at_least=8, at_most=32)[:8]
    if type(state) is not int or not MemberState.ALIVE <= state <= MemberState.LEFT:
        raise MalformedMessage(f"unknown state {state!r:.20}")
    return Member(
        node_id=_node_id(node_id),
        name=_text(name, MAX_NAME_BYTES),
        address=_address(host, port),
        run_id=_number(run_id),
        incarnation=_number(incarnation),
        state=MemberState(state),
        meta=_binary(meta, MAX_META_BYTES),
    )


def _known_member(value: object) -> KnownMember:
    member, gone_seconds = _array(value, at_least=2, at_most=16)[:2]
    return KnownMember(member=_member(member), gone_seconds=_seconds(gone_seconds))


def _update_fields(update: MemberUpdate) -> list[object]:
    return [_member_fields(update.member), bytes.fromhex(update.by)]


def _update(value: object) -> MemberUpdate:
    member, by = _array(value, at_least=2, at_most=16)[:2]
    return MemberUpdate(member=_member(member), by=_node_id(by))


def _row_fields(row: RowUpdate) -> list[object]:
    return [bytes.fromhex(row.node_id), row.run_id, row.version, row.age_seconds, row.payload]


def _row(value: object) -> RowUpdate:
    node_id, run_id, version, age_seconds, payload = _array(value, at_least=5, at_most=16)[:5]
    return RowUpdate(
        node_id=_node_id(node_id),
        run_id=_number(run_id),
        version=_number(version),
        age_seconds=_seconds(age_seconds),
        payload=_binary(payload, MAX_ROW_BYTES),
    )


def _array(value: object, *, at_least: int, at_most: int) -> list[Any]:
    if not isinstance(value, list) or not at_least <= len(value) <= at_most:
        raise MalformedMessage(f"an array of {at_least} to {at_most} parts was expected")
    return value


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_NUMBER:
        raise MalformedMessage("a number is out of bounds")
    return value


def _sequence(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_SEQUENCE:
        raise MalformedMessage("a sequence is out of bounds")
    return value


def _seconds(value: object) -> float:
    if type(value) not in (int, float):
        raise MalformedMessage("seconds are no number")
    seconds = float(value)  # type: ignore[arg-type]
    if not math.isfinite(seconds) or not 0 <= seconds <= MAX_SECONDS:
        raise MalformedMessage("seconds are out of bounds")
    return seconds


def _binary(value: object, at_most: int) -> bytes:
    if not isinstance(value, bytes) or len(value) > at_most:
        raise MalformedMessage(f"at most {at_most} bytes were expected")
    return value


def _text(value: object, at_most: int) -> str:
    if not isinstance(value, str) or len(value.encode()) > at_most or not value.isprintable():
        raise MalformedMessage(f"a printable text of at most {at_most} bytes was expected")
    return value


def _node_id(value: object) -> NodeId:
    if not isinstance(value, bytes) or len(value) != 8:
        raise MalformedMessage("a node id has 8 bytes")
    return value.hex()


def _address(host: object, port: object) -> Address:
    if type(port) is not int or not 1 <= port <= 65_535 or not isinstance(host, str) or "%" in host:
        raise MalformedMessage("no address")
    try:
        ipaddress.ip_address(host)
    except ValueError as error:
        raise MalformedMessage("the host of an address must be an IP address, without a zone") from error
    return (host, port)
