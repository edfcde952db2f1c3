"""The page about the wire says what the code does."""

import re
from dataclasses import fields
from pathlib import Path

from gossip import sealing as datagrams
from pinode.peers import discovery, frames, listener
from pinode.peers.links import LANES, PASSING
from pinode.peers.questions import IDLE_SECONDS
from pinode.peers.tls import PEER_NAME, PEER_PROTOCOL, QUEUE_PROTOCOL

PAGE = (Path(__file__).parents[2] / "docs/wire_protocol.md").read_text()


def test_the_table_of_messages_is_that_of_the_codec() -> None:
    rows = re.findall(r"^\| (\d) \| `(\w+)` \| ?(.*?) ?\|$", PAGE, re.MULTILINE)

    assert rows == [
        (str(number), kind.__name__, ", ".join(field.name for field in fields(kind)))
        for number, kind in enumerate(frames.KINDS, 1)
    ]


def test_the_table_of_lanes_says_which_ones_last() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| (yes|no|until .*) \|$", PAGE, re.MULTILINE))

    assert rows.pop("calls") == f"until {IDLE_SECONDS:.0f} s without a question"
    assert rows == {**dict.fromkeys(LANES, "yes"), "exchange": "no", "bulk": "no"}
    assert set(PASSING) == {"calls", "exchange", "bulk"}


def test_names_and_bounds_on_the_page_are_those_of_the_code() -> None:
    for said in (
        PEER_NAME,
        PEER_PROTOCOL,
        QUEUE_PROTOCOL,
        discovery.SERVICE,
        f"a window of {datagrams.WINDOW:,} counters",
        f"At most {datagrams.MAX_CHALLENGES} starts",
        f"5 s to prove itself; at most {listener.MAX_UNPROVEN} may be at it, {listener.MAX_UNPROVEN_PER_SOURCE} from",
        f"at most {frames.MAX_FRAME_BYTES // 1024**2} MiB",
    ):
        assert said in PAGE, said
    assert listener.PROOF_SECONDS == 5
    assert datagrams.HEADER.size == 34
