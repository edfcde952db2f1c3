"""The doors: HTTPS, plain HTTP on the same port, the administrator's socket; and what passwords and guesses cost."""

import asyncio
import os
import socket
import ssl
import stat
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiohttp import ClientConnectorError, ClientSession, TCPConnector, UnixConnector

from pinode.errors import PinodeError
from pinode.local_door import LocalDoor, local_door
from pinode.rate_limit import RateLimit, TooMany
from pinode.settings import Address, Settings
from pinode.web.front_door import OPEN_AT_ONCE, FrontDoor, redirect
from pinode.web.passwords import Cost, Passwords
from pinode.web.server import WebServer, listening_at, socket_file
from tests.pinode.fake_cluster import FakeCluster
from tests.pinode.web_certificate import free_port, make_certificate
from tests.waiting import eventually


class Control:
    """What the node would do."""

    stopped: list[bool]

    def __init__(self) -> None:
        self.stopped = []

    def setup_code(self) -> str | None:
        return "ABCD-EFGH"

    def stop(self, *, everything: bool) -> int:
        self.stopped.append(everything)
        return 4711


@dataclass
class Served:
    cluster: FakeCluster
    control: Control
    port: int
    door: Path
    loaded_by: list[threading.Thread]
    task: asyncio.Task[None]

    def over_tls(self) -> ClientSession:
        return ClientSession(f"https://127.0.0.1:{self.port}", connector=TCPConnector(ssl=False))

    def on_the_node(self) -> ClientSession:
        return ClientSession("http://localhost", connector=UnixConnector(str(self.door)))


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    certificate, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    port, door, control = free_port(), tmp_path / "pinode.sock", Control()
    settings = Settings()
    settings = replace(settings, listen=replace(settings.listen, web=Address("127.0.0.1", port)))
    cluster = FakeCluster(settings=settings)
    loaded_by: list[threading.Thread] = []
    server = WebServer(
        cluster,
        ssl_context=context,
        ca_pem=certificate.read_bytes(),
        local_door=LocalDoor(path=door),
        control=control,
        on_loaded=lambda: loaded_by.append(threading.current_thread()),
    )
    task = asyncio.ensure_future(server.run())
    await eventually(door.is_socket)
    yield Served(cluster, control, port, door, loaded_by, task)
    task.cancel()
    await asyncio.wait({task})


async def test_https_answers_and_gives_out_the_authority(served: Served) -> None:
    async with served.over_tls() as web:
        health = await web.get("/healthz")
        authority = await (await web.get("/ca.pem")).text()
        login = await (await web.get("/register")).text()

    assert health.status == 200
    assert authority.startswith("-----BEGIN CERTIFICATE-----")
    assert "Welcome to home" in login


async def test_what_answers_is_loaded_for_the_first_visitor_and_not_on_the_event_loop(served: Served) -> None:
    before = list(served.loaded_by)

    async with served.on_the_node() as node, served.over_tls() as web:
        answers = await asyncio.gather(*(one.get("/healthz") for one in (node, web, node, web)))

    assert before == []
    assert [answer.status for answer in answers] == [200] * 4
    assert len(served.loaded_by) == 1
    assert served.loaded_by[0] is not threading.main_thread()


async def test_plain_http_is_sent_to_https_on_the_same_port_and_place(served: Served) -> None:
    async with ClientSession() as web:
        answer = await web.post(f"http://127.0.0.1:{served.port}/cluster?x=1", allow_redirects=False)

    assert answer.status == 308
    assert answer.headers["Location"] == f"https://127.0.0.1:{served.port}/cluster?x=1"


@pytest.mark.parametrize(
    "head, begins",
    [
        (b"GET /a HTTP/1.1\r\nHost: pi1\r\n\r\n", b"HTTP/1.1 308 Permanent Redirect\r\nLocation: https://pi1:8000/a\r\n"),
        (b"GET /a HTTP/1.1\r\nhost: [::1]:80\r\n\r\n", b"HTTP/1.1 308 Permanent Redirect\r\nLocation: https://[::1]:80/a"),
        (b"GET /a HTTP/1.1\r\nHost: a\tb\r\n\r\n", b"HTTP/1.1 400"),
        (b"GET /a HTTP/1.1\r\n\r\n", b"HTTP/1.1 400"),
        (b"GET http://evil/ HTTP/1.1\r\nHost: pi1\r\n\r\n", b"HTTP/1.1 400"),
        (b"GET /\x01 HTTP/1.1\r\nHost: pi1\r\n\r\n", b"HTTP/1.1 400"),
        (b"\x80\x00\xff" * 3000, b"HTTP/1.1 400"),
    ],
)  # fmt: skip
def test_a_redirect_names_only_a_host_and_a_path(head: bytes, begins: bytes) -> None:
    answer = redirect(head, port=8000)

    assert answer.startswith(begins)
    assert answer.count(b"\r\n\r\n") == 1


async def test_strangers_that_speak_nothing_known_or_nothing_at_all_do_not_stop_the_others(
    served: Served,
) -> None:
    silent = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(20)]
    _, broken = await asyncio.open_connection("127.0.0.1", served.port)
    broken.write(b"\x16\x03\x01\x00\x05hello")
    _, gone = await asyncio.open_connection("127.0.0.1", served.port)
    gone.close()

    async with served.over_tls() as web:
        answer = await web.get("/healthz")

    assert answer.status == 200
    assert not served.task.done()
    for _, writer in [*silent, (None, broken)]:
        writer.close()


