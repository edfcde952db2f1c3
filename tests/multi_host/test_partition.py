"""Three hosts on a switch of their own; one is cut off. What must go on goes on, what must not is refused."""

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.multi_host.network import Host, Network
from tests.multi_host.three_nodes import TINY_APP, make_repository
from tests.waiting import until

pytestmark = [pytest.mark.multi_host, pytest.mark.netns]

SERVE_GIT = (
    "import sys, threading\nfrom pathlib import Path\nfrom pinode.cli.demo_source import served\n"
    "with served(Path(sys.argv[1]), host=sys.argv[2]) as url:\n    print(url, flush=True)\n    threading.Event().wait()\n"
)


class Pis:
    """Three hosts, each running `pinode start` with the two files that `pinode init` wrote."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network, self.folder = network, folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def pinode(self, host: Host, *words: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """A command on a host."""
        return host.run([sys.executable, "-m", "pinode", *words], seconds=seconds, cwd=self.folder)

    def json(self, host: Host, *words: str) -> Any:
        """Its answer."""
        done = self.pinode(host, *words, "--json")
        if done.returncode:
            raise OSError(f"{words}: {done.stderr}")
        return json.loads(done.stdout)

    def start(self, host: Host) -> None:
        """`pinode start`; its log lies in the host's data directory."""
        log = (host.outside / "node.log").open("ab")
        with log:
            words = [sys.executable, "-m", "pinode", "start"]
            self.processes.append(
                host.start(words, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            )

    def until(self, ask: Any, *, seconds: float, what: str) -> Any:
        """The first true answer."""
        return until(ask, within_seconds=seconds, saying=what, describe=self._logs)

    def _logs(self) -> str:
        return "\n".join(
            (host.outside / "node.log").read_text()[-1500:] for host in self.network.hosts.values()
        )

    def get(self, host: Host, port: int) -> tuple[int, str]:
        """Ask the app at its port on that host, from that host."""
        connection = http.client.HTTPConnection(host.ip, port, timeout=10)
        connection.sock = host.connect(host.ip, port)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def deploy(self, app: str, *, from_host: Host, through: Host) -> int:
        """Have the repository `tiny`, served at one host, deployed through another; the app's port."""
        words = [sys.executable, "-c", SERVE_GIT, str(self.folder / "git"), from_host.ip]
        server = from_host.start(words, stdout=subprocess.PIPE)
        assert server.stdout
        url = f"{server.stdout.readline().decode().strip()}/tiny"
        assert self.pinode(through, "apps:create", app, "--git", url).returncode == 0
        deployed = self.pinode(through, "deploy", "-a", app)
        assert deployed.returncode == 0, deployed.stderr
        return int(deployed.stdout.strip().rstrip("/").rpartition(":")[2])

    def app_processes(self, host: Host) -> int:
        """How many processes of the app run on the host."""
        return len(host.run(["pgrep", "-xf", "python app.py"]).stdout.split())


@contextlib.contextmanager
def pis_on(network: Network, folder: Path) -> Iterator[Pis]:
    """The hosts of a network, founded, with a repository `git/tiny` in the folder."""
    cluster = Pis(network, folder)
    first = network[1]
    join = [word for host in network.hosts.values() for word in ("--join", host.ip)]
    made = cluster.pinode(first, "init", "--expect", "3", *join)
    assert made.returncode == 0, made.stderr
    for host in network.hosts.values():
        cluster.start(host)
    cluster.until(lambda: cluster.json(first, "status")["cluster"]["leader"], seconds=40, what="a leader")
    make_repository(folder / "git" / "tiny", TINY_APP)
    yield cluster


@pytest.fixture
def pis(tmp_path: Path) -> Iterator[Pis]:
    if os.geteuid():
        pytest.fail("network namespaces need root: sudo make test")
    with Network(3) as network, pis_on(network, tmp_path) as cluster:
        yield cluster


def test_a_host_is_cut_off_and_comes_back(pis: Pis) -> None:
    hosts = list(pis.network.hosts.values())
    port = pis.deploy("shop", from_host=hosts[0], through=hosts[1])
    assert "inet pinode" in hosts[0].run(["nft", "list", "tables"]).stdout  # builds and dynos are walled off
    home = pis.json(hosts[0], "ps", "-a", "shop")["items"][0]["node"]
    lonely = next(host for host in hosts if host.name == home)
    others = [host for host in hosts if host is not lonely]

    pis.network.partition([host.number for host in others])
    cut_at = time.monotonic()

    def moved() -> bool:
        answers = [pis.get(host, port) for host in others]
        return all(status == 200 and home not in body for status, body in answers)

    pis.until(moved, seconds=20, what="the app answers elsewhere")
    assert time.monotonic() - cut_at < 20
    assert pis.json(others[0], "status")["cluster"]["has_quorum"]
    assert {node["name"]: node["state"] for node in pis.json(others[0], "status")["nodes"]}[home] == "dead"
    pis.until(
        lambda: not pis.json(lonely, "status")["cluster"]["has_quorum"],
        seconds=10,
        what="it knows it is alone",
    )
    status = pis.pinode(lonely, "status")
    assert "no quorum" in status.stdout.lower()
    assert pis.get(lonely, port) == (200, f"shop {home} v1")
    refused = pis.pinode(lonely, "deploy", "-a", "shop")
    assert refused.returncode == 7
    assert "quorum" in refused.stderr or "majority" in refused.stderr

    pis.network.heal()

    pis.until(lambda: pis.json(lonely, "status")["cluster"]["has_quorum"], seconds=30, what="it is back")
    pis.until(lambda: sum(map(pis.app_processes, hosts)) == 1, seconds=60, what="one dyno remains")
    for host in hosts:
        pis.until(lambda host=host: pis.get(host, port)[0] == 200, seconds=20, what=f"{host.name} answers")
