"""What all connections of the router share: the routes, the pool, who is connected, who waits, the time."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from pinode.router.client_connection import ClientConnection
from pinode.router.exchange import Exchange
from pinode.router.pool import Pool
from pinode.router.route_table import AppRoutes, Route, RouteTable
from pinode.router.timings import RouterTimings

SWEEP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Door:
    """A port the router listens on: for apps by host name, for one app, or for other routers."""

    port: int
    is_tls: bool = False
    is_app_port: bool = False
    is_for_routers: bool = False


class Proxy:
    """Without any client it has no timer: an idle router does nothing."""

    def __init__(
        self, timings: RouterTimings | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.timings = timings or RouterTimings()
        self.now = clock
        self.pool = Pool(self.timings)
        self.waiting: set[Exchange] = set()
        self.is_draining = False
        self._clients: set[ClientConnection] = set()
        self._domain = b"local"
        self._apps: dict[str, AppRoutes] = {}
        self._by_port: dict[int, str] = {}
        self._local: dict[int, Route] = {}
        self._turn = 0
        self._avoided: dict[str, float] = {}  # node id -> until when
        self._requests = 0
        self._run_id = os.urandom(6).hex()
        self._sweep: asyncio.TimerHandle | None = None

    # --- routes

    def use_domain(self, domain: str) -> None:
        """Apps answer at `<app>.<domain>`."""
        self._domain = domain.lower().encode()

    def use_routes(self, table: RouteTable) -> None:
        """From now on these are the routes; requests that wait for one look again."""
        self._apps = {routes.app: routes for routes in table.apps}
        self._by_port = {routes.port: routes.app for routes in table.apps}
        self._local = {
            route.placement: route for routes in table.apps for route in routes.routes if route.local_port
        }
        for exchange in list(self.waiting):
            exchange.start()

    def app_for(self, door: Door, host: bytes) -> str | None:
        """The app a request is for, by the port it came to or by its host name."""
        if door.is_app_port:
            return self._by_port.get(door.port)
        name, _, domain = host.lower().partition(b":")[0].rstrip(b".").partition(b".")
        app = name.decode("latin-1")
        return app if domain == self._domain and app in self._apps else None

    def choose(self, app: str, placement: int | None, tried: set[int]) -> Route | None:
        """The next dyno to ask: a local one, else one behind a router that works, else any; in turns."""
        if placement is not None:
            route = self._local.get(placement)
            return route if route is not None and placement not in tried else None
        known = self._apps.get(app)
        untried = [route for route in known.routes if route.placement not in tried] if known else []
        if not untried:
            return None
        now = self.now()
        local = [route for route in untried if route.local_port]
        working = local or [route for route in untried if self._avoided.get(route.node_id, 0) <= now]
        self._turn += 1
        candidates = working or untried
        return candidates[self._turn % len(candidates)]

    def expects_dynos(self, app: str) -> bool:
        """Whether there is something to wait for."""
        known = self._apps.get(app)
        return known is not None and known.expected > 0

    def avoid(self, node_id: str) -> None:
        """This node's router did not answer: others first, for a while."""
        self._avoided[node_id] = self.now() + self.timings.avoid_seconds

    def next_request_id(self) -> bytes:
        """Unique in the cluster."""
        self._requests += 1
        return b"%s-%x" % (self._run_id.encode(), self._requests)

    # --- clients

    def admit(self, client: ClientConnection) -> bool:
        """Count a client in; False when there are too many."""
        if len(self._clients) >= self.timings.most_clients or self.is_draining:
            return False
        self._clients.add(client)
        self._keep_sweeping()
        return True

    def forget(self, client: ClientConnection) -> None:
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
        self.pool.close()
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
        self.pool.close_idle(now=now)
        if self._clients or len(self.pool):
            self._keep_sweeping()
