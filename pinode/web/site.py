"""What all handlers share: the cluster, and the few things that live as long as the server."""

import asyncio
import hashlib
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from pinode.apps.app import App
from pinode.cluster import Cluster
from pinode.deploy.intake import Intake
from pinode.errors import NotAllowed, NotLoggedIn
from pinode.rate_limit import RateLimit, TooMany
from pinode.web.caller import Caller, same_caller
from pinode.web.node_side import NodeControl, Past
from pinode.web.passwords import Passwords
from pinode.web.rendering import Rendering

STREAMS_AT_ONCE = 64
RECEPTIONS_AT_ONCE = 8
RECEPTIONS_EACH = 3
HOOK_BODIES_AT_ONCE = 4


class Streams:
    """Requests that go on for long: bounded, for they take memory or disk; ended with the server."""

    def __init__(
        self,
        at_once: int = STREAMS_AT_ONCE,
        what: str = "logs and pages are being followed",
        *,
        each: int | None = None,
    ) -> None:
        """`each`: how many of them one user may have."""
        self._at_once = at_once
        self._what = what
        self._each = at_once if each is None else each
        self._open: dict[asyncio.Task[Any], str] = {}

    @contextmanager
    def one_more(self, user: str = "") -> Iterator[None]:
        """The task that answers counts as a stream. Raises `TooMany`."""
        task = asyncio.current_task()
        assert task is not None
        if len(self._open) >= self._at_once:
            raise TooMany(f"too many {self._what} on this node.", retry_after_seconds=10)
        if list(self._open.values()).count(user) >= self._each:
            raise TooMany(f"too many {self._what} of yours on this node.", retry_after_seconds=10)
        self._open[task] = user
        try:
            yield
        finally:
            self._open.pop(task, None)

    def end(self) -> None:
        """End them all."""
        for task in self._open:
            task.cancel()


@dataclass(slots=True, kw_only=True)
class Site:
    """One per web server; handed to every handler through the application."""

    cluster: Cluster
    ca_pem: bytes
    control: NodeControl | None = None
    past: Past | None = None
    intake: Intake | None = None
    passwords: Passwords = field(default_factory=Passwords)
    rendering: Rendering = field(default_factory=Rendering)
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    streams: Streams = field(default_factory=Streams)
    receptions: Streams = field(
        default_factory=lambda: Streams(
            RECEPTIONS_AT_ONCE, "pushes and uploads are being received", each=RECEPTIONS_EACH
        )
    )
    pushes: Streams = field(default_factory=lambda: Streams(what="pushes are under way"))
    body_seconds: float = 30.0  # for the whole body of a request to arrive
    # Each may hold 5 MiB before it has proven anything.
    hook_bodies: Streams = field(
        default_factory=lambda: Streams(HOOK_BODIES_AT_ONCE, "webhooks are being called")
    )
    hook_calls: RateLimit = field(default_factory=lambda: RateLimit(burst=30, seconds_each=2))
    # Ten tries at once, then one every six seconds: nobody types faster, and guessing gets nowhere.
    tries_by_address: RateLimit = field(default_factory=lambda: RateLimit(burst=20, seconds_each=6))
    tries_by_user: RateLimit = field(default_factory=lambda: RateLimit(burst=10, seconds_each=6))

    @property
    def ca_fingerprint(self) -> str:
        """SHA-256 of the CA's certificate, as browsers and `pinode start` show it."""
        digest = hashlib.sha256(_der_of(self.ca_pem)).hexdigest().upper()
        return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


SITE = web.AppKey("site", Site)
SITE_UNDER_KEY = web.RequestKey("site_under_key", Site)  # of a request with an Idempotency-Key
CALLER = web.RequestKey("caller", Caller)
MANAGED_APP = web.RequestKey("managed_app", App)


def site_of(request: web.Request) -> Site:
    """What the handler works with."""
    return request.get(SITE_UNDER_KEY) or request.app[SITE]


def visitor(request: web.Request) -> Caller | None:
    """Who asks, if they said so."""
    return request.get(CALLER)


def caller(request: web.Request) -> Caller:
    """Who asks; the route's access rule has seen to it that somebody does."""
    found = visitor(request)
    assert found is not None, f"the route {request.path} is public, but its handler wants to know who asks"
    return found


def managed_app(request: web.Request) -> App:
    """The app in the path, which the caller may manage; the route's access rule has seen to it."""
    return request[MANAGED_APP]


def check_still_allowed(request: web.Request) -> None:
    """Once a body that took long is here: the caller is still logged in and still manages the very app.

    Raises `NotLoggedIn`, `AppNotFound`, `AppDestroyed` or `NotAllowed`.
    """
    cluster = site_of(request).cluster
    now = same_caller(caller(request), cluster)
    if now is None:
        raise NotLoggedIn("your login or token ended while the request arrived.", hint="Log in again.")
    app = cluster.state.registry.same_app(managed_app(request))
    if not now.is_admin and app.owner != now.name:
        raise not_the_owner(app)


def not_the_owner(app: App) -> NotAllowed:
    """What to tell somebody who may not manage it."""
    return NotAllowed(
        f"the app {app.name!r} belongs to somebody else.", hint="Ask its owner or an administrator."
    )


def _der_of(pem: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.decode("ascii")) if pem.strip() else b""
