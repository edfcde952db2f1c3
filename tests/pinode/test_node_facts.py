"""What a node says of itself in gossip."""

from dataclasses import replace

import pytest

from gossip.member import MAX_META_BYTES
from pinode.node_facts import (
    MAX_INTERPRETERS,
    MAX_TAKEN,
    NodeFacts,
    decode_facts,
    encode_facts,
    interpreters_told,
)
from replicated_queue.queue.limits import MAX_NEEDS


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
    with_interpreters = encode_facts(
        replace(facts, interpreters=interpreters_told(["/usr/bin/" + "p" * 60] * 9))
    )

    assert len(encoded) <= MAX_META_BYTES
    assert decode_facts(encoded).roles == ("build", "deploy")
    assert len(with_interpreters) <= MAX_META_BYTES
    assert len(decode_facts(with_interpreters).interpreters) == 2
    assert decode_facts(with_interpreters).warnings  # what is left is theirs


def test_names_that_the_leader_found_taken_are_told_while_there_is_room() -> None:
    taken = tuple(f"{number}".ljust(30, "x") for number in range(9))
    warned = NodeFacts(warnings=("w" * 80,) * 3, interpreters=("/" + "x" * 130,), roles=("build", "deploy"))

    alone = decode_facts(encode_facts(NodeFacts(taken=taken)))
    beside_warnings = decode_facts(encode_facts(replace(warned, taken=taken)))

    assert alone.taken == taken[:MAX_TAKEN]
    assert beside_warnings.taken == ()  # they have what is left
    assert beside_warnings.warnings == decode_facts(encode_facts(warned)).warnings


def test_a_node_tells_of_as_many_interpreters_as_there_is_room_for_the_first_first() -> None:
    own, long, short = "/opt/own/bin/python3.12", "/" + "x" * 130, "/usr/bin/python3.11"

    assert interpreters_told([own, long, short]) == (own, short)
    assert len(interpreters_told([f"/{number}" for number in range(9)])) == MAX_INTERPRETERS
    assert 1 + MAX_INTERPRETERS <= MAX_NEEDS  # so that a job may need all of them, and the CPU
