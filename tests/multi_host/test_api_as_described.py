"""A real node, asked at random within its own description and beside it."""

import json
from collections.abc import Iterator

import pytest

from tests.multi_host.three_nodes import Nodes, running_nodes
from tests.pinode.asked_at_random import Server

pytestmark = [pytest.mark.multi_host, pytest.mark.soak, pytest.mark.timeout(3600)]
EXAMPLES = 100  # of each operation; `make test` asks the application without a node


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with running_nodes(1) as running:
        running.create("blog", "https://git.example.invalid/blog.git")
        yield running


def test_a_node_answers_as_it_describes_itself_and_with_no_bug(nodes: Nodes) -> None:
    node = nodes.nodes[0]
    document = node.client().get("/openapi.json")
    token = node.client().post("/api/v1/tokens")["token"]
    ca = node.folder / "ca.pem"
    ca.write_text("\n".join(node.client().lines("/ca.pem")) + "\n")
    server = Server(node.web_url, token, verify=str(ca), there={"app": "blog", "topic": "mail"})

    asked = 0
    for name, operation in server.operations(document):
        try:
            operation.check(examples=EXAMPLES)
        except Exception as error:
            raise AssertionError(f"{name}: {json.dumps(str(error))}") from error
        asked += 1

    assert asked > 50
    assert "request failed" not in (node.folder / "node.log").read_text()
