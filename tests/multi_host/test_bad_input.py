"""Bad input (contract §7) at every door of a real node: refused in words that name it, and nothing changes."""

import asyncio
import http.client
import json
import os
import secrets
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pinode.peers.tls import PEER_NAME, PEER_PROTOCOL, QUEUE_PROTOCOL, PeerFiles, peer_client_context
from replicated_queue import QueueClient
from replicated_queue.client_link import SERVER_NAME
from replicated_queue.errors import QueueError
from tests.multi_host.three_nodes import PASSWORD, Nodes, running_nodes

pytestmark = [pytest.mark.multi_host, pytest.mark.timeout(240)]

GOOD_URL = "https://git.example.org/joe/blog.git"
LONG = "https://git.example.org/" + "a" * 100_000
BAD_URLS = {  # what nobody may have built, and the beginning of it that the message names
    "-u": "-u",
    "--upload-pack=touch /tmp/x": "--upload-pack=touch /tmp/x",
    "-oProxyCommand=x@host:path": "-oProxyCommand=x@host:path",
    "ssh://-oProxyCommand=x/y": "ssh://-oProxyCommand=x/y",
    "ext::sh -c touch% /tmp/x": "ext::sh -c touch% /tmp/x",
    "ext::id": "ext::id",
    "fd::17": "fd::17",
    "git://host/x.git": "git://host/x.git",
    "ftp://host/x.git": "ftp://host/x.git",
    "/etc": "/etc",
    "../up": "../up",
    "C:\\x": "C:\\x",
    "https://host": "https://host",
    "https://git.example.org/a\nb": "a\\nb",
    "https://git.example.org/a\x1b[2Jb": "a\\x1b[2Jb",
    "https://git.example.org/a\0b": "a\\x00b",
    "https://git.example.org/x\u202etig": "\\u202etig",
    LONG: LONG[:100],
}
MEMBERS_ONLY = ["file:///etc", "http://127.0.0.1/x", "http://localhost/x", "http://[::1]/x", "http://2130706433/x",
                "http://0x7f.1/x", "http://169.254.169.254/latest", "git@127.1:x", "ssh://[fe80::1]/x",
                "http://[::ffff:127.0.0.1]/x"]  # fmt: skip
BAD_REFS = [
    "-x",
    "--upload-pack=x",
    "a..b",
    "a b",
    "a~1",
    "a^",
    "a:b",
    "a\\b",
    "/a",
    "a/",
    "a.lock",
    "@{1}",
    ".a",
    "a\nb",
]
BAD_DIRS = ["..", "../x", "a/../../b", "/etc", "-x", "a\0b", ".git"]
BAD_APPS = [
    "",
    "-rf",
    "Blog",
    "1blog",
    "a" * 31,
    "../etc",
    "a\nb",
    "a;reboot",
    "$(id)",
    "`id`",
    "bl\xf6g",
    "\u0430pp",
]
BAD_USERS = ["", "-rf", "Joe", "../etc", "a\nb", "$(id)", "a b", "j\xf6"]
BAD_TOPICS = ["-mail", "a b", "\xe4", "x" * 201, "a\nb", "<b>"]
BAD_CONFIG = ["", "1A", "A-B", "A=B", "A B", "A\nB", "A\0B", "\xc4"]
BAD_TYPES = ["", "a b", "a/b", "x" * 64, "a\nb", "$(id)"]
BAD_JSON = {
    b"{": "not JSON", b"[]": "[]", b"null": "null", b"\xff\xfe{}": "not JSON in UTF-8", b'{"name": NaN}': "NaN",
    b"[" * 50_000: "deeply nested", b'{"name": 1}': "1", b'{"name": "x", "extra": 1}': "'extra'",
    b'{"name": "\\ud800"}': "ud800", b'{"name": "x"': "not JSON",
}  # fmt: skip
GARBAGE = [b"", b"\x00", b"\xc1" * 40, b"GET / HTTP/1.1\r\n\r\n", b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\xc1",
           b"\x00\x00\x00\x03\x93\x01\x01", b"\x7f\xff\xff\xff" + b"x" * 4096, Random(2000).randbytes(2000)]  # fmt: skip


@dataclass
class Answer:
    """What a door said."""

    status: int
    document: Any

    @property
    def message(self) -> str:
        return str(self.document["error"]["message"])


