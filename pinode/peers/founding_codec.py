"""Founding to bytes and back: what founding nodes say to each other, and what they keep on their disks."""

from dataclasses import dataclass
from typing import Any

import msgpack

from pinode.peers.agreement import (
    Accept,
    Accepted,
    AcceptorState,
    Ballot,
    Group,
    Outbid,
    Prepare,
    Promised,
    Value,
)
from pinode.peers.errors import MalformedFrame
from pinode.peers.founding_record import FoundingMember, FoundingRecord
from pinode.settings import Address

VERSION = 1
MAX_EPOCH = 1 << 63
MAX_KNOWN = 64  # addresses that one message passes on


@dataclass(frozen=True, slots=True)
class Look:
    """Who asks, of which cluster, and where it knows of others."""

    member: FoundingMember
    cluster_name: str
    known: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """The answer to `Look`: the same of whoever answers, and the founding record once it has one."""

    member: FoundingMember
    cluster_name: str
    known: tuple[Address, ...]
    record: FoundingRecord | None


@dataclass(frozen=True, slots=True)
class Founded:
    """It is decided: this is the record. Said to whoever asks, and sent around by who found out."""

    record: FoundingRecord


Message = Look | Seen | Founded | Prepare | Promised | Accept | Accepted | Outbid


def encode(message: Message) -> bytes:
    """A message as bytes."""
    fields: list[Any]
    match message:
        case Look():
            fields = ["look", _member(message.member), message.cluster_name, _known(message.known)]
        case Seen():
            record = encode_record(message.record) if message.record else None
            fields = ["seen", _member(message.member), message.cluster_name, _known(message.known), record]
        case Founded(record=record):
            fields = ["founded", encode_record(record)]
        case Prepare():
            fields = ["prepare", _ballot(message.ballot), sorted(message.group)]
        case Promised():
            fields = ["promised", _groups(message.groups), _accept(message.accepted)]
        case Accept():
            fields = ["accept", _accept(message)]
        case Accepted():
            fields = ["accepted"]
        case Outbid():
            fields = ["outbid", _ballot(message.promised)]
    return _packed([VERSION, *fields])


def decode(data: bytes) -> Message:
    """Read a message. Raises `MalformedFrame`."""
    try:
        version, kind, *fields = msgpack.unpackb(data)
        if version != VERSION:
            raise MalformedFrame(f"a founding message of version {version!r:.20}")
        return _read(kind, fields)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise MalformedFrame("a founding message that cannot be read") from error


def _read(kind: str, fields: list[Any]) -> Message:
    match kind:
        case "look":
            return Look(_read_member(fields[0]), _text(fields[1]), _read_known(fields[2]))
        case "seen":
            record = decode_record(fields[3]) if fields[3] is not None else None
            return Seen(_read_member(fields[0]), _text(fields[1]), _read_known(fields[2]), record)
        case "founded":
            return Founded(decode_record(fields[0]))
        case "prepare":
            return Prepare(_read_ballot(fields[0]), _read_group(fields[1]))
        case "promised":
            return Promised(_read_groups(fields[0]), _read_accept(fields[1]))
        case "accept":
            accept = _read_accept(fields[0])
            if accept is not None:
                return accept
        case "accepted":
            return Accepted()
        case "outbid":
            return Outbid(_read_ballot(fields[0]))
    raise MalformedFrame("a founding message of unknown kind")


def encode_record(record: FoundingRecord) -> bytes:
    """A founding record as bytes."""
    return _packed(
        [
            VERSION,
            record.cluster_id,
            record.name,
            [_member(member) for member in record.members],
            record.web_authority_pem,
            record.sealed_web_authority_key,
            record.sealed_setup_code,
            record.created_at_unix,
            record.epoch,
        ]
    )


def decode_record(data: bytes) -> FoundingRecord:
    """Read a founding record. Raises `MalformedFrame`."""
    try:
        version, cluster_id, name, members, pem, sealed_key, sealed_code, created, epoch, *_ = (
            msgpack.unpackb(data)
        )
        if version != VERSION:
            raise MalformedFrame(f"a founding record of version {version!r:.20}")
        return FoundingRecord(
            cluster_id=_bytes(cluster_id),
            name=_text(name),
            members=tuple(_read_member(member) for member in members),
            web_authority_pem=_text(pem),
            sealed_web_authority_key=_bytes(sealed_key),
            sealed_setup_code=_bytes(sealed_code),
            created_at_unix=float(created),
            epoch=_epoch(epoch),
        )
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise MalformedFrame("a founding record that cannot be read") from error


def encode_state(state: AcceptorState) -> bytes:
    """What an acceptor must not forget, as bytes."""
    return _packed([VERSION, _ballot(state.promised), _groups(state.groups), _accept(state.accepted)])


def decode_state(data: bytes) -> AcceptorState:
    """Read what an acceptor wrote. Raises `MalformedFrame`."""
    try:
        version, promised, groups, accepted, *_ = msgpack.unpackb(data)
        if version != VERSION:
            raise MalformedFrame(f"founding state of version {version!r:.20}")
        return AcceptorState(_read_ballot(promised), _read_groups(groups), _read_accept(accepted))
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise MalformedFrame("founding state that cannot be read") from error


def _packed(fields: list[Any]) -> bytes:
    packed: bytes = msgpack.packb(fields)
    return packed


def _member(member: FoundingMember) -> list[Any]:
    return [member.node_id, member.name, member.host, member.peer_port]


def _read_member(fields: Any) -> FoundingMember:
    node_id, name, host, port = fields[:4]
    if not isinstance(port, int) or not 0 < port < 65536:
        raise ValueError("not a port")
    return FoundingMember(node_id=_node_id(node_id), name=_text(name), host=_text(host), peer_port=port)


def _known(addresses: tuple[Address, ...]) -> list[Any]:
    return [[address.host, address.port] for address in addresses[:MAX_KNOWN]]


def _read_known(fields: Any) -> tuple[Address, ...]:
    return tuple(Address(_text(host), int(port)) for host, port, *_ in fields[:MAX_KNOWN])


def _ballot(ballot: Ballot) -> list[Any]:
    return [ballot.round, ballot.node_id]


def _read_ballot(fields: Any) -> Ballot:
    number, node_id = fields[:2]
    if not isinstance(number, int) or not 0 <= number < 1 << 62:
        raise ValueError("not a ballot")
    return Ballot(number, _text(node_id))


def _groups(groups: frozenset[Group]) -> list[list[str]]:
    return sorted(sorted(group) for group in groups)


def _read_group(fields: Any) -> Group:
    return frozenset(_node_id(node_id) for node_id in fields)


def _read_groups(fields: Any) -> frozenset[Group]:
    return frozenset(_read_group(group) for group in fields)


def _accept(accept: Accept | None) -> list[Any] | None:
    if accept is None:
        return None
    return [_ballot(accept.ballot), sorted(accept.value.members), accept.value.content]


def _read_accept(fields: Any) -> Accept | None:
    if fields is None:
        return None
    return Accept(_read_ballot(fields[0]), Value(_read_group(fields[1]), _bytes(fields[2])))


def _node_id(value: Any) -> str:
    if not isinstance(value, str) or len(value) != 16 or not set(value) <= set("0123456789abcdef"):
        raise ValueError("not a node id")
    return value


def _epoch(value: Any) -> int:
    if type(value) is not int or not 0 <= value < MAX_EPOCH:
        raise ValueError("not an epoch")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 8192:
        raise ValueError("not a text")
    return value


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("not bytes")
    return value
