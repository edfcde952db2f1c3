"""What a node says of itself in gossip."""

import pytest

from gossip.member import MAX_META_BYTES
from pinode.node_facts import NodeFacts, decode_facts, encode_facts


@pytest.mark.parametrize("letter", ["x", "é", "🌶", "\udc80"])
def test_the_facts_of_a_node_fit_into_gossip_whatever_its_warnings_say(letter: str) -> None:
    facts = NodeFacts(
        web_port=65535,
        router_port=65535,
        version="10.10.10.dev10",
        arch="aarch64",
        python="3.13.12",
        roles=("build", "deploy"),
        started_at_unix=1.8e9 + 0.5,
        warnings=(letter * 500,) * 5,
    )

    encoded = encode_facts(facts)

    assert len(encoded) <= MAX_META_BYTES
    assert decode_facts(encoded).roles == ("build", "deploy")