class Doors:
    """One node and the ways to it: HTTPS as a member, its socket as the administrator, the command line."""

    def __init__(self, nodes: Nodes, folder: Path) -> None:
        self.nodes = nodes
        self.node = nodes.nodes[0]
        self.data = self.node.folder / "data"
        self.ca = folder / "ca.pem"
        trusting = ssl._create_unverified_context()
        asked = http.client.HTTPSConnection(
            self.node.host, self.node.ports["web"], context=trusting, timeout=10
        )
        asked.request("GET", "/ca.pem")
        self.ca.write_bytes(asked.getresponse().read())
        asked.close()
        self.context = ssl.create_default_context(cafile=str(self.ca))
        self.tokens: dict[str, str] = {}

    def enlist(self, name: str) -> None:
        """A member with a token."""
        self.local("POST", "/api/v1/users", {"username": name, "password": PASSWORD})
        answer = self.https("POST", "/api/v1/sessions", {"username": name, "password": PASSWORD}, by=None)
        self.tokens[name] = answer.document["token"]

    def https(
        self, method: str, path: str, body: Any = None, *, by: str | None = "eve", token: str | None = None
    ) -> Answer:
        """The API as a program far away uses it."""
        connection = http.client.HTTPSConnection(
            self.node.host, self.node.ports["web"], context=self.context, timeout=10
        )
        token = token if token is not None else self.tokens[by] if by else None
        return _ask(connection, method, path, body, {"Authorization": f"Bearer {token}"} if token else {})

    def local(self, method: str, path: str, body: Any = None) -> Answer:
        """The API through the node's socket."""
        connection = http.client.HTTPConnection("localhost", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.data / "pinode.sock"))
        return _ask(connection, method, path, body, {})

    def command(self, *words: str, token: str | None = None) -> tuple[int, str]:
        """`pinode …`: its exit code and what it says; as administrator, or with a token over HTTPS."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PINODE_")}
        where = ["--config", str(self.node.folder / "cluster.toml")]
        if token is not None:
            where = ["--server", self.node.web_url]
            environment |= {"PINODE_TOKEN": token, "PINODE_CA": str(self.ca)}
        done = subprocess.run(
            [sys.executable, "-m", "pinode", *where, "--no-input", *words],
            capture_output=True, text=True, env=environment, timeout=30, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr

    def state(self) -> object:
        """Everything that a refused request must leave as it was."""
        status = self.local("GET", "/api/v1/status").document
        apps = self.local("GET", "/api/v1/apps").document["items"]
        builds = self.local("GET", "/api/v1/apps/blog/builds").document["items"]
        config = self.local("GET", "/api/v1/apps/blog/config?reveal=1").document
        for app in apps:
            del app["age_seconds"]
        names = [node["name"] for node in status["nodes"]]
        return status["cluster"]["commit_index"], apps, builds, config, names, status["queue"]


def _ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: Any, headers: dict[str, str]
) -> Answer:
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    try:
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    return Answer(answer.status, json.loads(text) if text else None)


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    with running_nodes(count=1) as nodes:
        made = Doors(nodes, tmp_path_factory.mktemp("ca"))
        made.enlist("eve")
        made.enlist("bob")
        created = made.https("POST", "/api/v1/apps", {"name": "blog", "git_url": GOOD_URL})
        assert created.status == 201
        yield made


@pytest.fixture
def unchanged(doors: Doors) -> Iterator[None]:
    """The cluster's state is the same afterwards, to the last log entry."""
    before = doors.state()
    yield
    assert doors.state() == before


def named(value: str) -> str:
    """A value as messages show it."""
    shown = value[:20]
    return shown if shown.isprintable() else ascii(shown)[1:-1]


def refuses(answer: Answer, value: str) -> None:
    """A 4xx whose message names the value."""
    assert 400 <= answer.status < 500, answer
    message = answer.message.replace("\\\\", "\\")
    assert value.replace("\\\\", "\\") in message, message


@pytest.mark.parametrize("url", BAD_URLS, ids=lambda url: ascii(url[:24]))
def test_repository_urls_that_nobody_may_have_built(doors: Doors, unchanged: None, url: str) -> None:
    for ask in (doors.https, doors.local):
        refuses(ask("POST", "/api/v1/apps", {"name": "wiki", "git_url": url}), BAD_URLS[url])
        refuses(ask("POST", "/api/v1/apps/blog/builds", {"git_url": url}), BAD_URLS[url])


