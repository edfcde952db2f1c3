"""An app's whole life on three real nodes: scaled, configured, failing, found again, after a power cut, gone.

One cluster for all of these, as in life; each test leaves it with `shop` answering.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pinode.cli.build_commands import wait_for_release
from pinode.cli.demo_nodes import DemoNode
from pinode.cli.demo_source import served
from pinode.cli.invocation import Failure
from pinode.cli.target import app_path
from tests.multi_host.three_nodes import Nodes, make_repository, running_nodes

pytestmark = pytest.mark.multi_host

SHOP = {
    "requirements.txt": "",
    "web.py": (
        "import os, secrets, http.server\n\nbegan = secrets.token_hex(4)\n\n"
        "class Hello(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n"
        "        said = [os.environ['PINODE_NODE'], os.environ['PINODE_RELEASE'], began,\n"
        "                os.environ.get('GREETING', 'none')]\n"
        "        body = ' '.join(said).encode()\n"
        "        self.send_response(200)\n        self.send_header('Content-Length', str(len(body)))\n"
        "        self.end_headers()\n        self.wfile.write(body)\n\n"
        "    def log_message(self, *_): pass\n\n"
        "http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), Hello).serve_forever()\n"
    ),
    "worker.py": "import signal\nprint('the worker works', flush=True)\nsignal.pause()\n",
    "Procfile": "web: python web.py\nworker: python worker.py\n",
}
BROKEN = {
    "requirements.txt": "",
    "web.py": "raise SystemExit('no DATABASE_URL is set')\n",
    "Procfile": "web: python web.py\n",
}


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("repositories")
    make_repository(folder / "shop", SHOP)
    make_repository(folder / "broken", BROKEN)
    make_repository(folder / "slow", {**SHOP, "web.py": "import time\ntime.sleep(2)\n" + SHOP["web.py"]})
    with served(folder) as base:
        yield base


@pytest.fixture(scope="module")
def nodes(repositories: str) -> Iterator[Nodes]:
    with running_nodes() as running:
        running.deploy("shop", f"{repositories}/shop")
        yield running


def test_dynos_are_added_taken_away_and_all_taken_away(nodes: Nodes) -> None:
    _scale(nodes, web=3)
    _until_up(nodes, "web", 3)
    assert len({dyno["node"] for dyno in _up(nodes, "web")}) == 3

    _scale(nodes, web=0)
    nodes.until(lambda: nodes.dynos("shop") == [], seconds=15, what="no dyno is left")
    nodes.until(lambda: nodes.get("shop", nodes.nodes[0])[0] >= 500, seconds=10, what="nobody answers")

    _scale(nodes, web=1)
    _until_up(nodes, "web", 1)
    _until_answering(nodes)


def test_a_worker_runs_without_a_port_and_its_words_are_in_the_log(nodes: Nodes) -> None:
    _scale(nodes, worker=1)

    _until_up(nodes, "worker", 1)
    log = list(nodes.alive[0].client().lines(app_path("shop", "logs")))
    assert any("the worker works" in line for line in log)
    _scale(nodes, worker=0)
    nodes.until(lambda: not _of_type(nodes, "worker"), seconds=15, what="the worker is gone")


def test_a_new_config_var_is_served_without_one_failed_request(nodes: Nodes) -> None:
    _until_answering(nodes)

    with _asking(nodes) as asked:
        nodes.alive[0].client().request("PATCH", app_path("shop", "config"), body={"GREETING": "hallo"})
        nodes.until(
            lambda: all("hallo" in nodes.get("shop", node)[1] for node in nodes.alive),
            seconds=20, what="the new value is served everywhere",
        )  # fmt: skip
        nodes.until(lambda: len(nodes.dynos("shop")) == 1, seconds=20, what="the old dyno is gone")

    assert asked.failures == []
    assert asked.count > 20


def test_a_release_that_crashes_fails_with_its_reason_and_the_old_one_serves_on(
    nodes: Nodes, repositories: str
) -> None:
    before = _answer(nodes, nodes.nodes[0])
    client = nodes.alive[0].client()

    with _asking(nodes) as asked:
        build = client.post(app_path("shop", "builds"), {"git_url": f"{repositories}/broken"})["id"]
        with pytest.raises(Failure, match="no DATABASE_URL is set"):
            wait_for_release(client, "shop", build, within_seconds=60)

    assert asked.failures == []
    assert _answer(nodes, nodes.nodes[0]) == before


def test_a_restarted_node_leaves_its_dyno_running_and_answering_meanwhile(nodes: Nodes) -> None:
    home = _home(nodes)
    before = _answer(nodes, home)

    with _asking(nodes, [home]) as asked:
        assert home.process
        home.process.terminate()
        assert home.process.wait(10) == 0
        home.start()
        nodes.until(lambda: nodes.status(home)["cluster"]["leader"], seconds=20, what="it is back")
        nodes.until(
            lambda: [dyno["node"] for dyno in _up(nodes, "web", through=home)] == [home.name],
            seconds=20, what="it has found its dyno again",
        )  # fmt: skip

    assert asked.failures == []
    assert _answer(nodes, home) == before


def test_a_stopped_node_hands_its_dyno_over_and_joins_again(nodes: Nodes) -> None:
    home = _home(nodes)
    others = [node for node in nodes.nodes if node is not home]

    home.client().post("/api/v1/local/stop", {"all": False})

    assert home.process and home.process.wait(30) == 0
    nodes.until(
        lambda: all(_answer(nodes, node)[0] != home.name for node in others), seconds=20, what="it moved"
    )
    home.start()
    nodes.until(lambda: nodes.get("shop", home)[0] == 200, seconds=20, what="it routes again")
    nodes.until(
        lambda: all(
            entry["state"] == "alive" for node in nodes.nodes for entry in nodes.status(node)["nodes"]
        ),
        seconds=20, what="everybody sees everybody",
    )  # fmt: skip


def test_a_leader_steps_down_when_another_node_is_told_so(nodes: Nodes) -> None:
    was = nodes.leader().name
    asked = next(node for node in nodes.nodes if node.name != was)

    answer = asked.client().post("/api/v1/leader/step-down", {})

    assert answer["was"] == was and answer["leader"] not in (was, None)
    nodes.until(
        lambda: all(nodes.status(node)["cluster"]["leader"] == answer["leader"] for node in nodes.nodes),
        seconds=5, what="everybody follows the new leader",
    )  # fmt: skip


def test_a_leader_that_dies_in_the_middle_of_a_rollout_leaves_the_rest_to_the_next_one(
    nodes: Nodes, repositories: str
) -> None:
    """And a config var that is set meanwhile is in what is live at the end."""
    client = nodes.alive[0].client()
    before = _releases(nodes)[0][0]
    client.post(app_path("shop", "builds"), {"git_url": f"{repositories}/slow"})
    nodes.until(lambda: _releases(nodes)[0] == (before + 1, "pending"), seconds=30, what="it rolls out")
    client.request("PATCH", app_path("shop", "config"), body={"GREETING": "moin"})

    leader = nodes.leader()
    nodes.kill(leader)

    nodes.until(lambda: _releases(nodes)[0] == (before + 2, "live"), seconds=40, what="the newest is live")
    assert _releases(nodes)[1] == (before + 1, "superseded")
    nodes.until(lambda: len(nodes.dynos("shop")) == 1, seconds=20, what="one dyno remains")
    for node in nodes.alive:
        nodes.until(
            lambda node=node: "moin" in nodes.get("shop", node)[1], seconds=10, what=f"answer on {node.name}"
        )
    leader.start()
    nodes.until(lambda: "moin" in nodes.get("shop", leader)[1], seconds=20, what="the returned node routes")


def test_after_a_power_cut_of_everything_the_app_answers_within_30_seconds(nodes: Nodes) -> None:
    before = _answer(nodes, nodes.nodes[0])
    port = nodes.port("shop")

    nodes.cut_power()
    for node in nodes.nodes:
        node.start()
    began = time.monotonic()

    nodes.until(
        lambda: all(nodes.get_at(node.host, port)[0] == 200 for node in nodes.nodes),
        seconds=30, what="the app answers on all nodes",
    )  # fmt: skip
    assert time.monotonic() - began < 30
    after = _answer(nodes, nodes.nodes[0])
    assert (after[1], after[3]) == (before[1], before[3])  # the same release with its config
    assert after[2] != before[2]  # in another process


def test_a_destroyed_app_frees_its_ports_and_leaves_nothing_running(nodes: Nodes) -> None:
    port = nodes.port("shop")
    running = {pid for node in nodes.nodes for pid in nodes.dyno_processes(node)}
    assert running

    nodes.alive[0].client().request("DELETE", app_path("shop"))

    nodes.until(
        lambda: not any(_is_open(nodes, node.host, port) for node in nodes.nodes),
        seconds=15, what="its port is closed on every node",
    )  # fmt: skip
    nodes.until(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in running), seconds=15, what="no process runs"
    )
    nodes.until(
        lambda: not any(_files_of_shop(node.folder / "data") for node in nodes.nodes),
        seconds=15, what="its files are gone",
    )  # fmt: skip


def _files_of_shop(data: Path) -> list[Path]:
    return [*(data / "dynos").iterdir(), *(data / "logs").glob("shop")]


class _Asking:
    """Somebody who asks the app again and again, on one node after the other."""

    def __init__(self, nodes: Nodes, hosts: list[str], port: int) -> None:
        self.failures: list[str] = []
        self.count = 0
        self._nodes, self._hosts, self._port = nodes, hosts, port
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask_on, daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._end.set()
        self._thread.join(20)

    def _ask_on(self) -> None:
        while not self._end.wait(0.01):
            host = self._hosts[self.count % len(self._hosts)]
            self.count += 1
            try:
                status, body = self._nodes.get_at(host, self._port)
                if status != 200:
                    self.failures.append(f"{host} {status} {body[:80]}")
            except OSError as error:
                self.failures.append(f"{host} {error!r}")


@contextmanager
def _asking(nodes: Nodes, those: list[DemoNode] | None = None) -> Iterator[_Asking]:
    asking = _Asking(nodes, [node.host for node in those or nodes.alive], nodes.port("shop"))
    asking.begin()
    try:
        yield asking
    finally:
        asking.end()


def _scale(nodes: Nodes, **quantities: int) -> None:
    nodes.alive[0].client().request("PATCH", app_path("shop", "formation"), body=quantities)


def _of_type(nodes: Nodes, process_type: str, *, through: DemoNode | None = None) -> list[dict[str, Any]]:
    return [dyno for dyno in nodes.dynos("shop", through=through) if dyno["process_type"] == process_type]


def _up(nodes: Nodes, process_type: str, *, through: DemoNode | None = None) -> list[dict[str, Any]]:
    return [dyno for dyno in _of_type(nodes, process_type, through=through) if dyno["state"] == "up"]


def _home(nodes: Nodes) -> DemoNode:
    """Where the only web dyno is, once who is asked has heard that it is up."""
    _until_up(nodes, "web", 1)
    return nodes.named(_up(nodes, "web")[0]["node"])


def _until_up(nodes: Nodes, process_type: str, count: int) -> None:
    nodes.until(
        lambda: len(_up(nodes, process_type)) == count == len(_of_type(nodes, process_type)),
        seconds=30, what=f"{count} {process_type} dynos are up",
    )  # fmt: skip


def _until_answering(nodes: Nodes) -> None:
    nodes.until(
        lambda: all(nodes.get("shop", node)[0] == 200 for node in nodes.alive), seconds=20, what="it answers"
    )


def _answer(nodes: Nodes, node: DemoNode) -> list[str]:
    """Node, release, process and greeting."""
    status, body = nodes.get("shop", node)
    assert status == 200, (status, body)
    return body.split()


def _releases(nodes: Nodes) -> list[tuple[int, str]]:
    """Version and state, the newest first."""
    found = nodes.alive[0].client().get(app_path("shop", "releases"))["items"]
    return [(release["version"], release["state"]) for release in found]


def _is_open(nodes: Nodes, host: str, port: int) -> bool:
    try:
        return nodes.get_at(host, port) is not None
    except ConnectionRefusedError:
        return False
