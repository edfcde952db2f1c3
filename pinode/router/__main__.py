"""The router process, `python -m pinode.router DIRECTORY`: told over its directory's socket."""

import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import signal
import sys
from pathlib import Path
from typing import cast

from pinode import __version__
from pinode.memory import keep_small
from pinode.router.control_codec import (
    Configure,
    Control,
    MalformedControl,
    Status,
    Stop,
    UseRoutes,
    encode_control,
)
from pinode.router.control_socket import listen_in, read_control
from pinode.router.listeners import Listeners
from pinode.router.proxy import Proxy
from pinode.router.route_table import RouteTable

logger = logging.getLogger("pinode.router")

CLOSE_SECONDS = 1.0  # for nodes to see that the router ends
RETRY_SECONDS = 5.0  # between attempts to open a port that somebody else holds


class RouterServer:
    """Obeys the node that is connected last; without any, everything goes on as it is."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._proxy = Proxy()
        self._listeners = Listeners(self._proxy)
        self._table: RouteTable | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._links: set[asyncio.Task[None]] = set()  # to node processes: the present one, and any before
        self._is_ending = False
        self._told = asyncio.Event()

    async def run(self) -> None:
        """Serve until told to stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)
        server = await asyncio.start_unix_server(self._serve_node, sock=listen_in(self._directory))
        gc.collect()
        gc.freeze()
        logger.info("router runs pid=%d", os.getpid())
        while not self._is_ending:
            await self._wait(RETRY_SECONDS if self._listeners.problems else None)
            await self._open_ports()
        server.close()
        self._listeners.close()
        await self._proxy.drain()
        await self._close_links()
        logger.info("router ended pid=%d", os.getpid())

    async def _close_links(self) -> None:
        """Let them end by themselves: those that the end of the loop cancels are logged as errors."""
        for writer in self._writers:
            writer.close()
        if self._links:
            await asyncio.wait(self._links, timeout=CLOSE_SECONDS)

    async def _wait(self, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._told.wait()
        self._told.clear()

    def _end(self) -> None:
        self._is_ending = True
        self._told.set()

    async def _serve_node(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = cast("asyncio.Task[None]", asyncio.current_task())
        self._links.add(link)
        link.add_done_callback(self._links.discard)
        self._writers.add(writer)
        writer.write(encode_control(self._status()))
        try:
            while (message := await read_control(reader)) is not None:
                self._obey(message)
        except MalformedControl as error:
            logger.warning("the node said something unreadable: %s", error)
        finally:
            self._writers.discard(writer)
            writer.close()
            if not self._writers:
                self._proxy.routing.is_orphaned = True  # until new routes are told

    def _obey(self, message: Control) -> None:
        match message:
            case Configure():
                self._configure(message)
                self._told.set()
            case UseRoutes():
                self._table = message.table
                self._proxy.routing.use_routes(message.table)
                self._told.set()
            case Stop():
                self._end()

    def _configure(self, message: Configure) -> None:
        try:
            self._listeners.configure(message)
        except OSError as error:
            logger.error("certificates cannot be read: %s", error)

    async def _open_ports(self) -> None:
        if self._is_ending:
            return
        before = self._listeners.problems
        await self._listeners.apply(self._table or RouteTable())
        if self._listeners.problems != before:
            for writer in self._writers:
                writer.write(encode_control(self._status()))

    def _status(self) -> Status:
        return Status(
            pid=os.getpid(),
            version=__version__,
            has_routes=self._table is not None,
            problems=self._listeners.problems,
        )


def main() -> int:
    """Run, unless a router runs in this directory already."""
    directory = Path(sys.argv[1])
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s %(message)s", stream=sys.stderr
    )
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        logger.info("a router runs in %s already", directory)
        return 0
    keep_small()
    asyncio.run(RouterServer(directory).run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
