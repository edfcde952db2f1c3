"""Tables of frozen records as rows of a snapshot and back: `[table, key, fields]`, with every field."""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

from pinode.apps.records import from_plain, to_plain
from replicated_queue.errors import UnknownVersion
from replicated_queue.parts import Row


def rows_of(tables: Mapping[str, Iterable[tuple[Any, object]]]) -> Iterator[Row]:
    """All records, in the order of the tables, made plain one at a time."""
    for name, items in tables.items():
        for key, record in items:
            yield [name, key, to_plain(record)]


def record_of(row: Row, kinds: Mapping[str, type]) -> tuple[str, Hashable, Any]:
    """Table, key and record. Raises `UnknownVersion` for a table of a newer program: it must not be lost."""
    name, key, plain = row
    if name not in kinds:
        raise UnknownVersion(name)
    return name, tuple(key) if type(key) is list else key, from_plain(kinds[name], plain)


class Reread:
    """`Rebuild` of a part whose tables are dictionaries of frozen records, each of one kind."""

    def __init__(self, living: object, kinds: Mapping[str, type]) -> None:
        self._living = living
        self.kinds = kinds
        self._new: dict[str, dict[Any, Any]] = {name: {} for name in kinds}

    def take(self, row: Row) -> None:
        """See `Rebuild`."""
        name, key, record = record_of(row, self.kinds)
        self._new[name][key] = record

    def link(self) -> Iterator[None]:
        """See `Rebuild`."""
        return iter(())

    def become(self) -> None:
        """See `Rebuild`."""
        vars(self._living).update(self._new)
