"""Which dyno gets a request: local ones first, others through their node's router, each request once."""

import asyncio
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pinode.peers.certificates import authority_certificate
from pinode.router.listeners import Listeners
from pinode.router.proxy import Proxy
from pinode.router.route_table import Route
from pinode.router.timings import RouterTimings
from tests.pinode.router_world import (
    OK,
    Credentials,
    RunningRouter,
    credentials,
    dyno,
    free_ports,
    get,
    local,
    post,
    router,
    table,
    whole_router,
)
from tests.waiting import eventually


@pytest.fixture
def authority() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture
def near(tmp_path: Path, authority: Ed25519PrivateKey) -> Credentials:
    return credentials(tmp_path, authority)


@pytest.fixture
def far(tmp_path: Path, authority: Ed25519PrivateKey) -> Credentials:
    return credentials(tmp_path, authority)


def behind(running: RunningRouter, node: Credentials, placement: int = 2) -> Route:
    return Route(placement=placement, node_id=node.node_id, host="127.0.0.1", router_port=running.router_port)


async def test_while_the_node_is_away_a_request_waits_longer_for_better_routes() -> None:
    timings = RouterTimings(starting_seconds=0, orphaned_seconds=10, drain_seconds=0)
    async with dyno() as app, router(table(expected=1), timings=timings) as running:
        running.proxy.routing.is_orphaned = True
        asking = asyncio.create_task(running.ask(get()))
        await eventually(lambda: running.proxy.routing.waiting)
        running.proxy.routing.use_routes(table(local(app.port)))

        assert (await asking).startswith(b"HTTP/1.1 200")
        assert running.proxy.routing.patience_seconds == 0


async def test_a_request_waits_for_a_dyno_that_is_starting() -> None:
    timings = RouterTimings(starting_seconds=5, drain_seconds=0)
    async with dyno() as app, router(table(expected=1), timings=timings) as running:
        asking = asyncio.create_task(running.ask(get()))
        await eventually(lambda: running.proxy.routing.waiting)
        running.proxy.routing.use_routes(table(local(app.port)))
        answer = await asking

    assert b"200 OK" in answer


async def test_a_dyno_that_refuses_is_skipped_and_the_others_take_turns() -> None:
    (closed,) = free_ports(1)
    async with dyno() as one, dyno() as two:
        async with router(table(local(closed, 1), local(one.port, 2), local(two.port, 3))) as running:
            answers = [await running.ask(post(b"x")) for _ in range(12)]

    assert all(b"200 OK" in answer for answer in answers)
    assert len(one.heads) + len(two.heads) == 12 and one.heads and two.heads


async def test_no_dyno_in_time_is_503_and_names_the_app() -> None:
    (closed,) = free_ports(1)
    async with router(table(local(closed))) as running:
        answer = await running.ask(get())

    assert answer.startswith(b"HTTP/1.1 503") and b"blog" in answer


