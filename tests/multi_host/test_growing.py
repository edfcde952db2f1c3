"""A cluster that grows from one real node to three: who joins learns, then votes, then carries on alone."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.multi_host.three_nodes import Nodes

pytestmark = [
    pytest.mark.multi_host,
    pytest.mark.soak,
]  # `test_membership` goes most of the way in `make test`
PUT = "/api/v1/queue/topics/mail/jobs"


@contextlib.contextmanager
def one_of(count: int) -> Iterator[Nodes]:
    """Settings for so many nodes that share a cluster key; the first founds alone and runs."""
    folder = Path(tempfile.mkdtemp(prefix="pinode-test-", dir="/var/tmp"))
    nodes = Nodes(folder, count)
    first = nodes.nodes[0]
    settings = first.folder / "cluster.toml"
    settings.write_text(settings.read_text().replace(f"expect = {count}", "expect = 1"))
    try:
        first.start()
        nodes.until(lambda: nodes.status(first)["cluster"]["leader"], seconds=40, what="it leads itself")
        yield nodes
    finally:
        nodes.stop()
        shutil.rmtree(folder, ignore_errors=True)


def roles(nodes: Nodes) -> list[str]:
    """Of all nodes, as the first one alive says; sorted."""
    return sorted(node["role"] for node in nodes.status(nodes.alive[0])["nodes"])


def test_a_lone_node_becomes_three_voters_and_the_others_outlive_it() -> None:
    with one_of(3) as nodes:
        first, second, third = nodes.nodes
        first.client().post(PUT, {"data": "from when it was alone"})
        second.start()
        nodes.until(lambda: roles(nodes) == ["leader", "learner"], seconds=40, what="the second learns")
        nodes.until(
            lambda: nodes.status(second)["cluster"]["leader"] == first.name, seconds=20, what="and knows it"
        )
        second.client().post(PUT, {"data": "through a learner"})
        third.start()
        nodes.until(
            lambda: roles(nodes) == ["leader", "voter", "voter"], seconds=60, what="both vote, together"
        )

        nodes.kill(first)

        nodes.until(lambda: nodes.leader() is not first, seconds=20, what="one of the others leads")
        third.client().post(PUT, {"data": "after it"})
        assert nodes.status(third)["queue"]["mail"]["ready"] == 3


def test_the_only_voter_leaves_and_the_learner_carries_on_alone() -> None:
    with one_of(2) as nodes:
        first, second = nodes.nodes
        second.start()
        nodes.until(lambda: roles(nodes) == ["leader", "learner"], seconds=40, what="the second learns")
        first.client().post(PUT, {"data": "from before"})

        first.client().post("/api/v1/local/leave", {})

        assert first.process and first.process.wait(90) == 0
        nodes.until(lambda: roles(nodes) == ["leader"], seconds=20, what="the second leads, alone")
        second.client().post(PUT, {"data": "from after"})
        assert nodes.status(second)["queue"]["mail"]["ready"] == 2
