"""A state machine made of parts, as the chunks of a snapshot and back.

A part is a table or several: it says what it holds as rows of plain values, and builds itself again from
them. What is large gives its rows early, while commands go on being applied; rows of what changed meanwhile
follow, and the later row counts. So a snapshot of 100,000 jobs never holds up the event loop. Pure.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol, TypeVar

import msgpack

from replicated_queue.errors import MalformedMessage, QueueError, UnknownVersion
from replicated_queue.interfaces import CUT

VERSION: Final = 1
CHUNK_BYTES: Final = 64 * 1024
CHUNK_ROWS: Final = 250  # about a millisecond of work
T = TypeVar("T")
Row = list[Any]  # plain values, as msgpack knows them


class Rebuild(Protocol):
    """A part that is built from rows, beside the one that lives."""

    def take(self, row: Row) -> None:
        """The next row. Raises `MalformedMessage` or `UnknownVersion`."""
        ...

    def link(self) -> Iterator[None]:
        """All rows were taken: put them together, in short steps."""
        ...

    def become(self) -> None:
        """The living part holds from now on what was taken, and nothing else."""
        ...


class Part(Protocol):
    """One part of a state machine."""

    def early_rows(self) -> Iterator[Row]:
        """Rows that `rows` need not repeat unless they changed in between."""
        ...

    def rows(self) -> Iterator[Row]:
        """The rest of the state as it is at the call, however late the rows are taken."""
        ...

    def rebuild(self) -> Rebuild:
        """An empty one, to be filled."""
        ...


def snapshot_of(parts: Mapping[str, Part], *, chunk_rows: int = CHUNK_ROWS) -> Iterator[bytes]:
    """Chunks for `restoring`, of at most so many rows; see `StateMachine.snapshot`."""
    yield _packed([VERSION])
    for name, part in parts.items():
        yield from _chunks(name, part.early_rows(), chunk_rows)
    late = {name: part.rows() for name, part in parts.items()}
    yield CUT
    for name, rows in late.items():
        yield from _chunks(name, rows, chunk_rows)


def restoring(
    parts: Mapping[str, Part], chunks: Iterable[bytes]
) -> Generator[None, None, Callable[[], None]]:
    """Take chunks of `snapshot_of` in short steps; see `StateMachine.restore`."""
    rebuilds = {name: part.rebuild() for name, part in parts.items()}
    is_first = True
    for chunk in chunks:
        values = _unpacked(chunk)
        if is_first:
            if values != [VERSION]:
                raise UnknownVersion(values[:1])
            is_first = False
            continue
        if len(values) != 2 or type(values[0]) is not str or type(values[1]) is not list:
            raise MalformedMessage("a chunk of a snapshot that is no rows of a part")
        name, rows = values
        if name not in rebuilds:
            raise UnknownVersion(name)
        with _named(name):
            for row in rows:
                rebuilds[name].take(row)
        yield
    for name, rebuild in rebuilds.items():
        with _named(name):
            yield from rebuild.link()

    def become() -> None:
        for rebuild in rebuilds.values():
            rebuild.become()

    return become


def whole(steps: Generator[None, None, T]) -> T:
    """What comes of all steps, taken at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


@contextmanager
def _named(part: str) -> Iterator[None]:
    """Let whatever a part trips over be a snapshot that this program cannot read."""
    try:
        yield
    except QueueError:
        raise
    except Exception as error:  # the bytes are proven; what another version meant by them is not known here
        raise MalformedMessage(f"{part} of a snapshot: {error!r}") from error


def numbers_of(thing: object) -> dict[str, int]:
    """Its plain numbers by name, but for bounds, which are settings: whatever counts is carried unasked."""
    found = {name: value for name, value in vars(thing).items() if type(value) is int}
    return {name: value for name, value in found.items() if not name.startswith("_max")}


def set_numbers(thing: object, numbers: Mapping[str, int]) -> None:
    """Those of `numbers_of` that it knows; a newer program's are skipped."""
    for name in numbers_of(thing):
        setattr(thing, name, numbers.get(name, getattr(thing, name)))


def _chunks(name: str, rows: Iterator[Row], chunk_rows: int) -> Iterator[bytes]:
    packed: list[bytes] = []
    size = 0
    for row in rows:
        packed.append(_packed(row))
        size += len(packed[-1])
        if size >= CHUNK_BYTES or len(packed) >= chunk_rows:
            yield _chunk(name, packed)
            packed, size = [], 0
    if packed:
        yield _chunk(name, packed)


def _chunk(name: str, rows: list[bytes]) -> bytes:
    packer = msgpack.Packer()
    head = (packer.pack_array_header(2), packer.pack(name), packer.pack_array_header(len(rows)))
    return b"".join((*head, *rows))


def _packed(value: object) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def _unpacked(chunk: bytes) -> list[Any]:
    try:
        values = msgpack.unpackb(chunk, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:  # also odd keys of maps
        raise MalformedMessage(f"a chunk of a snapshot: {error}") from error
    if type(values) is not list:
        raise MalformedMessage("a chunk of a snapshot that is no list")
    return values
