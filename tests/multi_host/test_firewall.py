"""What builds and dynos reach on a machine where pinode is root: tried with real sockets, in a network of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pinode.sandbox.limits import BUILD_UID, uid_of_app
from tests.multi_host.network import Host, Network

pytestmark = [pytest.mark.multi_host, pytest.mark.netns]

DATABASE, PEER, WEB, APP, DYNO, OTHER_DYNO, GITEA, EPHEMERAL = (
    5432,
    7300,
    8000,
    9001,
    20_001,
    20_002,
    3000,
    40_000,
)
PORTS = [DATABASE, PEER, WEB, APP, DYNO, OTHER_DYNO, GITEA, EPHEMERAL, 53]
LISTEN = """\
import socket, sys, threading
for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::1")):
    for port in map(int, sys.argv[1:]):
        listener = socket.socket(family)
        listener.bind((host, port))
        listener.listen()
        globals()[host, port] = listener
print("ready", flush=True)
threading.Event().wait()
"""
TRY = """\
import json, os, socket, sys
os.setresgid(*[int(sys.argv[1])] * 3), os.setresuid(*[int(sys.argv[1])] * 3)
reached = []
for port in json.loads(sys.argv[3]):
    with socket.socket(socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET) as asking:
        asking.settimeout(5)
        if not asking.connect_ex((sys.argv[2], port)):
            reached.append(port)
print(json.dumps(reached))
"""
PUT_UP = f"""\
import asyncio, sys
from pinode.sandbox.firewall import Firewall
async def main():
    firewall = Firewall()
    await firewall.put_up(doors={{{WEB}}}, app_ports="9000-9999", dyno_ports="20000-29999")
    firewall.give_port({uid_of_app("other")}, {DYNO})
    firewall.give_port({uid_of_app("blog")}, {DYNO})
    firewall.give_port({uid_of_app("other")}, {OTHER_DYNO})
    print(firewall.warning or "up", flush=True)
    async with firewall.open_to_builds({{{GITEA}}}), firewall.open_to_builds({{{GITEA}}}):
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
    print("closed", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
asyncio.run(main())
"""


class Walled:
    """A host with services on all ports, and the firewall that another process put up."""

    def __init__(self, host: Host) -> None:
        self.host = host
        services = self._start(LISTEN, *map(str, PORTS))
        assert services.stdout and services.stdout.readline() == b"ready\n"
        self.firewall = self._start(PUT_UP)
        assert self.says() == "up"
        assert self.says() == "open"

    def _start(self, code: str, *words: str) -> "subprocess.Popen[bytes]":
        argv = [sys.executable, "-c", code, *words]
        return self.host.start(argv, cwd=os.getcwd(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def says(self) -> str:
        """The next line of the process with the firewall."""
        assert self.firewall.stdout
        return self.firewall.stdout.readline().decode().strip()

    def go_on(self) -> None:
        """Let that process do its next step."""
        assert self.firewall.stdin
        self.firewall.stdin.write(b"\n")
        self.firewall.stdin.flush()

    def reached(self, uid: int, address: str) -> set[int]:
        """Ports that a process of this user connects to."""
        done = self.host.run([sys.executable, "-c", TRY, str(uid), address, json.dumps(PORTS)])
        assert done.returncode == 0, done.stderr
        return set(json.loads(done.stdout))


@pytest.fixture(scope="module")
def walled() -> Iterator[Walled]:
    if os.geteuid():
        pytest.fail("network namespaces need root: sudo make test")
    with Network(1) as network:
        yield Walled(network[1])


def test_a_dyno_reaches_names_pinode_and_itself_on_loopback_and_nothing_else(walled: Walled) -> None:
    for address in ("127.0.0.1", "::1"):
        assert walled.reached(uid_of_app("blog"), address) == {53, WEB, APP, DYNO, EPHEMERAL}, address


def test_a_dyno_reaches_what_is_open_to_the_network_but_no_other_dyno_around_the_router(
    walled: Walled,
) -> None:
    reached = walled.reached(uid_of_app("blog"), walled.host.ip)

    assert reached == set(PORTS) - {OTHER_DYNO}


def test_others_reach_everything(walled: Walled) -> None:
    for uid in (0, 1000, BUILD_UID + 1):
        assert walled.reached(uid, "127.0.0.1") == set(PORTS)


def test_a_build_reaches_the_repository_on_loopback_only_while_it_needs_it(walled: Walled) -> None:
    assert walled.reached(BUILD_UID, "127.0.0.1") == {53, WEB, APP, GITEA, EPHEMERAL}

    walled.go_on()

    assert walled.says() == "closed"
    assert walled.reached(BUILD_UID, "127.0.0.1") == {53, WEB, APP, EPHEMERAL}


def test_a_clouds_metadata_is_out_of_reach(walled: Walled) -> None:
    host = walled.host
    assert host.run(["ip", "addr", "add", "169.254.169.254/32", "dev", "eth0"]).returncode == 0

    assert walled.reached(uid_of_app("blog"), "169.254.169.254") == set()
    assert walled.reached(0, "169.254.169.254") == set(PORTS)
