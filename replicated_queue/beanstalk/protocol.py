"""What a beanstalk client says (protocol 1.12): bytes in, requests out. Pure.

Where the protocol's text leaves a case open, it is read as beanstalkd 1.12 reads it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MAX_JOB_BYTES: Final = 65_535
MAX_LINE_BYTES: Final = 224  # with its CRLF
U32: Final = 2**32 - 1
U64: Final = 2**64 - 1

BAD_FORMAT: Final = b"BAD_FORMAT\r\n"
UNKNOWN_COMMAND: Final = b"UNKNOWN_COMMAND\r\n"
EXPECTED_CRLF: Final = b"EXPECTED_CRLF\r\n"
JOB_TOO_BIG: Final = b"JOB_TOO_BIG\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """One well-formed command: its word, its numbers in their order, its tube, its job."""

    verb: str
    numbers: tuple[int, ...] = ()
    tube: str = ""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that is answered without being done; `verb` if the command counts all the same."""

    answer: bytes
    verb: str = ""


Parse = Callable[[str, bytes], Request | None]  # (verb, the rest of its line); None: bad format

_NUMBER: Final = rb" *([0-9]++)"
_NAME: Final = re.compile(rb"[A-Za-z0-9+/;.$_()][A-Za-z0-9+/;.$_()-]{0,199}")
_PUT: Final = re.compile(_NUMBER * 4 + rb"(.*)", re.DOTALL)
_SIGNED: Final = re.compile(rb"[ \t\n\v\f\r]*([+-]?[0-9]++)")  # as C's strtol
_PAUSE: Final = re.compile(rb" *([^ ]+)" + _NUMBER)


def _alone(verb: str, rest: bytes) -> Request | None:
    return None if rest else Request(verb)


def _name(verb: str, rest: bytes) -> Request | None:
    return Request(verb, tube=rest.decode()) if _NAME.fullmatch(rest) else None


def _numbers(*bounds: int) -> Parse:
    pattern = re.compile(_NUMBER * len(bounds))

    def parse(verb: str, rest: bytes) -> Request | None:
        found = pattern.fullmatch(rest)
        if found is None:
            return None
        numbers = tuple(map(int, found.groups()))
        return Request(verb, numbers) if all(map(int.__le__, numbers, bounds)) else None

    return parse


def _pause(verb: str, rest: bytes) -> Request | None:
    found = _PAUSE.fullmatch(rest)
    if found is None or not _NAME.fullmatch(found[1]) or int(found[2]) > U32:
        return None
    return Request(verb, (int(found[2]),), found[1].decode())


def _bound(verb: str, rest: bytes) -> Request | None:
    found = _SIGNED.match(rest)
    if found is None or abs(int(found[1])) > U64:
        return None
    return Request(verb, (int(found[1]) & U32,))  # "-1" is a large bound


def _timeout(verb: str, rest: bytes) -> Request | None:
    found = _SIGNED.match(rest)
    seconds = int(found[1]) if found is not None else 0
    if not -(2**63) <= seconds < 2**63:
        return None
    seconds = (seconds + 2**31) % 2**32 - 2**31
    return Request(verb, (seconds,))  # below 0: for as long as it takes


# In this order: the first word that fits is the command, so "reserve-now" is a malformed "reserve".
_COMMANDS: Final[tuple[tuple[bytes, Parse], ...]] = (
    (b"peek ", _numbers(U64)),
    (b"peek-ready", _alone),
    (b"peek-delayed", _alone),
    (b"peek-buried", _alone),
    (b"reserve-with-timeout ", _timeout),
    (b"reserve-job ", _numbers(U64)),
    (b"reserve", _alone),
    (b"delete ", _numbers(U64)),
    (b"release ", _numbers(U64, U32, U32)),
    (b"bury ", _numbers(U64, U32)),
    (b"kick ", _bound),
    (b"kick-job ", _numbers(U64)),
    (b"touch ", _numbers(U64)),
    (b"stats-job ", _numbers(U64)),
    (b"stats-tube ", _name),
    (b"stats", _alone),
    (b"use ", _name),
    (b"watch ", _name),
    (b"ignore ", _name),
    (b"list-tubes-watched", _alone),
    (b"list-tube-used", _alone),
    (b"list-tubes", _alone),
    (b"quit", lambda verb, rest: Request(verb)),
    (b"pause-tube", _pause),
)


class Parser:
    """Cuts what one client sends into requests. Keeps at most one line or one job of it."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._putting: tuple[int, ...] | None = None  # a put whose job is on its way
        self._skip_bytes = 0  # of a job that is too big
        self._is_long_line = False

    @property
    def ahead_bytes(self) -> int:
        """How much came that `next` has not given yet."""
        return len(self._buffer)

    def add(self, data: bytes) -> None:
        """More came."""
        self._buffer += data

    def feed(self, data: bytes) -> list[Request | Refused]:
        """`add`, and everything that is complete then, in its order."""
        self.add(data)
        return list(iter(self.next, None))

    def next(self) -> Request | Refused | None:
        """What came first and is complete; None: more has to come."""
        if self._skip_bytes:
            return self._skip()
        if self._putting is not None:
            return self._job(self._putting)
        end = self._buffer.find(b"\r\n", 0, None if self._is_long_line else MAX_LINE_BYTES)
        if end >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 2]
            return self._line(line)
        if self._is_long_line or len(self._buffer) >= MAX_LINE_BYTES:
            # A line that is too long is dropped up to its end, however long that takes.
            was_long, self._is_long_line = self._is_long_line, True
            if not was_long:
                return self.next()
            del self._buffer[: -1 if self._buffer.endswith(b"\r") else None]
        return None

    def _line(self, line: bytes) -> Request | Refused | None:
        if self._is_long_line or b"\0" in line:
            self._is_long_line = False
            return Refused(BAD_FORMAT)
        if line.startswith(b"put "):
            return self._put(line[4:])
        for word, parse in _COMMANDS:
            if line.startswith(word):
                verb = word.decode().strip()
                return parse(verb, line[len(word) :]) or Refused(BAD_FORMAT)
        return Refused(UNKNOWN_COMMAND)

    def _put(self, rest: bytes) -> Request | Refused | None:
        found = _PUT.fullmatch(rest)
        numbers = tuple(map(int, found.groups()[:4])) if found is not None else ()
        if found is None or max(numbers) > U32:
            return Refused(BAD_FORMAT)
        if numbers[3] > MAX_JOB_BYTES:
            self._skip_bytes = numbers[3] + 2
            return self.next()
        if found[5]:
            return Refused(BAD_FORMAT, "put")
        self._putting = numbers
        return self.next()

    def _job(self, numbers: tuple[int, ...]) -> Request | Refused | None:
        size = numbers[3] + 2
        if len(self._buffer) < size:
            return None
        job = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._putting = None
        if not job.endswith(b"\r\n"):
            return Refused(EXPECTED_CRLF, "put")
        return Request("put", numbers[:3], body=job[:-2])

    def _skip(self) -> Refused | None:
        skipped = min(self._skip_bytes, len(self._buffer))
        del self._buffer[:skipped]
        self._skip_bytes -= skipped
        return None if self._skip_bytes else Refused(JOB_TOO_BIG, "put")
