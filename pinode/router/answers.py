"""What the router itself answers: short texts for people, each with what to do."""

REASONS = {
    400: b"Bad Request",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    414: b"URI Too Long",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}


def text_answer(status: int, text: str, *, is_head: bool = False) -> bytes:
    """A whole answer that ends the connection."""
    body = text.encode() + b"\n"
    head = (
        b"HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
        b"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n%sConnection: close\r\n\r\n"
        % (status, REASONS[status], len(body), b"Retry-After: 5\r\n" if status == 503 else b"")
    )
    return head if is_head else head + body


def bad_request(reason: str) -> str:
    return f"This request cannot be taken: {reason}."


def unknown_host(host: str) -> str:
    return f"There is no app at {host or 'this address'}.\nWhich ones there are: pinode apps"


def nothing_up(app: str) -> str:
    return f"{app}: no dyno of this app answers right now.\nWhy: pinode ps -a {app}, pinode logs -a {app}"


def broken_answer(app: str, what: str) -> str:
    return f"{app}: {what}.\nWhy: pinode logs -a {app}"
