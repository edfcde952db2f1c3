"""A cluster of real nodes that grows and shrinks while it runs: one long story, for each step costs seconds."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinode.cli.demo_nodes import DemoNode
from pinode.cli.demo_source import served
from pinode.peers.cluster_key import read_cluster_key, write_cluster_key
from tests.multi_host.three_nodes import TINY_APP, Nodes, make_repository

pytestmark = pytest.mark.multi_host


class GrowingNodes(Nodes):
    """One node that founds alone, and others that have nothing yet."""

    def __init__(self, folder: Path, count: int) -> None:
        super().__init__(folder, count)
        for node in self.nodes:
            settings = node.folder / "cluster.toml"
            lines = settings.read_text().splitlines()
            kept = [line for line in lines if not line.startswith(("expect", "join"))]
            settings.write_text("\n".join(kept))
            if node is not self.nodes[0]:
                (node.folder / "cluster.key").unlink()

    def begin(self) -> DemoNode:
        """The first node founds the cluster, alone."""
        first = self.nodes[0]
        first.start()
        self.until(lambda: self.status(first)["cluster"]["leader"], seconds=30, what="the first node leads")
        self.register_admin()
        return first

    def join(self, node: DemoNode, through: DemoNode) -> None:
        """By a token in a file, as a person does it."""
        file = node.folder / "token"
        file.write_text(through.client().post("/api/v1/join-tokens", {})["token"])
        node.start("--join", f"@{file}")

    def roles(self, node: DemoNode) -> dict[str, str]:
        """What each node counts as, by name; the dead in brackets."""
        return {
            one["name"]: {"alive": one["role"], "dead": f"({one['role']})"}.get(one["state"], one["state"])
            for one in self.status(node)["nodes"]
        }

    def until_roles(self, node: DemoNode, *, seconds: float = 40, **wanted: int) -> None:
        """Until so many living nodes are voters (the leader counts) and learners, as this node sees it."""

        def counted() -> bool:
            roles = list(self.roles(node).values())
            found = {
                "voters": roles.count("voter") + roles.count("leader"),
                "learners": roles.count("learner"),
            }
            return found == wanted

        self.until(counted, seconds=seconds, what=f"{wanted}, not {self.roles(node)}")

    def until_it_answers(self, node: DemoNode) -> None:
        """The app, at this node."""
        self.until(lambda: self.get("hello", node)[0] == 200, seconds=30, what=f"hello on {node.name}")

    def exit_code(self, node: DemoNode, *, seconds: float) -> int:
        assert node.process
        return int(node.process.wait(seconds))

    def said(self, node: DemoNode) -> str:
        return (node.folder / "node.log").read_text()


@pytest.fixture
def nodes() -> Iterator[GrowingNodes]:
    folder = Path(tempfile.mkdtemp(prefix="pinode-test-", dir="/var/tmp"))
    made = GrowingNodes(folder, 4)
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def repositories(tmp_path: Path) -> Iterator[str]:
    make_repository(tmp_path / "tiny", TINY_APP)
    with served(tmp_path) as base:
        yield base


def test_a_cluster_grows_loses_a_node_for_good_and_shrinks(nodes: GrowingNodes, repositories: str) -> None:
    first = nodes.begin()
    second, third, fourth = nodes.nodes[1:]

    # One node becomes four, by tokens and by a copied key: three vote, one learns. The app answers on all.
    nodes.deploy("hello", f"{repositories}/tiny")
    for node in (second, third):
        nodes.join(node, first)
    write_cluster_key(fourth.folder / "cluster.key", read_cluster_key(first.folder / "cluster.key"))
    fourth.start("--join", f"{first.host}:{first.ports['peer']}")
    nodes.until_roles(first, voters=3, learners=1)
    for node in nodes.nodes:
        nodes.until_it_answers(node)

    # A voter dies for good. It is removed, and the learner takes its place.
    roles, leader = nodes.roles(first), nodes.leader()
    lost = next(one for one in nodes.nodes[1:] if roles[one.name] == "voter" and one is not leader)
    nodes.kill(lost)
    nodes.until(lambda: nodes.roles(first)[lost.name] == "(voter)", seconds=20, what="it is known to be dead")
    first.client().request("DELETE", f"/api/v1/nodes/{lost.name}")
    nodes.until_roles(first, voters=3, learners=0)
    assert lost.name not in nodes.roles(first)

    # It comes back, is told so, and ends.
    lost.start()
    assert nodes.exit_code(lost, seconds=30) == 5
    assert "Its id never comes back" in nodes.said(lost)

    # Another one leaves: its dynos first, then its vote, then its name. What it held is set aside.
    leaving, staying = (one for one in nodes.nodes[1:] if one is not lost)
    leaving.client().post("/api/v1/local/leave", {})
    assert nodes.exit_code(leaving, seconds=60) == 0
    nodes.until(lambda: set(nodes.roles(first)) == {first.name, staying.name}, seconds=20, what="two nodes")
    assert not (leaving.folder / "data" / "cluster.record").exists()
    assert not (leaving.folder / "cluster.key").exists()

    # The power goes; everything is as before.
    nodes.nodes = [first, staying]
    nodes.cut_power()
    for node in nodes.nodes:
        node.start()
    nodes.leader()
    assert set(nodes.roles(first)) == {first.name, staying.name}
    for node in nodes.nodes:
        nodes.until_it_answers(node)


@pytest.mark.soak  # rules and links have tests of their own, this is the whole way
def test_a_fresh_machine_founds_nothing_beside_a_cluster_of_its_name(nodes: GrowingNodes) -> None:
    """It says where that one is, and does not stand in its own way when it is given a token."""
    first, second = nodes.nodes[:2]
    for node in (first, second):
        settings = node.folder / "cluster.toml"
        settings.write_text(settings.read_text().replace('discovery = "off"', 'discovery = "mdns"'))
    nodes.begin()

    second.start()
    assert nodes.exit_code(second, seconds=30) == 5
    assert f"at {first.host}:{first.ports['peer']}" in nodes.said(second)
    assert "pinode start --join TOKEN" in nodes.said(second)

    nodes.join(second, first)
    nodes.until(lambda: "joined the cluster" in nodes.said(second), seconds=30, what="it has joined")
    nodes.until(lambda: second.name in nodes.roles(second), seconds=30, what="it is a node, and knows it")
