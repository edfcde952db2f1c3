"""What is said when a node joins a founded cluster, as bytes and back."""

from dataclasses import dataclass, field
from typing import Any

import msgpack

from pinode.feature_level import FEATURE_LEVEL
from pinode.peers.errors import MalformedFrame
from pinode.peers.founding_codec import decode_record, encode_record
from pinode.peers.founding_record import FoundingMember, FoundingRecord
from pinode.settings import Address

VERSION = 1
MAX_REQUEST_BYTES = 2_048
MAX_TEXT = 8_192
MAX_ADDRESSES = 64


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """Who wants to join, as what and where; `secret` is empty where the cluster key is proof."""

    member: FoundingMember
    replaces: str | None  # the id this machine had before it lost its state
    secret: bytes = field(repr=False)
    feature_level: int = FEATURE_LEVEL  # of its program


@dataclass(frozen=True, slots=True)
class Admitted:
    """It is a node of the cluster now. `cluster_key` is empty for who holds it already."""

    record: FoundingRecord
    addresses: tuple[Address, ...]  # where the others are
    cluster_key: bytes = field(repr=False)
    held_keys: bytes = field(default=b"", repr=False)  # all of them (`held_keys`); b"": the one above is all


@dataclass(frozen=True, slots=True)
class Rejected:
    """It is not, and why; with `is_passing` it may ask again."""

    code: str
    message: str
    hint: str
    is_passing: bool


def encode_request(request: JoinRequest) -> bytes:
    """A request as bytes."""
    member = request.member
    fields = [member.node_id, member.name, member.host, member.peer_port, request.replaces, request.secret]
    return _packed([VERSION, *fields, request.feature_level])


def decode_request(data: bytes) -> JoinRequest:
    """Read a request of a stranger. Raises `MalformedFrame`."""
    if len(data) > MAX_REQUEST_BYTES:
        raise MalformedFrame("a join request over its bound")
    try:
        version, node_id, name, host, port, replaces, secret, *later = msgpack.unpackb(data)
        if version != VERSION:
            raise MalformedFrame(f"a join request of version {version!r:.20}")
        level = later[0] if later else 1  # older nodes do not say
        if type(port) is not int or type(level) is not int or type(secret) is not bytes:
            raise ValueError("a port, a level or a secret of another type")
        member = FoundingMember(node_id=_text(node_id), name=_text(name), host=_text(host), peer_port=port)
        return JoinRequest(member, None if replaces is None else _text(replaces), secret, level)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise MalformedFrame("a join request that cannot be read") from error


def encode_answer(answer: Admitted | Rejected) -> bytes:
    """An answer as bytes."""
    if isinstance(answer, Admitted):
        listed = [[address.host, address.port] for address in answer.addresses[:MAX_ADDRESSES]]
        return _packed(
            [VERSION, "admitted", encode_record(answer.record), listed, answer.cluster_key, answer.held_keys]
        )
    return _packed([VERSION, "rejected", answer.code, answer.message, answer.hint, answer.is_passing])


def decode_answer(data: bytes) -> Admitted | Rejected:
    """Read an answer. Raises `MalformedFrame`."""
    try:
        version, kind, *fields = msgpack.unpackb(data)
        if version != VERSION:
            raise MalformedFrame(f"a join answer of version {version!r:.20}")
        if kind == "admitted":
            record, listed, key, *more = fields
            held = more[0] if more else b""
            addresses = tuple(Address(_text(host), int(port)) for host, port, *_ in listed[:MAX_ADDRESSES])
            if type(key) is not bytes or type(held) is not bytes:
                raise ValueError("no key")
            return Admitted(decode_record(record), addresses, key, held)
        if kind == "rejected":
            code, message, hint, is_passing = fields[:4]
            return Rejected(_text(code), _text(message), _text(hint), is_passing is True)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise MalformedFrame("a join answer that cannot be read") from error
    raise MalformedFrame("a join answer of unknown kind")


def _packed(fields: list[Any]) -> bytes:
    packed: bytes = msgpack.packb(fields)
    return packed


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError("not a text")
    return value
