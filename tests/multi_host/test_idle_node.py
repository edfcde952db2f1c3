"""A real node that nobody visits: what it holds in memory, and when it loads the rest."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinode.cli.demo_nodes import DemoNode, make_nodes, stop_nodes
from tests.waiting import until

pytestmark = pytest.mark.multi_host

MOST_BYTES = 64_000_000  # the bar for a node without builds and dynos; with discovery on it takes 7 MB more


@pytest.fixture
def node() -> Iterator[DemoNode]:
    with tempfile.TemporaryDirectory() as folder:
        (only,) = make_nodes(Path(folder), 1, sandboxed=False)
        only.start()
        try:
            log = only.folder / "node.log"
            until(lambda: "router started" in log.read_text(), within_seconds=40, saying="all parts run")
            yield only
        finally:
            stop_nodes([only])


def process_file(node: DemoNode, name: str) -> str:
    assert node.process
    return Path(f"/proc/{node.process.pid}/{name}").read_text()


def test_a_node_loads_its_web_when_it_is_visited_and_is_small_until_then(node: DemoNode) -> None:
    resident_bytes = int(process_file(node, "statm").split()[1]) * 4096
    libraries = process_file(node, "maps")

    status = node.client().get("/api/v1/status")

    assert "cryptography" in libraries
    assert "aiohttp" not in libraries
    assert resident_bytes <= MOST_BYTES
    assert status["nodes"]
    assert "aiohttp" in process_file(node, "maps")
