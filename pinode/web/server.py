"""The web server of a node: HTTPS for people and programs, a unix socket for its administrator.

Most nodes of a cluster are never asked anything over HTTP, and what answers takes 14 MB: it is loaded when
somebody first knocks at one of the doors, which are open from the start.
"""

import asyncio
import logging
import os
import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager, suppress
from pathlib import Path

from pinode.cluster import Cluster
from pinode.deploy.intake import Intake
from pinode.errors import PinodeError
from pinode.local_door import LocalDoor
from pinode.settings import Address
from pinode.web.front_door import FrontDoor, readable
from pinode.web.node_side import NodeControl, Past

logger = logging.getLogger(__name__)

BACKLOG = 128
SOCKET_PATH_BYTES = 107

Handling = AbstractAsyncContextManager[Callable[[], asyncio.BaseProtocol]]


def _nothing() -> None:
    pass


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
        local_door: LocalDoor,
        control: NodeControl | None = None,
        past: Past | None = None,
        intake: Intake | None = None,
        on_loaded: Callable[[], None] = _nothing,
    ) -> None:
        """`on_loaded` is called once, in another thread, when all that answers is in memory."""
        self._cluster = cluster
        self._address = cluster.settings.listen.web
        self._ssl_context = ssl_context
        self._ca_pem = ca_pem
        self._local_door = local_door
        self._control = control
        self._past = past
        self._intake = intake
        self._on_loaded = on_loaded

    async def run(self) -> None:
        """Serve until cancelled. Raises `PinodeError` when an address cannot be listened on."""
        async with AsyncExitStack() as until_closed:
            with (
                listening_at(self._address) as listener,
                socket_file(self._local_door) as door,
            ):
                logger.info("web listens address=%s socket=%s", self._address, self._local_door.path)
                await readable(listener, door)
                handling = await asyncio.to_thread(self._load)
                serve = await until_closed.enter_async_context(handling)
                local = await asyncio.get_running_loop().create_unix_server(serve, sock=door)
                try:
                    await FrontDoor(listener, serve, self._ssl_context).run()
                finally:
                    local.close()

    def _load(self) -> Handling:
        """Import and make what answers: a second's work on a small Pi, so not on the event loop."""
        began = time.monotonic()
        from pinode.web.application import handling, make_application
        from pinode.web.site import Site

        site = Site(
            cluster=self._cluster,
            ca_pem=self._ca_pem,
            control=self._control,
            past=self._past,
            intake=self._intake,
        )
        application = make_application(site)
        self._on_loaded()
        logger.info("web loaded for its first visitor seconds=%.2f", time.monotonic() - began)
        return handling(application)


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
def socket_file(local: LocalDoor) -> Iterator[socket.socket]:
    """A listening unix socket that only those may open whom it is for; its names are removed at the end."""
    path = local.path
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
        raise PinodeError(
            f"the path of the node's socket is too long: {path}.",
            hint=f"It may have {SOCKET_PATH_BYTES} bytes: choose a shorter `[node] data_dir`.",
        )
    names = [name for name in (path, local.link) if name is not None]
    for name in names:
        _remove_left_over(name)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        door.setblocking(False)
        door.bind(str(path))
        if local.group is not None:
            os.chown(path, -1, local.group)
        path.chmod(local.mode)  # before it listens: until then nobody can connect
        door.listen(BACKLOG)
        if local.link is not None:
            local.link.symlink_to(path)
        yield door
    finally:
        door.close()
        for name in names:
            name.unlink(missing_ok=True)


def _remove_left_over(name: Path) -> None:
    """What a process left that was killed; the data directory's lock says that it is gone."""
    with suppress(FileNotFoundError):
        kind = name.lstat().st_mode
        if stat.S_ISSOCK(kind) or stat.S_ISLNK(kind):
            name.unlink()
