"""What changes in a head on its way: a dyno gets nothing of ours, a client is believed nothing of itself."""

from dataclasses import dataclass

from pinode.router.http_head import AnswerHead, Header, RequestHead, connection_tokens
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
LONGEST_FORWARDED = 1_000


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came in."""

    client: bytes  # its address
    proto: bytes  # http or https
    port: bytes
    request_id: bytes


def client_headers(request: RequestHead, origin: Origin) -> list[Header]:
    """A client's headers as a dyno may see them: hop-by-hop ones and our own gone, the way it came added."""
    named = connection_tokens(request.headers)
    kept: list[Header] = []
    forwarded_for = origin.client
    request_id = origin.request_id
    for name, value in request.headers:
        lower = name.lower()
        # `X_Forwarded_For` would be `X-Forwarded-For` to a WSGI application.
        if lower in HOP_BY_HOP or lower in named or b"_" in lower or lower.startswith(OUR_PREFIX):
            continue
        if lower == b"x-forwarded-for" and len(value) <= LONGEST_FORWARDED:
            forwarded_for = value + b", " + origin.client
        elif lower == b"x-request-id" and 8 <= len(value) <= 128 and value.replace(b"-", b"").isalnum():
            request_id = value
        elif lower == b"cookie":
            value = _without_our_cookies(value)
            if value:
                kept.append((name, value))
        elif lower not in REPLACED:
            kept.append((name, value))
    return [
        *kept,
        (b"X-Forwarded-For", forwarded_for),
        (b"X-Forwarded-Proto", origin.proto),
        (b"X-Forwarded-Port", origin.port),
        (b"X-Request-Id", request_id),
    ]


def router_headers(request: RequestHead) -> list[Header]:
    """What another router sent, as the dyno may see it: it has cleaned the client's headers already."""
    return [
        header
        for header in request.headers
        if header[0].lower() not in HOP_BY_HOP and not header[0].lower().startswith(OUR_PREFIX)
    ]


def request_to_dyno(request: RequestHead, headers: list[Header], *, keep: bool) -> bytes:
    """The head for a dyno. With `keep` the connection is to be kept for the next request."""
    if request.upgrade:
        hop = [(b"Connection", b"Upgrade"), (b"Upgrade", request.upgrade)]
    else:
        hop = [] if keep else [(b"Connection", b"close")]
    return _request(request, [*headers, *hop])


def request_to_router(request: RequestHead, headers: list[Header], *, app: str, route: Route) -> bytes:
    """The head for the router of the dyno's node, naming the very dyno."""
    ours = [(APP_HEADER, app.encode()), (PLACEMENT_HEADER, str(route.placement).encode())]
    if not request.is_safe or request.has_body:
        ours.append((WAIT_HEADER, b"1"))
    if request.upgrade:
        ours += [(b"Connection", b"Upgrade"), (b"Upgrade", request.upgrade)]
    return _request(request, [*headers, *ours])


def header_of(headers: list[Header], name: bytes) -> bytes:
    """The first value of a header; empty if there is none."""
    wanted = name.lower()
    return next((value for key, value in headers if key.lower() == wanted), b"")


def answer_to_client(answer: AnswerHead, *, keep: bool, upgrade: bytes = b"") -> bytes:
    """The head of an answer for the client (or for the router that asked)."""
    named = connection_tokens(answer.headers)
    lines = [b"HTTP/1.1 %d %s" % (answer.status, answer.reason)]
    for name, value in answer.headers:
        lower = name.lower()
        if lower not in HOP_BY_HOP and lower not in named and not lower.startswith(OUR_PREFIX):
            lines.append(name + b": " + value)
    if answer.is_chunked:
        lines.append(b"Transfer-Encoding: chunked")
    if answer.status == 101:
        lines += [b"Connection: Upgrade", b"Upgrade: " + upgrade]
    elif not keep and answer.status >= 200:
        lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _request(request: RequestHead, headers: list[Header]) -> bytes:
    lines = [b"%s %s HTTP/%s" % (request.method, request.target, request.version.encode())]
    lines += [name + b": " + value for name, value in headers]
    if request.is_chunked:
        lines.append(b"Transfer-Encoding: chunked")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _without_our_cookies(value: bytes) -> bytes:
    if COOKIE_PREFIX.lower() not in value.lower():
        return value
    pairs = [pair.strip() for pair in value.split(b";")]
    return b"; ".join(pair for pair in pairs if not pair.lower().startswith(COOKIE_PREFIX.lower()))