@pytest.mark.parametrize("url", MEMBERS_ONLY)
def test_repository_urls_that_only_administrators_may_have_built(
    doors: Doors, unchanged: None, url: str
) -> None:
    refuses(doors.https("POST", "/api/v1/apps", {"name": "wiki", "git_url": url}), url)
    refuses(doors.https("POST", "/api/v1/apps/blog/builds", {"git_url": url}), url)


@pytest.mark.parametrize("url", ["-u", "--upload-pack=x", "ext::id", "/etc", "https://h/a\x1bb", LONG],
                         ids=lambda url: ascii(url[:20]))  # fmt: skip
def test_the_command_line_takes_no_strange_repository_url(doors: Doors, unchanged: None, url: str) -> None:
    for token in (None, doors.tokens["eve"]):
        code, said = doors.command("deploy", "-a", "blog", "--", url, token=token)

        assert code == 2
        assert named(url) in said


@pytest.mark.parametrize(
    ("field", "value"), [("ref", ref) for ref in BAD_REFS] + [("dir", name) for name in BAD_DIRS]
)
def test_refs_and_folders_that_git_would_misread(
    doors: Doors, unchanged: None, field: str, value: str
) -> None:
    for ask in (doors.https, doors.local):
        refuses(ask("POST", "/api/v1/apps/blog/builds", {field: value}), named(value))


@pytest.mark.parametrize("ref", ["--upload-pack=x", "a..b", "a b"])
def test_the_command_line_takes_no_strange_ref(doors: Doors, unchanged: None, ref: str) -> None:
    code, said = doors.command("deploy", "-a", "blog", f"--ref={ref}", GOOD_URL)

    assert code == 2
    assert ref in said


@pytest.mark.parametrize("name", BAD_APPS, ids=ascii)
def test_names_that_no_app_can_have(doors: Doors, unchanged: None, name: str) -> None:
    for ask in (doors.https, doors.local):
        refuses(ask("POST", "/api/v1/apps", {"name": name}), named(name))
    code, said = doors.command("apps:create", "--", name)

    assert code == 2
    assert named(name) in said.replace("\\\\", "\\")


@pytest.mark.parametrize("name", BAD_USERS, ids=ascii)
def test_names_that_no_user_can_have(doors: Doors, unchanged: None, name: str) -> None:
    refuses(doors.local("POST", "/api/v1/users", {"username": name, "password": PASSWORD}), named(name))
    assert doors.https("POST", "/api/v1/users", {"username": name, "password": PASSWORD}).status == 403


@pytest.mark.parametrize("name", BAD_CONFIG, ids=ascii)
def test_names_that_no_config_var_can_have(doors: Doors, unchanged: None, name: str) -> None:
    for ask in (doors.https, doors.local):
        refuses(ask("PATCH", "/api/v1/apps/blog/config", {name: "x"}), named(name))
    if "=" not in name and "\0" not in name:
        code, said = doors.command("config:set", "-a", "blog", f"{name}=x")

        assert code == 2
        assert named(name) in said.replace("\\\\", "\\")


@pytest.mark.parametrize("name", BAD_TYPES, ids=ascii)
def test_names_that_no_process_type_can_have(doors: Doors, unchanged: None, name: str) -> None:
    for ask in (doors.https, doors.local):
        refuses(ask("PATCH", "/api/v1/apps/blog/formation", {name: 1}), named(name))
    code, said = doors.command("ps:scale", "-a", "blog", f"{name}=1")

    assert code == 2
    assert named(name) in said.replace("\\\\", "\\")


@pytest.mark.parametrize("name", BAD_TOPICS, ids=ascii)
async def test_names_that_no_topic_can_have(doors: Doors, unchanged: None, name: str) -> None:
    refuses(await asyncio.to_thread(doors.https, "POST", "/api/v1/queue/topics", {"name": name}), named(name))
    far = QueueClient([_peer(doors)], token=doors.tokens["eve"], ca=doors.ca)
    near = QueueClient.local(doors.data)
    for client in (far, near):
        async with client as queue:
            with pytest.raises(QueueError) as refused:
                await queue.put(name, b"x")

            assert named(name) in str(refused.value).replace("\\\\", "\\")