async def test_a_request_that_may_have_run_is_not_run_again_but_a_safe_one_is() -> None:
    async def die(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with dyno(die) as broken, dyno() as well:
        async with router(table(local(broken.port, 1), local(well.port, 2))) as running:
            posted = [await running.ask(post(b"x")) for _ in range(2)]
            got = [await running.ask(get()) for _ in range(2)]

    assert sorted(answer[9:12] for answer in posted) == [b"200", b"502"]
    assert all(b"200 OK" in answer for answer in got)


async def test_a_kept_connection_that_the_dyno_closed_harms_no_request() -> None:
    async def once(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)  # as if it kept the connection; then it closes without a word
        await writer.drain()
        writer.close()

    async with dyno(once) as app, router(table(local(app.port))) as running:
        answers = [await running.ask(request) for request in (get(), get(), post(b"x"), get()) * 5]

    assert all(b"200 OK" in answer for answer in answers)


async def test_no_request_fails_over_twenty_route_changes_under_load() -> None:
    patient = RouterTimings(drain_seconds=0)  # as nodes have it
    async with dyno() as one, dyno() as two, router(table(local(one.port, 1)), timings=patient) as running:
        answers: list[bytes] = []
        done = asyncio.Event()

        async def load() -> None:
            while not done.is_set():
                request = get() if len(answers) % 2 else post(b"x")
                answers.append(await running.ask(request, seconds=20))

        async with asyncio.TaskGroup() as clients:
            for _ in range(4):
                clients.create_task(load())
            for change in range(20):
                seen = len(answers)
                app = (one, two)[change % 2]
                running.proxy.routing.use_routes(table(local(app.port, change + 2)))
                await eventually(lambda seen=seen: len(answers) >= seen + 8, within_seconds=20)
            done.set()

    assert [answer for answer in answers if b"200 OK" not in answer] == []
    assert one.heads and two.heads


async def test_a_dyno_of_another_node_is_reached_through_its_router(
    near: Credentials, far: Credentials
) -> None:
    async with dyno() as other, dyno() as wanted, whole_router(far) as there:
        there.proxy.routing.use_routes(table(local(other.port, 1), local(wanted.port, 2)))
        async with whole_router(near, table(behind(there, far))) as here:
            got = [await here.ask(get("/x", "X-Forwarded-For: 10.0.0.9")) for _ in range(3)]
            posted = await here.ask(post(b"hello" * 50_000))

    assert all(b"200 OK" in answer for answer in (*got, posted))
    assert other.heads == [] and len(wanted.heads) == 4
    assert b"X-Forwarded-For: 10.0.0.9, 127.0.0.1\r\n" in wanted.heads[0]
    assert b"pinode" not in wanted.heads[0].lower()


async def test_a_websocket_goes_through_two_routers(near: Credentials, far: Credentials) -> None:
    async def switch(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        while data := await reader.read(100):
            writer.write(data.upper())

    async with dyno(switch) as app, whole_router(far, table(local(app.port, 2))) as there:
        async with whole_router(near, table(behind(there, far))) as here:
            reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
            writer.write(get("/ws", "Connection: Upgrade", "Upgrade: websocket", close=False))
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"hello")
            echoed = await reader.readexactly(5)
            writer.close()

    assert echoed == b"HELLO"


async def test_a_local_dyno_is_preferred(near: Credentials, far: Credentials) -> None:
    async with dyno() as here_dyno, dyno() as there_dyno, whole_router(far) as there:
        there.proxy.routing.use_routes(table(local(there_dyno.port, 2)))
        async with whole_router(near, table(behind(there, far), local(here_dyno.port, 1))) as here:
            for _ in range(4):
                await here.ask(get())

    assert len(here_dyno.heads) == 4 and there_dyno.heads == []


async def test_a_router_that_has_lost_the_dyno_refuses_and_the_request_goes_elsewhere(
    near: Credentials, far: Credentials
) -> None:
    async with dyno() as app, whole_router(far, table(local(app.port, 3))) as there:
        routes = table(behind(there, far, 2), behind(there, far, 3))
        async with whole_router(near, routes) as here:
            answers = [await here.ask(post(b"x")) for _ in range(4)]

    assert all(b"200 OK" in answer for answer in answers)
    assert len(app.heads) == 4


async def test_a_router_that_does_not_acknowledge_is_left_for_another_within_a_second(
    near: Credentials, far: Credentials
) -> None:
    """A partition as seen from here: the connection stands, and nothing comes back."""
    (silent_port,) = free_ports(1)
    connections = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)

    silent = await asyncio.start_server(accept, "127.0.0.1", silent_port)
    route = Route(placement=9, node_id="f" * 16, host="127.0.0.1", router_port=silent_port)
    timings = RouterTimings(connect_seconds=0.1, acknowledge_seconds=0.1, avoid_seconds=60, drain_seconds=0)
    async with dyno() as app, whole_router(far, table(local(app.port, 2))) as there:
        async with whole_router(near, table(route, behind(there, far)), timings=timings) as here:
            answers = [await here.ask(post(b"x")) for _ in range(5)]
    silent.close()

    assert all(b"200 OK" in answer for answer in answers)
    assert len(connections) <= 1, "it was asked again while others answered"
    for writer in connections:
        writer.close()


