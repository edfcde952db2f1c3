"""How one kind of message looks as plain values, and how values from outside become one."""

from collections.abc import Callable, Iterator
from dataclasses import fields
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
    every operation is built several times on every node; which field is wrong is found out only then.
    """

    def __init__(self, kind: type, types: Types, *, lists: MakeTuple | None = None) -> None:
        self.kind = kind
        self._types = types
        self._exact = frozenset(product(*types))
        self._names = _names_of(kind)
        self._lists = lists
        self._list_places = tuple(place for place, allowed in enumerate(types) if list in allowed)
        is_whole = len(types) == len(self._names)
        self._make: Callable[[list[Any]], object] | None = (
            partial(tuple.__new__, kind) if issubclass(kind, tuple) and is_whole else None
        )

    def build(self, values: list[Any]) -> object:
        """A message; fields appended by a newer program are skipped. Raises `MalformedMessage`."""
        if tuple(map(type, values)) not in self._exact:
            values = self._checked(values)
        elif self._make is not None:
            for place in self._list_places:
                values[place] = self._made(values[place])
            return self._make(values)
        for place in self._list_places:
            if place < len(values):
                values[place] = self._made(values[place])
        try:
            return self.kind(*values)
        except TypeError as error:
            raise MalformedMessage(f"{self.kind.__name__}: {error}") from error

    def values_of(self, message: object) -> Iterator[Any]:
        """Its fields in order."""
        return (getattr(message, name) for name in self._names)

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
        if type(pair) is not list or len(pair) != 2 or type(pair[0]) is not int or type(pair[1]) is not int:
            raise MalformedMessage("not pairs of numbers")
    return tuple((first, second) for first, second in values)


def _names_of(kind: type) -> tuple[str, ...]:
    if issubclass(kind, tuple):
        names: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
        return names
    return tuple(field.name for field in fields(cast(Any, kind)))
