"""Connections to dynos and routers: kept ones are used again, new ones are made within a deadline."""

import asyncio
import ssl
from collections import defaultdict

from pinode.router.route_table import Route
from pinode.router.timings import RouterTimings
from pinode.router.upstream import PoolKey, Upstream

LOOPBACK = "127.0.0.1"


class Pool:
    """Without `tls` (the certificate towards other routers) only dynos of this node are reached."""

    def __init__(self, timings: RouterTimings) -> None:
        self._timings = timings
        self._idle: dict[PoolKey, list[Upstream]] = defaultdict(list)
        self._connections: set[Upstream] = set()
        self.tls: ssl.SSLContext | None = None

    def kept(self, route: Route) -> Upstream | None:
        """A connection from before, if there is one. The other end may be closing it this very moment."""
        idle = self._idle.get(key_of(route))
        return idle.pop() if idle else None

    async def connect(self, route: Route) -> Upstream:
        """A new connection. Raises `OSError` or `TimeoutError`."""
        key = key_of(route)
        upstream = Upstream(key, on_lost=self._lost)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._timings.connect_seconds * (1 if route.local_port else 2)):
            if route.local_port:
                await loop.create_connection(lambda: upstream, LOOPBACK, route.local_port)
            elif self.tls is None:
                raise OSError("this router has no certificate for other routers")
            else:
                await loop.create_connection(
                    lambda: upstream, route.host, route.router_port, ssl=self.tls, server_hostname=""
                )
                if upstream.peer_name() != route.node_id:
                    upstream.abort()
                    raise OSError(f"{route.host}:{route.router_port} is not node {route.node_id}")
        if upstream.is_lost:
            raise OSError("the connection was closed at once")
        self._connections.add(upstream)
        return upstream

    def keep(self, upstream: Upstream, *, now: float) -> None:
        """Take a connection back that is ready for another request."""
        idle = self._idle[upstream.key]
        upstream.exchange = None
        upstream.was_used = True
        upstream.idle_since = now
        if upstream.is_lost or len(idle) >= self._timings.most_pooled:
            upstream.close()
        else:
            idle.append(upstream)

    def close_idle(self, *, now: float) -> None:
        """Close what was not used for long."""
        for key, idle in list(self._idle.items()):
            while idle and now - idle[0].idle_since > self._timings.pooled_seconds:
                idle.pop(0).close()
            if not idle:
                del self._idle[key]

    def close(self) -> None:
        """Close everything."""
        for upstream in list(self._connections):
            upstream.abort()

    def __len__(self) -> int:
        return len(self._connections)

    def _lost(self, upstream: Upstream) -> None:
        self._connections.discard(upstream)
        idle = self._idle.get(upstream.key, [])
        if upstream in idle:
            idle.remove(upstream)


def key_of(route: Route) -> PoolKey:
    """Which connections may carry a request for this route."""
    if route.local_port:
        return (LOOPBACK, route.local_port, "")
    return (route.host, route.router_port, route.node_id)
