"""Who is connected to the router: clients are counted in, timed out and, at its end, let finish."""

import asyncio
import os
import time
from collections.abc import Callable
from typing import Protocol

from pinode.router.routing import Routing
from pinode.router.timings import RouterTimings

SWEEP_SECONDS = 1.0
DRAIN_LOOK_SECONDS = 0.05


class Client(Protocol):
    """A connection to the router."""

    expires_at: float

    def expired(self) -> None:
        """Its time is up."""
        ...

    def drain(self) -> None:
        """End after the request under way."""
        ...

    def abort(self) -> None:
        """End now."""
        ...


class Proxy:
    """Without any client it has no timer: an idle router does nothing."""

    def __init__(
        self, timings: RouterTimings | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.timings = timings or RouterTimings()
        self.now = clock
        self.routing = Routing(self.timings, clock=clock)
        self.is_draining = False
        self._clients: set[Client] = set()
        self._requests = 0
        self._run_id = os.urandom(6).hex()
        self._sweep: asyncio.TimerHandle | None = None

    def next_request_id(self) -> bytes:
        """Unique in the cluster."""
        self._requests += 1
        return b"%s-%x" % (self._run_id.encode(), self._requests)

    def admit(self, client: Client) -> bool:
        """Count a client in; False when there are too many."""
        if len(self._clients) >= self.timings.most_clients or self.is_draining:
            return False
        self._clients.add(client)
        self._keep_sweeping()
        return True

    def forget(self, client: Client) -> None:
        """The client is gone."""
        self._clients.discard(client)

    async def drain(self) -> None:
        """Let requests under way end, for a while; then close everything."""
        self.is_draining = True
        for client in list(self._clients):
            client.drain()
        deadline = self.now() + self.timings.drain_seconds
        while self._clients and self.now() < deadline:  # noqa: ASYNC110 - once in a router's life
            await asyncio.sleep(0.05)
        for client in list(self._clients):
            client.abort()
        self.routing.pool.close()
        if self._sweep is not None:
            self._sweep.cancel()

    def _keep_sweeping(self) -> None:
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep_once)

    def _sweep_once(self) -> None:
        """One timer for all deadlines of clients; they are seconds, and need not be exact."""
        self._sweep = None
        now = self.now()
        for client in [client for client in self._clients if client.expires_at <= now]:
            client.expired()
        self.routing.pool.close_idle(now=now)
        if self._clients or len(self.routing.pool):
            self._keep_sweeping()
