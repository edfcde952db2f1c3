"""Frozen dataclasses as plain values and back.

What the codecs, the digests and the accounting of bytes rest on.

A record becomes a map of its fields by name. Coming back, unknown fields are skipped and missing ones take
their default, so that a record may gain fields between versions; a value of a wrong type is refused.
"""

import dataclasses
import types
from collections.abc import Hashable, Mapping
from functools import lru_cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import msgpack

from pinode.apps.errors import MalformedCommand

T = TypeVar("T")
BYTES_MAX = 256 * 1024  # of one record: the bound on a log entry


def to_plain(value: Any) -> Any:
    """Maps, lists, texts, bytes and numbers that say the same, with sorted maps.

    Equal records, equal bytes.
    """
    if dataclasses.is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(value[key]) for key in sorted(value)}
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    return value


def from_plain(kind: type[T], plain: object) -> T:
    """The record of class `kind` that `plain` describes. Raises `MalformedCommand`."""
    if not isinstance(plain, dict):
        raise MalformedCommand(reason=f"{kind.__name__} is no map")
    hints = _hints_of(cast(Hashable, kind))
    values = {name: _fitted(plain[name], hint, name) for name, hint in hints.items() if name in plain}
    try:
        return kind(**values)
    except TypeError as error:
        raise MalformedCommand(reason=f"{kind.__name__} lacks a field") from error


def pack(plain: object) -> bytes:
    """Bytes of plain values. Raises `MalformedCommand` for a lone surrogate or a number beyond 64 bits."""
    try:
        return bytes(msgpack.packb(plain, use_bin_type=True))
    except (ValueError, OverflowError) as error:
        raise MalformedCommand(reason=str(error)[:200]) from error


def unpack(data: bytes) -> Any:
    """Plain values of bytes that nobody has vouched for. Raises `MalformedCommand`."""
    if len(data) > BYTES_MAX:
        raise MalformedCommand(reason=f"{len(data)} bytes are more than {BYTES_MAX}")
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=True)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise MalformedCommand(reason="broken bytes") from error


def size_of(record: object) -> int:
    """Bytes by which a record counts towards the registry's bound."""
    return len(pack(to_plain(record)))


@lru_cache(maxsize=256)
def _hints_of(kind: Hashable) -> dict[str, Any]:
    return get_type_hints(kind)


def _fitted(value: object, hint: Any, name: str) -> Any:
    """`value` as the type `hint` wants it, or `MalformedCommand`."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        options = get_args(hint)
        if value is None and types.NoneType in options:
            return None
        return _fitted(value, next(option for option in options if option is not types.NoneType), name)
    if origin is Literal and value in get_args(hint):
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_fitted(item, get_args(hint)[0], name) for item in value)
    if origin is Mapping and isinstance(value, dict):
        key_hint, item_hint = get_args(hint)
        return {_fitted(key, key_hint, name): _fitted(value[key], item_hint, name) for key in sorted(value)}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_plain(hint, value)
    if hint in (str, int, bytes, bool, float) and type(value) is hint:
        return value
    raise MalformedCommand(reason=f"{name} is of the wrong type")
