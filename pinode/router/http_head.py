"""Heads of requests and answers, parsed strictly: what two programs could read in two ways is refused.

llhttp refuses bare LF, folded lines, `Content-Length` twice or beside `Transfer-Encoding`, control
characters, blanks around names. This module adds what a proxy must know: one valid host, one kind of body,
known versions.
"""

import re
from dataclasses import dataclass

import httptools

from pinode.router.framing import Body, ChunkedBody, EndlessBody, SizedBody

HEAD_BYTES = 32 * 1024
ANSWER_HEAD_BYTES = 64 * 1024
HEADERS = 100
TARGET_BYTES = 8 * 1024
SAFE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS"})  # may be asked twice (RFC 9110 §9.2.1)
HOST = re.compile(rb"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
ABSOLUTE = re.compile(rb"https?://([^/?#]*)([^#]*)", re.IGNORECASE)

DECIDING = frozenset({b"host", b"connection", b"transfer-encoding", b"content-length", b"upgrade"})
# A `Connection` header that names these would take from a message what says where it ends, or for whom it is.
NEVER_HOP_BY_HOP = frozenset({b"host", b"content-length"})

Header = tuple[bytes, bytes, bytes]  # name in lower case, name as it came, value


class BadMessage(Exception):
    """A head that is not taken; `status` is what its sender is told."""

    def __init__(self, reason: str, *, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(slots=True)
class RequestHead:
    """A request's head as it came, and what follows from it."""

    method: bytes
    target: bytes  # in origin form, or `*`
    version: str  # "1.0" or "1.1"
    headers: list[Header]
    host: bytes  # with its port, as it came; empty only in HTTP/1.0
    keep_alive: bool
    named: frozenset[bytes] = frozenset()  # by the Connection header: for this hop alone
    is_chunked: bool = False
    content_length: int | None = None
    upgrade: bytes = b""  # the protocol asked for, if we tunnel it

    @property
    def is_safe(self) -> bool:
        """Whether handing it on twice does no harm."""
        return self.method in SAFE_METHODS and not self.upgrade

    @property
    def has_body(self) -> bool:
        return self.is_chunked or bool(self.content_length)

    def body(self) -> Body:
        """The framing of the body that follows."""
        return (
            ChunkedBody(may_have_trailers=False) if self.is_chunked else SizedBody(self.content_length or 0)
        )


@dataclass(slots=True)
class AnswerHead:
    """The head of a dyno's answer, or of an interim one."""

    status: int
    reason: bytes
    headers: list[Header]
    keep_alive: bool
    named: frozenset[bytes] = frozenset()  # by the Connection header: for this hop alone
    is_chunked: bool = False
    content_length: int | None = None

    def body(self, request: RequestHead) -> Body:
        """The framing of the body that follows (RFC 9112 §6.3)."""
        if request.method == b"HEAD" or self.status in (204, 304):
            return SizedBody(0)
        if self.is_chunked:
            return ChunkedBody(may_have_trailers=True)
        return EndlessBody() if self.content_length is None else SizedBody(self.content_length)


class _Collected:
    """What llhttp calls back with. Headers that decide something are kept apart: each is looked at once."""

    __slots__ = ("deciding", "headers", "is_complete", "reason", "url")

    def __init__(self) -> None:
        self.url = b""
        self.reason = b""
        self.headers: list[Header] = []
        self.deciding: dict[bytes, list[bytes]] = {}
        self.is_complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        value = value.strip(b" \t")
        self.headers.append((lower, name, value))
        if lower in DECIDING:
            self.deciding.setdefault(lower, []).append(value)

    def on_headers_complete(self) -> None:
        self.is_complete = True

    def connection_tokens(self) -> frozenset[bytes]:
        """What the `Connection` headers name, in lower case."""
        values = self.deciding.get(b"connection")
        if not values:
            return frozenset()
        return frozenset(token.strip().lower() for value in values for token in value.split(b","))


def parse_request(head: bytes) -> RequestHead:
    """Read a head that ends with an empty line. Raises `BadMessage`."""
    collected = _Collected()
    parser = httptools.HttpRequestParser(collected)
    _feed(parser, head, collected)
    method, version = parser.get_method(), parser.get_http_version()
    if method == b"CONNECT":
        raise BadMessage("CONNECT is not for here", status=405)
    if version not in ("1.0", "1.1"):
        raise BadMessage("only HTTP 1.1 is spoken here", status=505)
    tokens = collected.connection_tokens()
    is_chunked, content_length = _framing_of(collected)
    if is_chunked and version == "1.0":
        raise BadMessage("HTTP/1.0 knows no chunks")
    request = RequestHead(
        method=method,
        target=collected.url,
        version=version,
        headers=collected.headers,
        host=_host_of(collected, version),
        keep_alive=version == "1.1" and b"close" not in tokens,
        named=tokens - NEVER_HOP_BY_HOP,
        is_chunked=is_chunked,
        content_length=content_length,
        upgrade=_upgrade_of(collected, tokens) if version == "1.1" else b"",
    )
    if len(collected.url) > TARGET_BYTES:
        raise BadMessage("the request target is too long", status=414)
    if not collected.url.startswith(b"/"):
        _take_other_target(request)
    return request


def parse_answer(head: bytes) -> AnswerHead:
    """Read the head of an answer. Raises `BadMessage`."""
    collected = _Collected()
    parser = httptools.HttpResponseParser(collected)
    _feed(parser, head, collected)
    is_chunked, content_length = _framing_of(collected)
    tokens = collected.connection_tokens()
    return AnswerHead(
        status=parser.get_status_code(),
        reason=collected.reason,
        headers=collected.headers,
        keep_alive=parser.get_http_version() == "1.1" and b"close" not in tokens,
        named=tokens - NEVER_HOP_BY_HOP,
        is_chunked=is_chunked,
        content_length=content_length,
    )


def split_answer(data: bytes) -> tuple[AnswerHead | None, bytes]:
    """The head at the beginning of `data`, if it is whole, and what is left. Raises `BadMessage`."""
    end = data.find(b"\r\n\r\n") + 4
    if end >= 4:
        return parse_answer(data[:end]), data[end:]
    if len(data) > ANSWER_HEAD_BYTES:
        raise BadMessage("its head is too long")
    return None, data


def _feed(
    parser: httptools.HttpRequestParser | httptools.HttpResponseParser, head: bytes, collected: _Collected
) -> None:
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise BadMessage(str(error) or "not HTTP") from error
    if len(collected.headers) > HEADERS:
        raise BadMessage("too many headers", status=431)
    if not collected.is_complete:
        raise BadMessage("the head is not complete")


def _host_of(collected: _Collected, version: str) -> bytes:
    hosts = collected.deciding.get(b"host", [])
    if len(hosts) != 1 and (version == "1.1" or hosts):
        raise BadMessage("exactly one Host header is needed")
    if hosts and not HOST.fullmatch(hosts[0]):
        raise BadMessage("the Host header is not a host")
    return hosts[0] if hosts else b""


def _framing_of(collected: _Collected) -> tuple[bool, int | None]:
    codings = collected.deciding.get(b"transfer-encoding", ())
    lengths = collected.deciding.get(b"content-length", ())
    if codings and (len(codings) > 1 or codings[0].lower() != b"chunked"):
        raise BadMessage("the only transfer encoding known here is chunked", status=501)
    if lengths and (len(lengths) > 1 or not lengths[0].isdigit()):
        raise BadMessage("Content-Length is not one number")
    if codings and lengths:
        raise BadMessage("both Content-Length and Transfer-Encoding")
    return bool(codings), int(lengths[0]) if lengths else None


def _take_other_target(request: RequestHead) -> None:
    """Bring an absolute target into origin form; it replaces the Host header (RFC 9112 §3.2.2)."""
    absolute = ABSOLUTE.fullmatch(request.target)
    if absolute:
        if not HOST.fullmatch(absolute[1]):
            raise BadMessage("the request target names no host")
        request.host = absolute[1]
        request.target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
        others = [header for header in request.headers if header[0] != b"host"]
        request.headers = [(b"host", b"Host", request.host), *others]
    elif (request.method, request.target) != (b"OPTIONS", b"*"):
        raise BadMessage("the request target is neither a path nor a URL")


def _upgrade_of(collected: _Collected, tokens: frozenset[bytes]) -> bytes:
    """Only WebSockets are tunnelled: an `h2c` let through would be a second, unread conversation."""
    named = collected.deciding.get(b"upgrade", ())
    if b"upgrade" not in tokens or len(named) != 1 or named[0].lower() != b"websocket":
        return b""
    return named[0]
