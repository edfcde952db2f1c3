"""The cluster key is rotated on real nodes that serve an app; nodes are off, are killed, lose power, are removed."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pinode.cli.demo_nodes import DemoNode
from pinode.cli.demo_source import served
from pinode.cli.target import app_path
from pinode.peers.kept_generations import OWN_FILE
from pinode.peers.key_store import FILE
from tests.multi_host.three_nodes import TINY_APP, Nodes, make_repository, running_nodes

pytestmark = pytest.mark.multi_host

ROTATION = "/api/v1/key-rotation"


def key_of(node: DemoNode) -> str:
    return (node.folder / "cluster.key").read_text()


def rotate(nodes: Nodes, through: DemoNode) -> None:
    through.client().post(ROTATION, {})
    until_done(nodes, through)


def until_done(nodes: Nodes, node: DemoNode, *, generation: int = 1, seconds: float = 30) -> None:
    def is_done() -> bool:
        told = node.client().get(ROTATION)
        return bool(told["stage"] == "done" and told["generation"] >= generation)

    nodes.until(is_done, seconds=seconds, what="the rotation is done")


def until_one_key(nodes: Nodes, *, other_than: str, seconds: float = 30) -> str:
    """All living nodes see each other, and have the same key on their disks."""

    def is_one() -> bool:
        keys = {key_of(node) for node in nodes.alive}
        seen = [one["state"] for node in nodes.alive for one in nodes.status(node)["nodes"]]
        return len(keys) == 1 and other_than not in keys and set(seen) == {"alive"}

    nodes.until(is_one, seconds=seconds, what="one key, and everyone alive")
    return key_of(nodes.alive[0])


class Visitors:
    """Ask an app at every node, again and again, each time anew."""

    def __init__(self, nodes: Nodes, port: int) -> None:
        self._nodes, self._port = nodes, port
        self._end = threading.Event()
        self.answered, self.failures = 0, []

    @contextmanager
    def asking(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._ask, args=(node.host,)) for node in self._nodes.nodes]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._end.set()
            for thread in threads:
                thread.join(20)

    def _ask(self, host: str) -> None:
        while not self._end.wait(0.02):
            try:
                status, text = self._nodes.get_at(host, self._port)
                if status != 200:
                    self.failures.append(f"{host}: {status} {text[:100]}")
            except OSError as error:
                self.failures.append(f"{host}: {error!r}")
            self.answered += 1


@pytest.fixture
def repositories(tmp_path: Path) -> Iterator[str]:
    make_repository(tmp_path / "tiny", TINY_APP)
    with served(tmp_path) as base:
        yield base


def test_the_key_is_rotated_under_load_with_a_node_off_and_once_more_through_a_power_cut(
    repositories: str,
) -> None:
    with running_nodes(3) as nodes:
        nodes.deploy("hello", f"{repositories}/tiny")
        first = nodes.nodes[0]
        first.client().request("PATCH", app_path("hello", "config"), body={"TOKEN": "before the rotation"})
        old = key_of(first)
        nodes.until(
            lambda: all(nodes.get("hello", node)[0] == 200 for node in nodes.nodes), seconds=30, what="200"
        )
        leader = nodes.leader()
        off = next(node for node in nodes.nodes if node is not leader)
        nodes.kill(off)  # its router and its dyno go on, with the old key
        nodes.until(
            lambda: "dead" in [one["state"] for one in nodes.status(leader)["nodes"]], seconds=20, what="dead"
        )

        visitors = Visitors(nodes, nodes.port("hello"))
        with visitors.asking():
            rotate(nodes, leader)
            new = until_keys_differ(nodes, off, old)
            off.start()
            assert until_one_key(nodes, other_than=old) == new
            config = app_path("hello", "config") + "?reveal=1"
            nodes.until(  # it may answer before it has heard all that was agreed
                lambda: "before the rotation" in str(off.client().get(config)), seconds=20, what="it opens"
            )
        assert visitors.answered > 50 and visitors.failures == []

        # Once more, with the leader killed at once, and then the power cut, wherever it is by then.
        leader = nodes.leader()
        leader.client().post(ROTATION, {})
        nodes.kill(leader)
        nodes.cut_power()
        for node in nodes.nodes:
            node.start()
        nodes.leader()
        until_done(nodes, first, generation=2)
        until_one_key(nodes, other_than=new)
        nodes.until(
            lambda: all(nodes.get("hello", node)[0] == 200 for node in nodes.nodes),
            seconds=30,
            what="answers again",
        )


def until_keys_differ(nodes: Nodes, off: DemoNode, old: str) -> str:
    """Those that are on have another key than the one that is off."""
    nodes.until(lambda: old not in {key_of(node) for node in nodes.alive}, seconds=10, what="a new key")
    assert key_of(off) == old
    return key_of(nodes.alive[0])


def recover(node: DemoNode, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pinode", "recover", "--config", str(node.folder / "cluster.toml")]
    return subprocess.run([*command, *words], capture_output=True, text=True, timeout=60)


def kill_until_dead(nodes: Nodes, node: DemoNode) -> None:
    """Also the others know it."""
    nodes.kill(node)
    nodes.until(
        lambda: "dead" in [one["state"] for one in nodes.status(nodes.alive[0])["nodes"]],
        seconds=20,
        what="dead",
    )


def token_of(node: DemoNode) -> str:
    return str(node.client().post("/api/v1/join-tokens", {"expires_seconds": 3600})["token"])


def until_all_alive(nodes: Nodes, seen_by: DemoNode, names: set[str]) -> None:
    def are_alive() -> bool:
        rows = nodes.status(seen_by)["nodes"]
        return {one["name"] for one in rows} == names and {one["state"] for one in rows} == {"alive"}

    nodes.until(are_alive, seconds=40, what=f"{names} are alive")


def test_a_node_that_lost_its_log_while_the_key_was_rotated_comes_back_by_a_token_in_its_old_place() -> None:
    """And before that it is not talked into going on alone: the others answer, whichever key they hold."""
    with running_nodes(3) as nodes:
        first, off = nodes.nodes[0], nodes.nodes[2]
        kill_until_dead(nodes, off)
        old = key_of(off)
        rotate(nodes, first)

        alone = recover(off, "--confirm", str(nodes.status(first)["cluster"]["name"]))
        assert alone.returncode == 5 and "no majority is lost" in alone.stderr
        assert "n1 (answers)" in alone.stdout and "n2 (answers)" in alone.stdout

        shutil.rmtree(off.folder / "data/log")
        (off.folder / "data" / OWN_FILE).write_text("2\n")  # as one that was started before
        off.start()
        assert off.process and off.process.wait(30) == 5
        assert "the cluster key was rotated" in off.last_words()

        (off.folder / "cluster.key").rename(off.folder / "cluster.key.old")
        off.start("--join", token_of(first))
        until_all_alive(nodes, first, {"n1", "n2", "n3"})
        assert until_one_key(nodes, other_than=old)


@pytest.mark.soak  # rules and links have tests of their own, this is the whole way
def test_a_node_that_was_off_during_a_rotation_and_is_recovered_goes_on_and_tells_the_others_what_to_do() -> (
    None
):
    with running_nodes(3) as nodes:
        first, second, off = nodes.nodes
        kill_until_dead(nodes, off)
        name, old = str(nodes.status(first)["cluster"]["name"]), key_of(off)
        rotate(nodes, first)
        for lost in (first, second):
            nodes.kill(lost)

        assert recover(off, "--confirm", name).returncode == 0
        off.start()
        assert nodes.leader() is off and key_of(off) == old

        first.start()
        assert first.process and first.process.wait(30) == 5
        assert "was removed from its cluster by pinode recover" in first.last_words()
        first.start("--join", token_of(off))
        assert first.process.wait(30) == 5, "it was not emptied"

        (first.folder / "data").rename(first.folder / "data.old")
        (first.folder / "cluster.key").rename(first.folder / "cluster.key.old")
        first.start("--join", token_of(off))
        until_all_alive(nodes, off, {"n1", "n3"})
        assert key_of(first) == old


@pytest.mark.soak  # rules and links have tests of their own, this is the whole way
def test_a_removed_node_with_its_old_card_neither_comes_back_nor_joins_as_another() -> None:
    with running_nodes(4) as nodes:
        first, lost = nodes.nodes[0], nodes.nodes[3]
        nodes.kill(lost)
        nodes.until(
            lambda: "dead" in [one["state"] for one in nodes.status(first)["nodes"]], seconds=20, what="dead"
        )
        first.client().request("DELETE", f"/api/v1/nodes/{lost.name}")
        old = key_of(lost)
        rotate(nodes, first)
        until_one_key(nodes, other_than=old)

        lost.start()
        assert lost.process and lost.process.wait(30) == 5
        assert "was removed from its cluster" in (lost.folder / "node.log").read_text()

        shutil.rmtree(lost.folder / "data")
        lost.start("--join", f"{first.host}:{first.ports['peer']}")
        assert lost.process.wait(30) == 5
        assert "the cluster key was rotated" in (lost.folder / "node.log").read_text()
        assert lost.name not in [one["name"] for one in nodes.status(first)["nodes"]]
        assert not (lost.folder / "data" / FILE).exists() and key_of(lost) == old
