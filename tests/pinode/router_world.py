"""A router inside the test's own event loop, dynos that answer by script, and raw requests."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pinode.peers.certificates import authority_certificate, node_id_of, peer_certificate, private_pem
from pinode.router.client_connection import ClientConnection
from pinode.router.control_codec import Configure
from pinode.router.door import Door
from pinode.router.listeners import Listeners
from pinode.router.proxy import Proxy
from pinode.router.route_table import AppRoutes, Route, RouteTable
from pinode.router.timings import RouterTimings

APP = "blog"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Handler = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Dyno:
    """A listening socket with a script; `heads` are the request heads that reached it."""

    port: int
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0


async def say_ok(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


@asynccontextmanager
async def dyno(handler: Handler = say_ok) -> AsyncIterator[Dyno]:
    """A dyno whose `handler` is called for every request head; it keeps connections open."""
    found = Dyno(port=0)
    writers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections += 1
        writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                found.heads.append(head)
                await handler(head, reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for writer in writers:
            writer.close()


def table(*routes: Route, app: str = APP, port: int = 9000, expected: int | None = None) -> RouteTable:
    return RouteTable(
        (AppRoutes(app, port, expected=len(routes) if expected is None else expected, routes=routes),)
    )


def local(port: int, placement: int = 1) -> Route:
    return Route(placement=placement, node_id="self", host="127.0.0.1", router_port=0, local_port=port)


@dataclass
class RunningRouter:
    proxy: Proxy
    port: int
    router_port: int = 0

    async def ask(self, request: bytes, *, seconds: float = 5) -> bytes:
        """Send raw bytes; everything that comes back until the router closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        async with asyncio.timeout(seconds):
            writer.write(request)
            try:
                return await reader.read(-1)
            except ConnectionError:
                return b""
            finally:
                writer.close()


@asynccontextmanager
async def router(
    routes: RouteTable | None = None, *, timings: RouterTimings | None = None, door: Door | None = None
) -> AsyncIterator[RunningRouter]:
    """A router on a free port, which takes apps by host name."""
    proxy = Proxy(timings or RouterTimings(starting_seconds=0.3, linger_seconds=0.1, drain_seconds=0))
    proxy.routing.use_routes(routes or RouteTable())
    shown = door or Door(port=8080)
    server = await asyncio.get_running_loop().create_server(
        lambda: ClientConnection(proxy, shown), "127.0.0.1", 0
    )
    try:
        yield RunningRouter(proxy, server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await proxy.drain()


def get(path: str = "/", *headers: str, host: str = f"{APP}.local", close: bool = True) -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *headers, *(["Connection: close"] if close else [])]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def post(body: bytes, *headers: str) -> bytes:
    lines = [f"POST /post HTTP/1.1\r\nHost: {APP}.local", *headers, "Connection: close"]
    return ("\r\n".join(lines) + f"\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


@dataclass(frozen=True)
class Credentials:
    """Files of one node, under an authority."""

    node_id: str
    certificate: str
    key: str
    authority: str

    def configure(self, *, apps_port: int, router_port: int, host: str = "127.0.0.1") -> Configure:
        return Configure(
            host=host,
            apps_port=apps_port,
            router_host=host,
            router_port=router_port,
            domain="local",
            node_certificate=self.certificate,
            node_key=self.key,
            authority=self.authority,
        )


def credentials(directory: Path, authority: Ed25519PrivateKey) -> Credentials:
    """A new node's key and certificate."""
    key = Ed25519PrivateKey.generate()
    node_id = node_id_of(key.public_key())
    certificate_file, key_file = directory / f"{node_id}.crt", directory / f"{node_id}.key"
    authority_file = directory / f"{node_id}.authority"
    authority_file.write_text(authority_certificate(authority))
    certificate_file.write_text(peer_certificate(key, authority))
    key_file.write_bytes(private_pem(key))
    return Credentials(node_id, str(certificate_file), str(key_file), str(authority_file))


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for sock in sockets:
        sock.bind(("127.0.0.1", 0))
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


@asynccontextmanager
async def whole_router(
    node: Credentials, routes: RouteTable | None = None, *, timings: RouterTimings | None = None
) -> AsyncIterator[RunningRouter]:
    """A router with all its listeners, as its process has them."""
    apps_port, router_port = free_ports(2)
    proxy = Proxy(timings or RouterTimings(starting_seconds=1, linger_seconds=0.1, drain_seconds=0))
    listeners = Listeners(proxy)
    listeners.configure(node.configure(apps_port=apps_port, router_port=router_port))
    proxy.routing.use_routes(routes or RouteTable())
    await listeners.apply(RouteTable())
    assert not listeners.problems
    try:
        yield RunningRouter(proxy, apps_port, router_port)
    finally:
        listeners.close()
        await proxy.drain()
