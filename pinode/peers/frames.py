"""What nodes say on their links, as bytes: a length of four bytes, then that many bytes of content.

A connection begins with a `Hello`. On the lanes `votes` and `appends` every later frame belongs to consensus
and is opaque here; elsewhere they are the messages below, in msgpack. Unknown trailing fields are skipped.
"""

import struct
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

import msgpack

from pinode.peers.errors import MalformedFrame

VERSION = 1
MAX_FRAME_BYTES = 8 * 1024 * 1024
HEADER = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Hello:
    """First frame of whoever dialled: which lane this connection is, and how the dialler stands."""

    version: int
    lane: str
    cluster_id: bytes  # empty: not founded yet
    cluster_epoch: int
    disk_generation: int
    generation_mark: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """The whole connection is refused, and closed after this."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Request:
    """A question; answered by a `Reply` or a `Failure` of the same number, on `bulk` by chunks."""

    number: int
    method: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request."""

    number: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Failure:
    """The request was not done, or failed, and why."""

    number: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """Who asked no longer waits."""

    number: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next piece of a stream."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The stream is complete; one that ends without this was cut off."""


Message = Hello | Refusal | Request | Reply | Failure | Cancel | Chunk | End
KINDS: tuple[type[Message], ...] = (Hello, Refusal, Request, Reply, Failure, Cancel, Chunk, End)
NUMBERS = {kind: number for number, kind in enumerate(KINDS, 1)}
NAMES = {kind: tuple(field.name for field in fields(kind)) for kind in KINDS}
TYPES = {kind: tuple(get_type_hints(kind).values()) for kind in KINDS}


def framed(content: bytes) -> bytes:
    """Put its length before a frame. Raises `MalformedFrame` when the other end would not read it."""
    if len(content) > MAX_FRAME_BYTES:
        raise MalformedFrame(f"a frame of {len(content)} bytes is over the bound of {MAX_FRAME_BYTES}")
    return HEADER.pack(len(content)) + content


def encode(message: Message) -> bytes:
    """A message as one frame, ready to be written."""
    kind = type(message)
    packed: bytes = msgpack.packb((NUMBERS[kind], *(getattr(message, name) for name in NAMES[kind])))
    return framed(packed)


def decode(frame: bytes) -> Message:
    """Read one frame without its length. Raises `MalformedFrame`."""
    try:
        number, *values = msgpack.unpackb(frame)
        kind = KINDS[number - 1] if isinstance(number, int) and 0 < number <= len(KINDS) else None
    except (ValueError, TypeError, RecursionError) as error:
        raise MalformedFrame("a frame is not msgpack of a message") from error
    if kind is None:
        raise MalformedFrame(f"a frame of unknown kind {number!r:.20}")
    types = TYPES[kind]
    if len(values) < len(types) or not all(map(_is_a, values, types)):
        raise MalformedFrame(f"a {kind.__name__} with wrong fields")
    return kind(*values[: len(types)])


def _is_a(value: Any, wanted: type) -> bool:
    return type(value) is wanted


class FrameSplitter:
    """Cuts a stream of bytes into frames; a frame over the bound ends the stream."""

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes and return the frames now complete. Raises `MalformedFrame`."""
        buffer = self._buffer
        buffer += data
        frames = []
        at = 0
        while len(buffer) - at >= HEADER.size:
            (length,) = HEADER.unpack_from(buffer, at)
            if length > self._max_frame_bytes:
                raise MalformedFrame(
                    f"a frame of {length} bytes is over the bound of {self._max_frame_bytes}"
                )
            end = at + HEADER.size + length
            if end > len(buffer):
                break
            frames.append(bytes(buffer[at + HEADER.size : end]))
            at = end
        del buffer[:at]
        return frames
