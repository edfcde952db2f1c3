"""Who asks: a browser with a session, a program with a token, or the administrator on the node's socket."""

import base64
import hashlib
import hmac
import secrets
import socket
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from aiohttp import web

from pinode.cluster import Cluster
from pinode.errors import NotAllowed, NotLoggedIn

SESSION_COOKIE = "__Host-pinode_session"
FORM_COOKIE = "__Host-pinode_form"  # ties the forms shown before a login to one browser
CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrf_token"
SAFE_METHODS = ("GET", "HEAD")
TOKEN_LENGTHS = range(20, 129)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A user and how they came in."""

    name: str
    is_admin: bool
    by: Literal["session", "token", "socket"]
    secret: str = field(default="", repr=False)  # the session's token; empty on the socket


def new_token() -> str:
    """Return what proves a login: 256 random bits."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> bytes:
    """Return what is stored of a token."""
    return hashlib.sha256(token.encode()).digest()


def csrf_token(secret: str) -> str:
    """Return what forms and scripts send along: it follows from the cookie, which no other site can read."""
    return hmac.new(secret.encode(), b"pinode csrf token", hashlib.sha256).hexdigest()


def caller_of(request: web.Request, cluster: Cluster) -> Caller | None:
    """Return who sends this request, None when they say nothing.

    Raises `NotLoggedIn` for a token that opens nothing; a cookie that has run out counts as nothing said.
    """
    if on_socket(request):
        admins = [user.name for user in cluster.state.people.users() if user.role == "admin"]
        return Caller(name=admins[0] if admins else "admin", is_admin=True, by="socket")
    authorization = request.headers.get("Authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        found = _caller_with(token.strip(), "token", cluster) if scheme.lower() == "bearer" else None
        if found is None:
            raise NotLoggedIn(
                "the token is wrong or expired.", hint="Log in again: POST /api/v1/sessions gives a new one."
            )
        return found
    cookie = request.cookies.get(SESSION_COOKIE)
    return _caller_with(cookie, "session", cluster) if cookie else None


def caller_of_git(request: web.Request, cluster: Cluster) -> Caller:
    """Return who pushes: any user name, with a token as the password. Raises `NotLoggedIn`."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    token = given.strip()
    if scheme.lower() == "basic":
        try:
            token = base64.b64decode(token, validate=True).decode("ascii").partition(":")[2]
        except ValueError:
            token = ""
    found = _caller_with(token, "token", cluster) if scheme.lower() in ("basic", "bearer") else None
    if found is None:
        raise NotLoggedIn(
            "the password git was given is no token, or it has expired.",
            hint="`pinode git:remote` sets it up; `pinode tokens:create` makes a new one.",
        )
    return found


def same_caller(caller: Caller, cluster: Cluster) -> Caller | None:
    """Return who asked, as they are now; None when their login has ended meanwhile."""
    if caller.by == "socket":
        return caller
    return _caller_with(caller.secret, caller.by, cluster)


def _caller_with(token: str, by: Literal["session", "token"], cluster: Cluster) -> Caller | None:
    if len(token) not in TOKEN_LENGTHS or not token.isascii():
        return None
    people = cluster.state.people
    session = people.session(token_hash(token), cluster.now_ms)
    user = people.user(session.user) if session else None
    if user is None:
        return None
    return Caller(name=user.name, is_admin=user.role == "admin", by=by, secret=token)


def on_socket(request: web.Request) -> bool:
    """Whether the request came over the node's own socket, which only its administrator can open."""
    transport = request.transport
    connection = transport.get_extra_info("socket") if transport is not None else None
    return connection is not None and connection.family == socket.AF_UNIX


async def check_not_forged(request: web.Request, secret: str | None) -> None:
    """Refuse a request that changes something and that another site may have made the browser send.

    `secret` is the cookie the page was shown under. Both must hold: the browser names this very site as the
    origin, and the token that follows from the cookie came along, in a header or in the form.
    """
    origin = urlsplit(request.headers.get("Origin", ""))
    if origin.scheme != "https" or not origin.netloc or origin.netloc != request.host:
        named = request.headers.get("Origin", "an unknown site")[:200]
        raise NotAllowed(
            f"the request came from {named!r}, not from this site.",
            hint="Open the page again and send the form from there.",
            code="wrong_origin",
        )
    given = request.headers.get(CSRF_HEADER) or str((await request.post()).get(CSRF_FIELD, ""))
    if secret is None or not hmac.compare_digest(
        csrf_token(secret).encode(), given.encode("utf-8", "replace")
    ):
        raise NotAllowed(
            "the form is no longer valid.",
            hint="Open the page again and send it once more.",
            code="wrong_csrf_token",
        )


def address_of(request: web.Request) -> str:
    """What counts as one guesser: an IPv4 address, the /64 of an IPv6 one."""
    remote = request.remote or "socket"
    return ":".join(remote.split(":")[:4]) if remote.count(":") > 3 else remote
