"""How one kind of message looks as plain values, and how values from outside become one."""

from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from functools import partial
from itertools import product
from typing import Any, Final, cast

from replicated_queue.errors import MalformedMessage

Types = tuple[tuple[type, ...], ...]  # of each field in order, those that it may have
MakeTuple = Callable[[list[Any]], tuple[Any, ...]]
OF_TEXTS: Final[tuple[type, ...]] = (str,)
OF_NUMBERS: Final[tuple[type, ...]] = (int,)


class MessageShape:
    """Builds messages of one kind from untrusted values, and takes them apart.

    `lists` says for the field that arrives as a list what becomes of it. Types are compared all at once, for
    every operation is built several times on every node; which field is wrong is found out only then. Fields
    at the end that all have their defaults do not travel.
    """

    def __init__(self, kind: type, types: Types, *, lists: MakeTuple | None = None) -> None:
        self.kind = kind
        self._types = types
        self._names = _names_of(kind)
        self._defaults = _defaults_of(kind)[: len(types)]
        needed = len(self._defaults) - len(_given(self._defaults))
        # By the types of all fields that are there: what to append for those that are not.
        self._rest = {
            seen: self._defaults[count:]
            for count in range(needed, len(types) + 1)
            for seen in product(*types[:count])
        }
        self._needed = needed
        self._optional = self._defaults[needed:]
        self._lists = lists
        self._list_places = tuple(place for place, allowed in enumerate(types) if list in allowed)
        is_whole = len(types) == len(self._names)
        self._make: Callable[[Sequence[Any]], object] | None = (
            partial(tuple.__new__, kind) if issubclass(kind, tuple) and is_whole else None
        )

    def build(self, values: list[Any]) -> object:
        """A message; fields appended by a newer program are skipped. Raises `MalformedMessage`."""
        rest = self._rest.get(tuple(map(type, values)))
        if rest is None:
            values = self._checked(values)
        for place in self._list_places:
            if place < len(values):
                values[place] = self._made(values[place])
        if rest is not None and self._make is not None:
            return self._make((*values, *rest))
        try:
            return self.kind(*values)
        except TypeError as error:
            raise MalformedMessage(f"{self.kind.__name__}: {error}") from error

    def values_of(self, message: object) -> tuple[Any, ...]:
        """Its fields in order, but for defaults at the end."""
        needed = self._needed
        if isinstance(message, tuple):
            values = message
        else:
            values = tuple([getattr(message, name) for name in self._names])
        return values[:needed] if values[needed:] == self._optional else values

    def _made(self, values: list[Any]) -> tuple[Any, ...]:
        assert self._lists is not None
        return self._lists(values) if values else ()

    def _checked(self, values: list[Any]) -> list[Any]:
        values = values[: len(self._types)]
        for value, allowed in zip(values, self._types, strict=False):
            if type(value) not in allowed:
                raise MalformedMessage(f"{self.kind.__name__}: a field is a {type(value).__name__}")
        return values


def tuple_of(values: list[Any], *, wanted: tuple[type, ...]) -> tuple[Any, ...]:
    """The elements of a list of one type. Raises `MalformedMessage`."""
    for value in values:
        if type(value) not in wanted:
            raise MalformedMessage(f"a {type(value).__name__} in a list")
    return tuple(values)


def pairs_of(values: list[Any]) -> tuple[tuple[int, int], ...]:
    """Pairs of numbers. Raises `MalformedMessage`."""
    for pair in values:
        if type(pair) not in (list, tuple) or [type(number) for number in pair] != [int, int]:
            raise MalformedMessage("not pairs of numbers")
    return tuple((first, second) for first, second in values)


class _Needed:
    """In the place of a default where there is none."""


def _given(defaults: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(default for default in defaults if default is not _Needed)


def _defaults_of(kind: type) -> tuple[Any, ...]:
    """Of each field in order."""
    if issubclass(kind, tuple):
        known: dict[str, Any] = kind._field_defaults  # type: ignore[attr-defined]
        return tuple(known.get(name, _Needed) for name in _names_of(kind))
    found = fields(cast(Any, kind))
    return tuple(_Needed if field.default is MISSING else field.default for field in found)


def _names_of(kind: type) -> tuple[str, ...]:
    if issubclass(kind, tuple):
        names: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
        return names
    return tuple(field.name for field in fields(cast(Any, kind)))