async def test_topics_of_the_platform_are_closed_to_members_at_every_door(
    doors: Doors, unchanged: None
) -> None:
    answer = await asyncio.to_thread(
        doors.https, "POST", "/api/v1/queue/topics/pinode.builds/jobs", {"data": "x"}
    )
    async with QueueClient([_peer(doors)], token=doors.tokens["eve"], ca=doors.ca) as queue:
        for ask in (queue.put("pinode.builds", b"x"), queue.reserve("pinode.builds", wait=0)):
            with pytest.raises(QueueError, match=r"pinode\.builds"):
                await ask

    assert (answer.status, "pinode.builds" in answer.message) == (403, True)


@pytest.mark.parametrize("body", BAD_JSON, ids=lambda body: ascii(body[:20]))
def test_bodies_that_are_no_json_object_with_the_right_fields(
    doors: Doors, unchanged: None, body: bytes
) -> None:
    for ask in (doors.https, doors.local):
        refuses(ask("POST", "/api/v1/apps", body), BAD_JSON[body])


async def test_bodies_and_jobs_over_their_bounds(doors: Doors, unchanged: None) -> None:
    large = await asyncio.to_thread(doors.https, "POST", "/api/v1/apps", b"x" * 1_100_000)
    job = await asyncio.to_thread(doors.https, "POST", "/api/v1/queue/topics/t/jobs", {"data": "x" * 65_537})
    value = await asyncio.to_thread(doors.https, "PATCH", "/api/v1/apps/blog/config", {"KEY": "x" * 70_000})
    async with QueueClient([_peer(doors)], token=doors.tokens["eve"], ca=doors.ca) as queue:
        with pytest.raises(QueueError, match="65537"):
            await queue.put("t", b"x" * 65_537)

    assert (large.status, "1 MiB" in large.message) == (413, True)
    assert (job.status, "65537" in job.message) == (413, True)
    assert value.status in (400, 413) and "KEY" in value.message


def test_a_body_that_was_packed_to_grow_past_the_bound_is_refused(doors: Doors, unchanged: None) -> None:
    import gzip

    connection = http.client.HTTPSConnection(
        doors.node.host, doors.node.ports["web"], context=doors.context, timeout=20
    )
    headers = {"Authorization": f"Bearer {doors.tokens['eve']}", "Content-Encoding": "gzip"}
    answer = _ask(connection, "POST", "/api/v1/apps", gzip.compress(b" " * 300_000_000), headers)

    refuses(answer, "'gzip'")
    assert doors.node.process and peak_bytes(doors.node.process.pid) < 200_000_000


def peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


@pytest.mark.parametrize(
    "token", ["x", "x" * 43, "x" * 10_000, "eyJhbGciOiJub25lIn0.e30."], ids=lambda token: token[:8]
)
async def test_tokens_that_open_nothing(doors: Doors, unchanged: None, token: str) -> None:
    answer = await asyncio.to_thread(doors.https, "GET", "/api/v1/apps", token=token)
    code, said = await asyncio.to_thread(doors.command, "apps", token=token)
    async with QueueClient([_peer(doors)], token=token, ca=doors.ca, timeout=3) as queue:
        with pytest.raises(QueueError, match="token"):
            await queue.put("t", b"x")

    assert (answer.status, code) == (401, 4)
    assert "token is wrong or expired" in answer.message and "token is wrong or expired" in said


def test_a_token_given_back_opens_nothing_any_more(doors: Doors) -> None:
    login = {"username": "bob", "password": PASSWORD}
    token = doors.https("POST", "/api/v1/sessions", login, by=None).document["token"]

    assert doors.https("GET", "/api/v1/me", token=token).status == 200
    assert doors.https("DELETE", "/api/v1/sessions", token=token).status == 204
    assert doors.https("GET", "/api/v1/me", token=token).status == 401


@pytest.mark.parametrize(("method", "rest", "body"), [
    ("GET", "", None), ("DELETE", "", None), ("GET", "/config?reveal=1", None), ("PATCH", "/config", {"A": "b"}),
    ("PATCH", "/formation", {"web": 3}), ("POST", "/builds", {}), ("GET", "/logs", None), ("GET", "/builds", None),
])  # fmt: skip
def test_another_users_token_does_not_reach_an_app(
    doors: Doors, unchanged: None, method: str, rest: str, body: Any
) -> None:
    answer = doors.https(method, f"/api/v1/apps/blog{rest}", body, by="bob")

    assert answer.status == 403
    assert "'blog' belongs to somebody else" in answer.message