async def test_a_router_that_falls_silent_with_connections_open_costs_one_request_half_a_second(
    near: Credentials, far: Credentials, tmp_path: Path, authority: Ed25519PrivateKey
) -> None:
    """As when the cable is pulled: a request that was not acknowledged was not handed on, and goes elsewhere."""
    mute = credentials(tmp_path, authority)
    heard = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(-1))
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(mute.certificate, mute.key)
    silent = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    port = silent.sockets[0].getsockname()[1]
    route = Route(placement=9, node_id=mute.node_id, host="127.0.0.1", router_port=port)
    timings = RouterTimings(acknowledge_seconds=0.1, avoid_seconds=60, drain_seconds=0)
    async with dyno() as app, whole_router(far, table(local(app.port, 2))) as there:
        async with whole_router(near, table(route, behind(there, far)), timings=timings) as here:
            answers = [await here.ask(post(b"secret body")) for _ in range(4)]
            await eventually(lambda: heard)
    silent.close()

    assert all(b"200 OK" in answer for answer in answers) and len(app.heads) == 4
    assert len(heard) == 1 and heard[0].startswith(b"POST ") and b"secret body" not in heard[0]


async def test_a_router_with_another_nodes_certificate_gets_no_request(
    near: Credentials, far: Credentials, tmp_path: Path, authority: Ed25519PrivateKey
) -> None:
    stranger = credentials(tmp_path, authority)
    async with dyno() as app, whole_router(stranger, table(local(app.port, 2))) as there:
        async with whole_router(near, table(behind(there, far))) as here:
            answer = await here.ask(get())

    assert answer.startswith(b"HTTP/1.1 503")
    assert app.heads == []


async def test_whoever_has_no_certificate_of_this_cluster_is_not_heard(
    far: Credentials, tmp_path: Path
) -> None:
    stranger = credentials(tmp_path, Ed25519PrivateKey.generate())
    async with dyno() as app, whole_router(far, table(local(app.port, 2))) as there:
        async with whole_router(stranger, table(behind(there, far))) as here:
            answer = await here.ask(get())

    assert answer.startswith(b"HTTP/1.1 503")
    assert app.heads == []


async def test_after_a_rotation_routers_of_the_new_authority_are_heard_at_the_open_port_and_others_not(
    far: Credentials, near: Credentials, tmp_path: Path
) -> None:
    """An authority that a TLS context has once loaded is believed by it for ever: there must be another one."""
    newer = Ed25519PrivateKey.generate()
    (tmp_path / "new").mkdir()
    renewed = credentials(tmp_path / "new", newer)
    proxy = Proxy(RouterTimings(drain_seconds=0))
    listeners = Listeners(proxy)
    apps_port, router_port = free_ports(2)
    async with dyno() as app:
        routes = table(local(app.port, 2))
        proxy.routing.use_routes(routes)
        listeners.configure(far.configure(apps_port=apps_port, router_port=router_port))
        await listeners.apply(routes)
        there = RunningRouter(proxy, apps_port, router_port)
        async with whole_router(near, table(behind(there, far))) as here:
            before = await here.ask(get())
        listeners.configure(renewed.configure(apps_port=apps_port, router_port=router_port))

        authorities = Path(near.authority).read_text() + authority_certificate(newer)
        Path(near.authority).write_text(authorities)  # it believes the new one, and is of the old one
        async with whole_router(near, table(behind(there, renewed))) as here:
            of_the_old = await here.ask(get())
        peer = credentials(tmp_path / "new", newer)
        async with whole_router(peer, table(behind(there, renewed))) as here:
            of_the_new = await here.ask(get())
    listeners.close()
    await proxy.drain()

    assert [answer[:12] for answer in (before, of_the_old, of_the_new)] == [
        b"HTTP/1.1 200",
        b"HTTP/1.1 503",
        b"HTTP/1.1 200",
    ]
