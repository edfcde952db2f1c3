"""Which dyno a request goes to: the routes as they are now, who waits for them, and which routers work."""

import time
from collections.abc import Callable
from typing import Protocol

from pinode.router.door import Door
from pinode.router.pool import Pool
from pinode.router.route_table import AppRoutes, Route, RouteTable
from pinode.router.timings import RouterTimings


class Waiting(Protocol):
    """A request that no dyno took yet."""

    def start(self) -> None:
        """Look again."""
        ...


class Routing:
    """What all requests share."""

    def __init__(self, timings: RouterTimings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.timings = timings
        self.now = clock
        self.pool = Pool(timings)
        self.waiting: set[Waiting] = set()
        self.is_orphaned = False  # the node that told these routes is away
        self._domain = b"local"
        self._apps: dict[str, AppRoutes] = {}
        self._by_port: dict[int, str] = {}
        self._local: dict[int, Route] = {}
        self._turn = 0
        self._avoided: dict[str, float] = {}  # node id -> until when

    def use_domain(self, domain: str) -> None:
        """Apps answer at `<app>.<domain>`."""
        self._domain = domain.lower().encode()

    def use_routes(self, table: RouteTable) -> None:
        """From now on these are the routes; requests that wait for one look again."""
        self.is_orphaned = False
        self._apps = {routes.app: routes for routes in table.apps}
        self._by_port = {routes.port: routes.app for routes in table.apps}
        self._local = {
            route.placement: route for routes in table.apps for route in routes.routes if route.local_port
        }
        for exchange in list(self.waiting):
            exchange.start()

    @property
    def patience_seconds(self) -> float:
        """How long a request waits for a dyno: longer while better routes are only to come."""
        return self.timings.orphaned_seconds if self.is_orphaned else self.timings.starting_seconds

    def app_for(self, door: Door, host: bytes) -> str | None:
        """The app a request is for, by the port it came to or by its host name."""
        if door.is_app_port:
            return self.app_of_port(door.port)
        name, _, domain = host.lower().partition(b":")[0].rstrip(b".").partition(b".")
        app = name.decode("latin-1")
        return app if domain == self._domain and app in self._apps else None

    def is_in_maintenance(self, app: str) -> bool:
        """Whether its owner wants nobody to be let through to it now."""
        known = self._apps.get(app)
        return known is not None and known.in_maintenance

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

    def app_of_port(self, port: int) -> str | None:
        """The app that has the port, under the name it has now."""
        return self._by_port.get(port)

    def expects_dynos(self, app: str) -> bool:
        """Whether there is something to wait for."""
        known = self._apps.get(app)
        return known is not None and known.expected > 0

    def avoid(self, node_id: str) -> None:
        """This node's router did not answer: others first, for a while."""
        self._avoided[node_id] = self.now() + self.timings.avoid_seconds