def test_another_users_token_at_the_command_line(doors: Doors, unchanged: None) -> None:
    for words in (("config", "-a", "blog", "--reveal"), ("apps:destroy", "-a", "blog", "--confirm", "blog")):
        code, said = doors.command(*words, token=doors.tokens["bob"])

        assert code == 4, said
        assert "'blog' belongs to somebody else" in said


def test_the_doors_of_the_node_itself_are_closed_over_https(doors: Doors, unchanged: None) -> None:
    assert doors.https("GET", "/api/v1/local/setup-code").status == 404
    assert doors.https("POST", "/api/v1/local/stop", {"all": True}).status == 404


def test_the_setup_code_works_once(doors: Doors, unchanged: None) -> None:
    assert doors.local("GET", "/api/v1/local/setup-code").document == {"setup_code": None}
    mallory = {"username": "mallory", "password": PASSWORD, "setup_code": ""}

    assert doors.https("POST", "/api/v1/users", mallory, by=None).status == 403


@pytest.mark.parametrize("who", ["nobody", "queue client", "member"])
def test_what_is_no_message_on_the_peer_port_ends_the_connection(
    doors: Doors, unchanged: None, who: str
) -> None:
    def said_to(frame: bytes) -> bytes:
        with socket.create_connection((doors.node.host, doors.node.ports["peer"]), timeout=15) as plain:
            if who == "nobody":
                return _say(plain, frame)
            with _secured(doors, plain, who) as secured:
                return _say(secured, frame)

    with ThreadPoolExecutor(len(GARBAGE)) as strangers:  # what only begins is ended when its time is up
        for frame, said in zip(GARBAGE, strangers.map(said_to, GARBAGE), strict=True):
            assert len(said) < 200, frame[:8]  # a TLS alert or a refusal, no data


@pytest.mark.parametrize("frame", GARBAGE, ids=lambda frame: ascii(frame[:8]))
def test_what_is_no_message_on_the_queues_own_socket_ends_the_connection(
    doors: Doors, unchanged: None, frame: bytes
) -> None:
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(15)
        door.connect(str(doors.data / "queue.sock"))

        assert len(_say(door, frame)) < 200


def test_datagrams_of_strangers_get_no_answer(doors: Doors, unchanged: None) -> None:
    header = b"\x01\x00" + secrets.token_bytes(8 + 16) + bytes(8)
    datagrams = [
        b"",
        b"\x01",
        b"\x02" + header[1:] + bytes(64),
        header,
        header + bytes(64),
        secrets.token_bytes(1500),
    ]
    datagrams += [(header + bytes(64))[:length] for length in range(0, 98, 7)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(1)
        sender.bind((doors.node.host, 0))
        for datagram in datagrams * 20:
            sender.sendto(datagram, (doors.node.host, doors.node.ports["peer"]))

        with pytest.raises(TimeoutError):
            sender.recv(2000)


def _peer(doors: Doors) -> str:
    return f"{doors.node.host}:{doors.node.ports['peer']}"


def _secured(doors: Doors, plain: socket.socket, who: str) -> ssl.SSLSocket:
    """As whoever may speak first: a queue client without a token, or the holder of a member's key."""
    if who == "queue client":
        context = ssl.create_default_context(cafile=str(doors.ca))
        context.set_alpn_protocols([QUEUE_PROTOCOL])
        return context.wrap_socket(plain, server_hostname=SERVER_NAME)
    files = PeerFiles(
        key=doors.data / "node.key", certificate=doors.data / "node.crt", authority=doors.data / "peers.crt"
    )
    return peer_client_context(files, protocol=PEER_PROTOCOL).wrap_socket(plain, server_hostname=PEER_NAME)


def _say(connection: socket.socket, data: bytes) -> bytes:
    """What comes back until the other end hangs up. Raises `TimeoutError` if it does not."""
    said = b""
    try:
        connection.sendall(data)
        if not isinstance(connection, ssl.SSLSocket):
            connection.shutdown(socket.SHUT_WR)
        while more := connection.recv(4096):
            said += more
    except (ConnectionError, ssl.SSLError):
        pass
    return said
