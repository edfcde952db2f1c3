"""The node's side of its router: starts it or finds it again, and pushes the routes whenever they change."""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pinode import __version__
from pinode.cluster import Cluster
from pinode.router.agreed_file import read_agreed, write_agreed
from pinode.router.control_codec import (
    Configure,
    MalformedControl,
    Status,
    Stop,
    UseRoutes,
    encode_control,
)
from pinode.router.control_socket import connect_in, pid_behind, read_control
from pinode.router.route_table import AgreedApp, RouteTable, agreed_apps, build
from pinode.router.settling import Settling

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 2.0
START_SECONDS = 15.0  # for a new router to listen, on a slow card
START_LOOK_SECONDS = 0.05
STATUS_SECONDS = 5.0  # a router that does not say how it is hangs
STOP_SECONDS = 8.0
AGAIN_SECONDS = 1.0
CHANGE_SECONDS = 30.0
LOOK_AGAIN_SECONDS = 0.5  # until this process knows what was agreed
LOG_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterCertificates:
    """PEM files: of the node for the hop between routers, of the web for `[listen] apps_tls`."""

    node_certificate: Path
    node_key: Path
    authority: Path  # whoever it certifies is a node of this cluster
    web_certificate: Path | None = None
    web_key: Path | None = None


@dataclass(slots=True)
class _Link:
    """The connection to the router that runs."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    pid: int
    status: Status


class RouterProcess:
    """One per node. `directory` is `data_dir/router`."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        directory: Path,
        certificates: RouterCertificates,
        is_caught_up: Callable[[], bool],
    ) -> None:
        """Until `is_caught_up()`, what was agreed is read from where the last node process noted it."""
        self._cluster = cluster
        self._directory = directory
        self._certificates = certificates
        self._is_caught_up = is_caught_up
        self._link: _Link | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._is_stopping = False
        self._problems: tuple[str, ...] = ()
        self._agreed: tuple[AgreedApp, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the router cannot do, such as a port that somebody else holds; for `pinode status`."""
        return self._problems

    def tell_certificates(self) -> None:
        """Have the router read the certificates again: they were issued anew, in the same files."""
        if self._link is not None:
            self._link.writer.write(encode_control(self._configure()))

    async def run(self) -> None:
        """Keep a router running and told, until cancelled; the router goes on with its last routes."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._agreed = await asyncio.to_thread(read_agreed, self._directory)
        while not self._is_stopping:
            try:
                self._link = await self._find_or_start()
                await self._keep_told(self._link)
                if not self._is_stopping:
                    logger.warning("the router ended pid=%d, it is started again", self._link.pid)
            except (OSError, TimeoutError, MalformedControl) as error:
                logger.warning("no router, trying again reason=%s", error or type(error).__name__)
            finally:
                self._let_go()
            await asyncio.sleep(AGAIN_SECONDS)

    async def stop(self) -> None:
        """End the router (`pinode stop`); returns when it is gone."""
        self._is_stopping = True
        try:
            link = self._link or await self._connect()
        except (OSError, TimeoutError, MalformedControl):
            return  # none runs
        with contextlib.suppress(OSError):
            link.writer.write(encode_control(Stop()))
            await link.writer.drain()
        await self._end(link.pid, asks_first=False)

    # --- finding and starting

    async def _find_or_start(self) -> _Link:
        try:
            link = await self._connect()
        except (OSError, TimeoutError):
            return await self._start()
        if link.status.version == __version__:
            logger.info("router found running pid=%d", link.pid)
            return link
        logger.info("router of version %s is replaced pid=%d", link.status.version, link.pid)
        link.writer.close()
        await self._end(link.pid, asks_first=True)
        return await self._start()

    async def _connect(self) -> _Link:
        """Raises `OSError` if none listens, `TimeoutError` if it hangs; a hanging one is ended first."""
        reader, writer = await connect_in(self._directory, timeout_seconds=CONNECT_SECONDS)
        pid = pid_behind(writer)
        try:
            async with asyncio.timeout(STATUS_SECONDS):
                status = await read_control(reader)
        except TimeoutError:
            writer.close()
            await self._end(pid, asks_first=True)
            raise
        if not isinstance(status, Status):
            writer.close()
            raise OSError("what listens on the router's socket is no router")
        return _Link(reader, writer, pid, status)

    async def _start(self) -> _Link:
        self._child = await asyncio.to_thread(self._spawn)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                link = await self._connect()
            except OSError:
                if time.monotonic() > deadline or self._child.poll() is not None:
                    raise OSError(
                        f"the router does not start, see {self._directory / 'router.log'}"
                    ) from None
                await asyncio.sleep(START_LOOK_SECONDS)
                continue
            logger.info("router started pid=%d", link.pid)
            return link

    def _spawn(self) -> "subprocess.Popen[bytes]":
        """In a session of its own, so that it outlives the node process."""
        log = self._directory / "router.log"
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".old"))
        output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            return subprocess.Popen(
                [sys.executable, "-m", "pinode.router", str(self._directory)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
                env=_environment(),
            )
        finally:
            os.close(output)

    async def _end(self, pid: int, *, asks_first: bool) -> None:
        """Wait for a router to end; SIGTERM first if it was not told otherwise, SIGKILL at last."""
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            if asks_first:
                signal.pidfd_send_signal(handle, signal.SIGTERM)
            if not await _ends_within(handle, STOP_SECONDS):
                logger.warning("the router did not end by itself and is killed pid=%d", pid)
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                await _ends_within(handle, STOP_SECONDS)
        except ProcessLookupError:
            pass
        finally:
            os.close(handle)
            if self._child is not None:
                self._child.poll()

    # --- telling

    async def _keep_told(self, link: _Link) -> None:
        """Push what changes; returns when the router is gone."""
        self._problems = link.status.problems
        link.writer.write(encode_control(self._configure()))
        async with asyncio.TaskGroup() as tasks:
            pushing = tasks.create_task(self._push(link))
            await self._listen(link)
            pushing.cancel()

    async def _listen(self, link: _Link) -> None:
        try:
            while (message := await read_control(link.reader)) is not None:
                if isinstance(message, Status):
                    self._problems = message.problems
        except MalformedControl as error:
            logger.warning("the router said something unreadable reason=%s", error)

    async def _push(self, link: _Link) -> None:
        pushed: RouteTable | None = None
        settling = Settling(has_routes=link.status.has_routes)
        while True:
            revision = self._cluster.revision
            table = await self._table()
            may_push = settling.may_push(table, is_caught_up=self._is_caught_up(), now=time.monotonic())
            if may_push and table != pushed:
                pushed = table
                with contextlib.suppress(ConnectionError):  # it is gone, as the listening side sees as well
                    link.writer.write(encode_control(UseRoutes(table=table)))
                    await link.writer.drain()
            is_settled = may_push and self._is_caught_up()
            await self._cluster.changed(
                revision, timeout_seconds=CHANGE_SECONDS if is_settled else LOOK_AGAIN_SECONDS
            )

    async def _table(self) -> RouteTable:
        if self._is_caught_up():
            agreed = agreed_apps(self._cluster.state.registry)
            if agreed != self._agreed:
                self._agreed = agreed
                await self._note(agreed)
        return build(
            self._agreed,
            self._cluster.reports(),
            self._cluster.nodes(),
            self_id=self._cluster.node_id,
            first_port=self._cluster.settings.listen.app_ports.first,
        )

    async def _note(self, agreed: tuple[AgreedApp, ...]) -> None:
        try:
            await asyncio.to_thread(write_agreed, self._directory, agreed)
        except OSError as error:  # a full disk, say: only a start without any leader would miss it
            logger.warning("the routes were not noted reason=%s", error)

    def _configure(self) -> Configure:
        listen, files = self._cluster.settings.listen, self._certificates
        has_web = files.web_certificate is not None and files.web_key is not None
        return Configure(
            host=listen.apps.host,
            apps_port=listen.apps.port,
            router_host=listen.router.host,
            router_port=listen.router.port,
            domain=self._cluster.settings.apps.domain,
            node_certificate=str(files.node_certificate),
            node_key=str(files.node_key),
            authority=str(files.authority),
            apps_tls_host=listen.apps_tls.host,
            apps_tls_port=listen.apps_tls.port if has_web else 0,
            web_certificate=str(files.web_certificate) if has_web else "",
            web_key=str(files.web_key) if has_web else "",
        )

    def _let_go(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.writer.close()
        if self._child is not None:
            self._child.poll()


def _environment() -> dict[str, str]:
    """Only what Python needs to find the same packages; nothing of the node's own surroundings."""
    kept = ("PATH", "LANG", "PYTHONPATH", "VIRTUAL_ENV", "TZ")
    found = {name: os.environ[name] for name in kept if name in os.environ}
    package = str(Path(__file__).parents[2])
    paths = [package, *(path for path in found.get("PYTHONPATH", "").split(os.pathsep) if path)]
    return {**found, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


async def _ends_within(handle: int, seconds: float) -> bool:
    """Whether the process of a pidfd ends in time."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(handle, ended.set)
    try:
        async with asyncio.timeout(seconds):
            await ended.wait()
        return True
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(handle)
