"""The router as a process of its own: started, found again, replaced, ended, and what it needs."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pinode.apps.commands import CreateApp, DestroyApp
from pinode.router.control_socket import connect_in, read_control
from pinode.router.router_process import RouterCertificates, RouterProcess
from pinode.settings import Address, ListenSettings, PortRange, Settings
from tests.pinode.fake_cluster import FakeCluster
from tests.pinode.router_world import credentials, dyno, free_ports, get
from tests.waiting import eventually


class Node:
    """A node's side of one router."""

    def __init__(self, directory: Path) -> None:
        apps, tls, hop, first = free_ports(4)
        listen = ListenSettings(
            apps=Address("127.0.0.1", apps),
            apps_tls=Address("127.0.0.1", tls),
            router=Address("127.0.0.1", hop),
            app_ports=PortRange(first, first + 5),
        )
        self.directory = directory / ("a" * 120) / "router"  # longer than a socket's path may be
        self.cluster = FakeCluster(nodes=["pi1"], settings=Settings(listen=listen))
        self.cluster.add_user("ada")
        own = credentials(directory, Ed25519PrivateKey.generate())
        self.certificates = RouterCertificates(
            node_certificate=Path(own.certificate), node_key=Path(own.key), authority=Path(own.authority)
        )
        self.is_caught_up = True
        self.pid = 0

    def deploy(self, port: int) -> None:
        """The app `blog` with one dyno here that answers on a port."""
        self.cluster.apply(CreateApp(name="blog", owner="ada"))
        version = self.cluster.complete_build(self.cluster.start_build("blog"))
        placement = self.cluster.bring_up("blog", version)
        self.cluster.report(placement, "up", port=port)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RouterProcess]:
        process = RouterProcess(
            self.cluster,
            directory=self.directory,
            certificates=self.certificates,
            is_caught_up=lambda: self.is_caught_up,
        )
        task = asyncio.create_task(process.run())
        try:
            await eventually(lambda: process._link is not None, within_seconds=10)
            assert process._link is not None
            self.pid = process._link.pid
            yield process
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def ask(self, port: int | None = None) -> bytes:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port or self.cluster.settings.listen.apps.port
        )
        writer.write(get())
        answer = await reader.read(-1)
        writer.close()
        return answer

    def answers(self, port: int | None = None) -> Callable[[], "asyncio.Future[bool]"]:
        async def is_ok() -> bool:
            return b"200 OK" in await self.ask(port)

        return is_ok  # type: ignore[return-value]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    made = Node(tmp_path)
    made.directory.mkdir(parents=True)
    yield made
    if made.pid:
        with suppress(ProcessLookupError):
            os.kill(made.pid, signal.SIGKILL)


async def test_the_router_serves_apps_by_name_and_by_port_and_closes_the_ports_of_destroyed_ones(
    node: Node,
) -> None:
    first = node.cluster.settings.listen.app_ports.first
    async with dyno() as app, node.running() as process:
        node.deploy(app.port)
        await eventually(node.answers())
        await eventually(node.answers(first))
        node.cluster.apply(DestroyApp(name="blog", actor="ada"))
        await eventually(lambda: not _is_open(first))
        assert b"404" in await node.ask()
        await process.stop()

    assert not Path(f"/proc/{node.pid}").exists()


async def test_the_router_outlives_the_node_and_is_found_again_with_its_routes(node: Node) -> None:
    async with dyno() as app:
        async with node.running():
            node.deploy(app.port)
            await eventually(node.answers())
        first = node.pid
        assert b"200 OK" in await node.ask()
        node.is_caught_up, rows = False, dict(node.cluster.rows)
        node.cluster.rows.clear()  # a node process that begins has heard of no dyno yet
        async with node.running() as process:
            assert node.pid == first
            assert b"200 OK" in await node.ask()
            node.is_caught_up = True
            node.cluster.note_change()
            assert b"200 OK" in await node.ask()
            node.cluster.rows.update(rows)
            node.cluster.note_change()
            assert b"200 OK" in await node.ask()
            await process.stop()


async def test_a_killed_router_is_started_again(node: Node) -> None:
    async with dyno() as app, node.running() as process:
        node.deploy(app.port)
        await eventually(node.answers())
        os.kill(node.pid, signal.SIGKILL)
        await eventually(
            lambda: process._link is not None and process._link.pid != node.pid, within_seconds=10
        )
        await eventually(node.answers())
        await process.stop()


async def test_a_port_that_somebody_else_holds_is_said_and_the_others_work(node: Node) -> None:
    first = node.cluster.settings.listen.app_ports.first
    squatter = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", first)
    async with dyno() as app, node.running() as process:
        node.deploy(app.port)
        await eventually(node.answers())
        await eventually(lambda: process.warnings)
        said = process.warnings
        squatter.close()
        await process.stop()

    assert len(said) == 1 and f"127.0.0.1:{first}" in said[0]


async def test_a_node_without_leader_routes_to_what_was_agreed_last(node: Node) -> None:
    async with dyno() as app:
        async with node.running() as process:
            node.deploy(app.port)
            await eventually(node.answers())
            await process.stop()
        node.is_caught_up = False
        async with node.running() as process:
            await eventually(node.answers())
            await process.stop()


async def test_the_router_is_small(node: Node) -> None:
    async with dyno() as app, node.running() as process:
        node.deploy(app.port)
        await eventually(node.answers())
        status = Path(f"/proc/{node.pid}/status").read_text()
        modules = await asyncio.to_thread(_maps, node.pid)
        await process.stop()

    rss_kib = int(status.partition("VmRSS:")[2].split()[0])
    assert rss_kib <= 30 * 1024
    assert "aiohttp" not in modules and "cryptography" not in modules


def _maps(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def _is_open(port: int) -> bool:
    import socket

    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


async def test_a_router_that_ends_while_nodes_talk_to_it_logs_no_error(node: Node, tmp_path: Path) -> None:
    log = tmp_path / "said"
    with log.open("wb") as output:
        router = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pinode.router", str(node.directory), stderr=output
        )
    await eventually(lambda: b"router runs" in log.read_bytes(), within_seconds=10)
    reader, writer = await connect_in(node.directory, timeout_seconds=5)
    await read_control(reader)

    router.terminate()
    code = await asyncio.wait_for(router.wait(), 10)
    writer.close()

    said = log.read_text()
    assert code == 0 and "router ended" in said
    assert "Traceback" not in said and "ERROR" not in said
