"""The web server of a node: HTTPS for people and programs, a unix socket for its administrator."""

import asyncio
import logging
import os
import socket
import ssl
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

from pinode.cluster import Cluster
from pinode.deploy.intake import Intake
from pinode.errors import PinodeError
from pinode.settings import Address
from pinode.web.front_door import FrontDoor
from pinode.web.guard import add_headers, answer_always, guarded
from pinode.web.openapi import describe
from pinode.web.operation import OPENAPI
from pinode.web.routes import ROUTES
from pinode.web.site import SITE, NodeControl, Past, Site

logger = logging.getLogger(__name__)

BODY_BYTES = 1024 * 1024
HEAD_BYTES = 16 * 1024
KEEP_ALIVE_SECONDS = 60.0
STOP_SECONDS = 2.0
BACKLOG = 128
SOCKET_PATH_BYTES = 107


class WebServer:
    """Serves the pages and the API on `[listen] web`, and the same on a socket file for the administrator.

    `ssl_context` is reloaded by its owner when the certificate changes; new connections use it at once.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        ssl_context: ssl.SSLContext,
        ca_pem: bytes,
        socket_path: Path,
        control: NodeControl | None = None,
        past: Past | None = None,
        intake: Intake | None = None,
        socket_mode: int = 0o600,
    ) -> None:
        self._address = cluster.settings.listen.web
        self._ssl_context = ssl_context
        self._socket_path = socket_path
        self._socket_mode = socket_mode
        self._application = make_application(
            Site(cluster=cluster, ca_pem=ca_pem, control=control, past=past, intake=intake)
        )

    async def run(self) -> None:
        """Serve until cancelled. Raises `PinodeError` when an address cannot be listened on."""
        runner = web.AppRunner(
            self._application,
            access_log=None,
            auto_decompress=False,  # a stranger's megabyte could be a gigabyte; see `guard`
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            max_line_size=HEAD_BYTES,
            max_field_size=HEAD_BYTES,
            shutdown_timeout=STOP_SECONDS,
        )
        await runner.setup()
        serve = runner.server
        assert serve is not None
        try:
            with (
                listening_at(self._address) as listener,
                socket_file(self._socket_path, self._socket_mode) as door,
            ):
                local = await asyncio.get_running_loop().create_unix_server(serve, sock=door)
                logger.info("web listens address=%s socket=%s", self._address, self._socket_path)
                try:
                    await FrontDoor(listener, serve, self._ssl_context).run()
                finally:
                    local.close()
        finally:
            await runner.cleanup()


def make_application(site: Site) -> web.Application:
    """Return the application: every route behind its guard."""
    application = web.Application(client_max_size=BODY_BYTES, middlewares=[answer_always])
    application[SITE] = site
    application[OPENAPI] = describe(ROUTES)
    application.on_response_prepare.append(add_headers)
    application.on_shutdown.append(_end_streams)
    for route in ROUTES:
        handler = guarded(route)
        if route.method == "GET":
            application.router.add_get(route.path, handler)
        else:
            application.router.add_route(route.method, route.path, handler)
    return application


async def _end_streams(application: web.Application) -> None:
    application[SITE].streams.end()
    application[SITE].receptions.end()
    application[SITE].pushes.end()


@contextmanager
def listening_at(address: Address) -> Iterator[socket.socket]:
    """A listening TCP socket. Raises `PinodeError` naming the address."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        try:
            listener.bind((address.host, address.port))
            listener.listen(BACKLOG)
        except OSError as error:
            raise PinodeError(
                f"the web cannot listen on {address}: {error.strerror or error}.",
                hint="Is another program there? `[listen] web` names another address.",
            ) from error
        yield listener
    finally:
        listener.close()


@contextmanager
def socket_file(path: Path, mode: int) -> Iterator[socket.socket]:
    """A listening unix socket that only those may open whom `mode` lets; the file is removed at the end."""
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
        raise PinodeError(
            f"the path of the node's socket is too long: {path}.",
            hint=f"It may have {SOCKET_PATH_BYTES} bytes: choose a shorter `[node] data_dir`.",
        )
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        path.unlink()  # left by a process that was killed; the data directory's lock says that it is gone
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        door.setblocking(False)
        door.bind(str(path))
        path.chmod(mode)  # before it listens: until then nobody can connect
        door.listen(BACKLOG)
        yield door
    finally:
        door.close()
        path.unlink(missing_ok=True)
