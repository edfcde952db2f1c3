"""The ports the router listens on: each opened when its app appears and closed when it is gone."""

import asyncio
import logging
import ssl

from pinode.router.client_connection import ClientConnection
from pinode.router.control_codec import Configure
from pinode.router.door import Door
from pinode.router.proxy import Proxy
from pinode.router.route_table import RouteTable

logger = logging.getLogger(__name__)

BACKLOG = 1024
Place = tuple[str, int]


class Listeners:
    """What is open is compared with what should be; what could not be opened is named in `problems`."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._open: dict[Place, asyncio.Server] = {}
        self._configure: Configure | None = None
        self._router_tls: ssl.SSLContext | None = None
        self._web_tls: ssl.SSLContext | None = None
        self.problems: tuple[str, ...] = ()

    def configure(self, configure: Configure) -> None:
        """Take certificates and addresses; `apply` opens the ports. Raises `OSError` for unreadable files."""
        self._configure = configure
        self._proxy.routing.use_domain(configure.domain)
        self._proxy.routing.pool.tls = _router_client_context(configure)
        self._use_among_routers(_router_server_context(configure))
        if configure.web_certificate:
            self._web_tls = _reload(self._web_tls, configure.web_certificate, configure.web_key)
            self._web_tls.set_alpn_protocols(["http/1.1"])

    def _use_among_routers(self, newest: ssl.SSLContext) -> None:
        """A context forgets no authority, and an open listener keeps its own: it hands on to the newest."""
        if self._router_tls is None:
            self._router_tls = newest
        self._router_tls.sni_callback = lambda secured, name, _: setattr(secured, "context", newest)

    async def apply(self, table: RouteTable) -> None:
        """Close the ports of apps that are gone, open those of new ones."""
        wanted = self._wanted(table)
        for place in self._open.keys() - wanted.keys():
            self._open.pop(place).close()
        problems = []
        for place, (door, context) in wanted.items():
            if place not in self._open:
                try:
                    self._open[place] = await self._listen(place, door, context)
                except OSError as error:
                    problems.append(
                        f"the router cannot listen on {place[0]}:{place[1]}: {error.strerror or error}"
                    )
        if tuple(problems) != self.problems:
            self.problems = tuple(problems)
            for problem in problems:
                logger.warning("%s", problem)

    def close(self) -> None:
        """Listen no more; what is connected stays."""
        for server in self._open.values():
            server.close()
        self._open.clear()

    def _wanted(self, table: RouteTable) -> dict[Place, tuple[Door, ssl.SSLContext | None]]:
        configure = self._configure
        if configure is None:
            return {}
        routers = Door(port=configure.router_port, is_tls=True, is_for_routers=True)
        wanted: dict[Place, tuple[Door, ssl.SSLContext | None]] = {
            (configure.host, configure.apps_port): (Door(port=configure.apps_port), None),
            (configure.router_host, configure.router_port): (routers, self._router_tls),
        }
        if configure.apps_tls_port and self._web_tls is not None:
            door = Door(port=configure.apps_tls_port, is_tls=True)
            wanted[configure.apps_tls_host, configure.apps_tls_port] = (door, self._web_tls)
        for routes in table.apps:
            wanted[configure.host, routes.port] = (Door(port=routes.port, is_app_port=True), None)
        return wanted

    async def _listen(self, place: Place, door: Door, context: ssl.SSLContext | None) -> asyncio.Server:
        host, port = place
        return await asyncio.get_running_loop().create_server(
            lambda: ClientConnection(self._proxy, door), host, port, ssl=context, backlog=BACKLOG
        )


def _reload(context: ssl.SSLContext | None, certificate: str, key: str) -> ssl.SSLContext:
    """A context that open listeners keep: a new certificate is shown from the next handshake on."""
    context = context or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def _router_server_context(configure: Configure) -> ssl.SSLContext:
    """Towards other routers that dial this one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(configure.node_certificate, configure.node_key)
    context.load_verify_locations(cafile=configure.authority)
    return context


def _router_client_context(configure: Configure) -> ssl.SSLContext:
    """Towards other routers: who answers is told by the name in its certificate, the node id; see `Pool`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(configure.node_certificate, configure.node_key)
    context.load_verify_locations(cafile=configure.authority)
    return context
