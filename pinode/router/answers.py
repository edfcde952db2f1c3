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

# An app's name has letters, digits and '-' only, so that it can stand in a page as it is.
MAINTENANCE_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>APP is being worked on</title>
<style>
  body { font: 1.1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 18vh auto; padding: 0 1.2rem }
</style>
<h1>APP is being worked on</h1>
<p>It will be back soon. Please try again in a minute.</p>
</html>
"""


def text_answer(status: int, text: str, *, is_head: bool = False) -> bytes:
    """A whole answer that ends the connection."""
    body = text.encode() + b"\n"
    head = (
        b"HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
        b"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n%sConnection: close\r\n\r\n"
        % (status, REASONS[status], len(body), b"Retry-After: 5\r\n" if status == 503 else b"")
    )
    return head if is_head else head + body


def in_maintenance(app: str, *, is_head: bool = False) -> bytes:
    """The whole answer for an app that is in maintenance: a page, for it is people who see it."""
    body = MAINTENANCE_PAGE.replace("APP", app).encode()
    head = (
        b"HTTP/1.1 503 Service Unavailable\r\n"
        b"Content-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n"
        b"Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n"
        b"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nRetry-After: 60\r\n"
        b"Connection: close\r\n\r\n" % len(body)
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
