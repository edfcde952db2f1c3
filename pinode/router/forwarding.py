"""What changes in a head on its way: a dyno gets nothing of ours, a client is believed nothing of itself."""

from dataclasses import dataclass

from pinode.router.http_head import AnswerHead, RequestHead
from pinode.router.route_table import Route

APP_HEADER = b"Pinode-App"
PLACEMENT_HEADER = b"Pinode-Placement"
WAIT_HEADER = b"Pinode-Wait"
OUR_PREFIX = b"pinode-"
COOKIE_PREFIX = b"__Host-pinode"
HOP_BY_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization",
        b"te", b"trailer", b"upgrade", b"transfer-encoding", b"http2-settings",
    }
)  # fmt: skip
# What a client says of these is replaced by what the router knows.
REPLACED = frozenset(
    {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-port", b"x-request-id", b"forwarded"}
)
SEEN_TO = HOP_BY_HOP | REPLACED | {b"cookie"}
LONGEST_FORWARDED = 1_000


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came in."""

    client: bytes  # its address
    proto: bytes  # http or https
    port: bytes
    request_id: bytes


def client_lines(request: RequestHead, origin: Origin) -> list[bytes]:
    """A client's headers as a dyno may see them: hop-by-hop ones and our own gone, the way it came added."""
    named = request.named
    lines: list[bytes] = []
    forwarded_for = origin.client
    request_id = origin.request_id
    for lower, name, value in request.headers:
        # `X_Forwarded_For` would be `X-Forwarded-For` to a WSGI application.
        if lower in named or b"_" in lower or lower.startswith(OUR_PREFIX):
            continue
        if lower not in SEEN_TO:
            lines.append(name + b": " + value)
        elif lower == b"cookie":
            value = _without_our_cookies(value)
            if value:
                lines.append(name + b": " + value)
        elif lower == b"x-forwarded-for" and len(value) <= LONGEST_FORWARDED:
            forwarded_for = value + b", " + origin.client
        elif lower == b"x-request-id" and 8 <= len(value) <= 128 and value.replace(b"-", b"").isalnum():
            request_id = value
    lines += (
        b"X-Forwarded-For: " + forwarded_for,
        b"X-Forwarded-Proto: " + origin.proto,
        b"X-Forwarded-Port: " + origin.port,
        b"X-Request-Id: " + request_id,
    )
    return lines


def router_lines(request: RequestHead) -> list[bytes]:
    """What another router sent, as the dyno may see it: it has cleaned the client's headers already."""
    return [
        name + b": " + value
        for lower, name, value in request.headers
        if lower not in HOP_BY_HOP and not lower.startswith(OUR_PREFIX)
    ]


def request_to_dyno(request: RequestHead, lines: list[bytes], *, keep: bool) -> bytes:
    """The head for a dyno. With `keep` the connection is to be kept for the next request."""
    if request.upgrade:
        return _request(request, [*lines, b"Connection: Upgrade", b"Upgrade: " + request.upgrade])
    return _request(request, lines if keep else [*lines, b"Connection: close"])


def request_to_router(request: RequestHead, lines: list[bytes], *, app: str, route: Route) -> bytes:
    """The head for the router of the dyno's node, naming the very dyno."""
    ours = [APP_HEADER + b": " + app.encode(), b"%s: %d" % (PLACEMENT_HEADER, route.placement)]
    if not request.is_safe or request.has_body:
        ours.append(WAIT_HEADER + b": 1")
    if request.upgrade:
        ours += [b"Connection: Upgrade", b"Upgrade: " + request.upgrade]
    return _request(request, [*lines, *ours])


def header_of(request: RequestHead, name: bytes) -> bytes:
    """The first value of a header; empty if there is none."""
    wanted = name.lower()
    return next((value for lower, _, value in request.headers if lower == wanted), b"")


def answer_to_client(answer: AnswerHead, *, keep: bool, upgrade: bytes = b"") -> bytes:
    """The head of an answer for the client (or for the router that asked)."""
    named = answer.named
    lines = [b"HTTP/1.1 %d %s" % (answer.status, answer.reason)]
    lines += [
        name + b": " + value
        for lower, name, value in answer.headers
        if lower not in HOP_BY_HOP and lower not in named and not lower.startswith(OUR_PREFIX)
    ]
    if answer.is_chunked:
        lines.append(b"Transfer-Encoding: chunked")
    if answer.status == 101:
        lines += [b"Connection: Upgrade", b"Upgrade: " + upgrade]
    elif not keep and answer.status >= 200:
        lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _request(request: RequestHead, lines: list[bytes]) -> bytes:
    start = b"%s %s HTTP/%s" % (request.method, request.target, request.version.encode())
    if request.is_chunked:
        lines = [*lines, b"Transfer-Encoding: chunked"]
    return b"\r\n".join([start, *lines, b"", b""])


def _without_our_cookies(value: bytes) -> bytes:
    if COOKIE_PREFIX.lower() not in value.lower():
        return value
    pairs = [pair.strip() for pair in value.split(b";")]
    return b"; ".join(pair for pair in pairs if not pair.lower().startswith(COOKIE_PREFIX.lower()))