async def test_on_the_socket_one_is_administrator_without_a_login(served: Served) -> None:
    async with served.on_the_node() as node:
        before = await (await node.get("/api/v1/me")).json()
        code = await (await node.get("/api/v1/local/setup-code")).json()
        served.cluster.add_user("ada")
        used = await (await node.get("/api/v1/local/setup-code")).json()
        created = await node.post("/api/v1/apps", json={"name": "blog"})
        owner = (await created.json())["owner"]

    assert (before["role"], before["by"]) == ("admin", "socket")
    assert (code, used) == ({"setup_code": "ABCD-EFGH"}, {"setup_code": None})
    assert (created.status, owner) == (201, "ada")


async def test_on_the_socket_the_node_is_told_to_stop(served: Served) -> None:
    async with served.on_the_node() as node:
        answer = await node.post("/api/v1/local/stop", json={"all": True})

        assert (answer.status, await answer.json()) == (202, {"pid": 4711})
    assert served.control.stopped == [True]


async def test_the_socket_is_the_owners_alone_and_goes_with_the_server(served: Served) -> None:
    mode = stat.S_IMODE(served.door.stat().st_mode)

    served.task.cancel()
    await asyncio.wait({served.task})

    assert mode == 0o600
    assert not served.door.exists()


async def test_the_server_stops_while_connections_are_open(served: Served) -> None:
    async with served.over_tls() as web:
        await (await web.get("/healthz")).read()

        served.task.cancel()
        done, _ = await asyncio.wait({served.task}, timeout=5)

        assert done
        with pytest.raises(ClientConnectorError):
            await web.get("/healthz")


def test_a_socket_left_by_a_killed_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pinode.sock"
    first = socket_file(LocalDoor(path=path))
    first.__enter__()

    with socket_file(LocalDoor(path=path)):
        assert path.is_socket()

    first.__exit__(None, None, None)


def test_under_the_system_unit_the_socket_is_in_run_for_the_group_and_the_data_directory_leads_there(
    tmp_path: Path,
) -> None:
    run, data = tmp_path / "run", tmp_path / "data"
    run.mkdir(), data.mkdir()
    group = 65534 if os.geteuid() == 0 else os.getgid()
    local = local_door(data, {"RUNTIME_DIRECTORY": str(run)}, system_folder=run)

    with socket_file(replace(local, group=group)):
        status = (run / "pinode.sock").stat()
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(data / "pinode.sock"))

    assert local.is_of_unit
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o660, group)
    assert [*run.iterdir(), *data.iterdir()] == []


def test_the_folder_of_another_unit_is_no_place_for_the_socket(tmp_path: Path) -> None:
    by_hand = local_door(tmp_path, {})
    by_another = local_door(tmp_path, {"RUNTIME_DIRECTORY": "/run/runner"})

    assert by_hand == by_another == LocalDoor(path=tmp_path / "pinode.sock")
    assert by_hand.mode == 0o600 and not by_hand.is_of_unit


def test_a_node_by_hand_after_one_of_the_unit_was_killed_opens_a_socket_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "pinode.sock"
    path.symlink_to(tmp_path / "gone" / "pinode.sock")

    with socket_file(LocalDoor(path=path)):
        assert path.is_socket() and not path.is_symlink()


def test_an_address_in_use_is_named_with_what_to_do() -> None:
    with listening_at(Address("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(PinodeError, match=f"cannot listen on 127.0.0.1:{port}") as refused:
            listening_at(Address("127.0.0.1", port)).__enter__()

    assert "[listen] web" in refused.value.hint


def test_a_socket_path_that_no_system_takes_is_named(tmp_path: Path) -> None:
    with pytest.raises(PinodeError, match="too long"):
        socket_file(LocalDoor(path=tmp_path / ("x" * 120))).__enter__()


async def test_a_password_matches_only_its_own_hash_whatever_it_cost() -> None:
    cheap, dear = Passwords(Cost(log2_n=4, r=1, p=1)), Passwords(Cost(log2_n=5, r=2, p=2))

    stored = await cheap.hash("vier zufällige wörter")

    assert b"zuf" not in stored
    assert await dear.matches("vier zufällige wörter", stored)
    assert not await dear.matches("vier zufällige wörte", stored)
    assert not await dear.matches("vier zufällige wörter", None)
    assert not await dear.matches("vier zufällige wörter", b"none")


async def test_a_hash_takes_at_most_19_mib() -> None:
    cost = Cost()

    assert 128 * cost.r * 2**cost.log2_n <= 19 * 1024 * 1024


def test_guesses_are_bounded_for_each_key_and_allowed_again_with_time() -> None:
    limit = RateLimit(burst=3, seconds_each=10)
    for _ in range(3):
        limit.take("a", now=100.0)

    with pytest.raises(TooMany) as refused:
        limit.take("a", now=100.0)
    limit.take("b", now=100.0)
    limit.take("a", now=100.0 + refused.value.retry_after_seconds)

    with pytest.raises(TooMany):
        limit.take("a", now=100.0 + refused.value.retry_after_seconds)


def test_the_memory_of_guesses_is_bounded() -> None:
    limit = RateLimit(burst=1, seconds_each=10, keys=100)

    for number in range(1000):
        limit.take(str(number), now=0.0)

    assert len(limit._due) == 100


async def test_a_full_house_turns_newcomers_away_and_lets_them_in_when_others_have_left() -> None:
    transports = [_Transport() for _ in range(OPEN_AT_ONCE)]
    door = FrontDoor(socket.socket(), asyncio.Protocol, ssl.create_default_context())
    for transport in transports:
        door._remember(transport)

    full = door._is_full()
    transports[0].is_gone = True

    assert full
    assert not door._is_full()


class _Transport(asyncio.BaseTransport):
    is_gone = False

    def is_closing(self) -> bool:
        return self.is_gone
