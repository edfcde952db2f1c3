"""Where a body ends: as bytes pass by they are counted and, where chunked, checked strictly (RFC 9112 §7)."""

import re
from typing import Protocol

CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(;[\t\x20-\x7e\x80-\xff]{0,200})?")
TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}:[\t\x20-\x7e\x80-\xff]*")
LINE_BYTES = 4096
TRAILERS = 32


class MalformedBody(Exception):
    """The body's framing is not what the head promised."""


class Body(Protocol):
    """Knows how much of the bytes that come belongs to this body."""

    done: bool

    def take(self, data: bytes) -> int:
        """How many of `data` belong to the body. Raises `MalformedBody`."""
        ...


class SizedBody:
    """`Content-Length`; also no body at all."""

    def __init__(self, content_length: int) -> None:
        self._left = content_length
        self.done = content_length == 0

    def take(self, data: bytes) -> int:
        taken = min(len(data), self._left)
        self._left -= taken
        self.done = self._left == 0
        return taken


class EndlessBody:
    """Everything until the connection closes."""

    def __init__(self) -> None:
        self.done = False

    def take(self, data: bytes) -> int:
        return len(data)


class ChunkedBody:
    """`Transfer-Encoding: chunked`. Sizes are hexadecimal, CR LF ends each line and each chunk."""

    def __init__(self, *, may_have_trailers: bool) -> None:
        self._may_have_trailers = may_have_trailers
        self._line = b""  # the part of a line that came so far
        self._left = 0  # of the current chunk with its CR LF
        self._in_trailers = False
        self._trailers = 0
        self.done = False

    def take(self, data: bytes) -> int:
        at = 0
        while at < len(data) and not self.done:
            at = self._skip_chunk(data, at) if self._left else self._read_line(data, at)
        return at

    def _skip_chunk(self, data: bytes, at: int) -> int:
        taken = min(self._left, len(data) - at)
        # The last two bytes of what is left are the chunk's CR LF, which may come one by one.
        for place in range(max(at, at + self._left - 2), at + taken):
            if data[place] != b"\r\n"[place - (at + self._left - 2)]:
                raise MalformedBody("a chunk does not end where its size says")
        self._left -= taken
        return at + taken

    def _read_line(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at)
        stop = len(data) if end < 0 else end + 1
        self._line += data[at:stop]
        if len(self._line) > LINE_BYTES:
            raise MalformedBody("a line between chunks is too long")
        if end >= 0:
            line, self._line = self._line, b""
            if not line.endswith(b"\r\n"):
                raise MalformedBody("a line between chunks ends with a bare LF")
            self._end_of_line(line[:-2])
        return stop

    def _end_of_line(self, line: bytes) -> None:
        if self._in_trailers:
            self._trailers += 1
            if not line:
                self.done = True
            elif not self._may_have_trailers or self._trailers > TRAILERS or not TRAILER.fullmatch(line):
                raise MalformedBody("trailers are not accepted here")
            return
        found = CHUNK_SIZE.fullmatch(line)
        if found is None:
            raise MalformedBody("a chunk's size is not hexadecimal")
        size = int(found[1], 16)
        self._in_trailers = size == 0
        self._left = size + 2 if size else 0
