"""Who is a node of the cluster, as agreed: joining by token or key, replacing, removing for ever."""

import hashlib
from dataclasses import replace
from random import Random

import pytest

from pinode.apps.errors import Refused
from pinode.apps.observed import Availability
from pinode.cluster_state import ClusterState
from pinode.nodes.commands import (
    AddNode,
    CreateJoinToken,
    NodeCommand,
    RemoveNode,
    RevokeJoinTokens,
    SetAvailability,
)
from pinode.nodes.errors import (
    InvalidNode,
    JoinTokenRefused,
    LastNode,
    NodeNameTaken,
    NodeUnknown,
    NodeWasRemoved,
    TooManyJoinTokens,
    TooManyNodes,
)
from pinode.nodes.node import RegisteredNode
from pinode.nodes.node_table import JOIN_TOKENS, LIFETIME_MS_MAX, NODES, NodeTable
from replicated_queue.interfaces import CUT
from tests.pinode.agreement import SETUP_CODE_HASH, Agreement
from tests.replicated_queue.test_snapshots_of_state import finish

TOKEN = hashlib.sha256(b"token").digest()
HOUR_MS = 3_600_000


def founder(number: int) -> RegisteredNode:
    return RegisteredNode(
        node_id=f"{number:016x}", name=f"pi{number}", host=f"10.0.0.{number}", peer_port=7300
    )


def joining(number: int, **changed: object) -> AddNode:
    new = founder(number)
    command = AddNode(node_id=new.node_id, name=new.name, host=new.host, peer_port=new.peer_port)
    return replace(command, **changed)  # type: ignore[arg-type]


def removing(number: int) -> RemoveNode:
    return RemoveNode(node_id=f"{number:016x}", by="ada")


def names(table: NodeTable) -> list[str]:
    return [node.name for node in table.all()]


@pytest.fixture
def table() -> NodeTable:
    table = NodeTable([founder(1), founder(2)])
    table.apply(CreateJoinToken(token_hash=TOKEN, lifetime_ms=HOUR_MS, by="ada"), now=1_000)
    return table


def test_the_founders_are_nodes_from_the_beginning(table: NodeTable) -> None:
    assert names(table) == ["pi1", "pi2"]


def test_one_token_lets_several_nodes_join_until_it_expires(table: NodeTable) -> None:
    table.apply(joining(3, token_hash=TOKEN), now=2_000)
    table.apply(joining(4, token_hash=TOKEN), now=1_000 + HOUR_MS - 1)

    with pytest.raises(JoinTokenRefused):
        table.apply(joining(5, token_hash=TOKEN), now=1_000 + HOUR_MS)
    assert names(table) == ["pi1", "pi2", "pi3", "pi4"]


@pytest.mark.parametrize("token_hash", [hashlib.sha256(b"another").digest(), b"", TOKEN[:-1]])
def test_a_wrong_token_lets_nobody_join(table: NodeTable, token_hash: bytes) -> None:
    with pytest.raises(JoinTokenRefused):
        table.apply(joining(3, token_hash=token_hash), now=2_000)

    assert names(table) == ["pi1", "pi2"]


def test_a_wrong_token_is_refused_also_for_a_node_that_is_registered(table: NodeTable) -> None:
    """Or whoever claims a member's id would be given the cluster key."""
    with pytest.raises(JoinTokenRefused):
        table.apply(joining(1, token_hash=b"wrong"), now=2_000)


def test_revoked_tokens_let_nobody_join(table: NodeTable) -> None:
    assert table.apply(RevokeJoinTokens(by="ada"), now=2_000) == 1

    with pytest.raises(JoinTokenRefused):
        table.apply(joining(3, token_hash=TOKEN), now=2_000)


def test_tokens_are_bounded_and_make_room_when_they_expire(table: NodeTable) -> None:
    for number in range(1, JOIN_TOKENS):
        table.apply(
            CreateJoinToken(token_hash=bytes([number]) * 32, lifetime_ms=HOUR_MS, by="ada"), now=1_000
        )
    one_more = CreateJoinToken(token_hash=b"x" * 32, lifetime_ms=HOUR_MS, by="ada")

    with pytest.raises(TooManyJoinTokens):
        table.apply(one_more, now=2_000)
    table.apply(one_more, now=1_000 + HOUR_MS)

    assert [token.token_hash for token in table.tokens(1_000 + HOUR_MS)] == [b"x" * 32]


@pytest.mark.parametrize("lifetime_ms", [0, -1, LIFETIME_MS_MAX + 1])
def test_a_token_lasts_at_most_thirty_days(table: NodeTable, lifetime_ms: int) -> None:
    with pytest.raises(InvalidNode):
        table.apply(CreateJoinToken(token_hash=b"x" * 32, lifetime_ms=lifetime_ms, by="ada"), now=1)


def test_a_name_belongs_to_one_node_and_the_refusal_says_where_that_is(table: NodeTable) -> None:
    with pytest.raises(NodeNameTaken, match=r"0000000000000002 at 10\.0\.0\.2:7300"):
        table.apply(joining(3, name="pi2"), now=2_000)


def test_joining_again_changes_what_is_new_and_nothing_else(table: NodeTable) -> None:
    table.apply(joining(3), now=2_000)

    table.apply(joining(3, name="pi-new", host="10.0.0.33"), now=9_000)

    assert len(table) == 3
    assert table.get(f"{3:016x}") == replace(founder(3), name="pi-new", host="10.0.0.33", joined_at_ms=2_000)


def test_a_removed_node_never_comes_back_and_its_name_is_free(table: NodeTable) -> None:
    """Checklist 1.24."""
    table.apply(removing(2), now=2_000)

    with pytest.raises(NodeWasRemoved):
        table.apply(joining(2, name="other"), now=3_000)
    with pytest.raises(NodeWasRemoved):
        table.apply(joining(2, token_hash=TOKEN), now=3_000)
    table.apply(joining(3, name="pi2"), now=3_000)

    assert names(table) == ["pi1", "pi2"]
    removed = table.removed(f"{2:016x}")
    assert removed is not None and (removed.name, removed.by, removed.removed_at_ms) == ("pi2", "ada", 2_000)


def test_a_node_that_is_not_there_cannot_be_removed(table: NodeTable) -> None:
    with pytest.raises(NodeUnknown):
        table.apply(removing(7), now=2_000)


def test_the_last_node_stays(table: NodeTable) -> None:
    table.apply(removing(2), now=2_000)

    with pytest.raises(LastNode):
        table.apply(removing(1), now=2_000)


def test_a_successor_takes_name_and_place_in_one_step(table: NodeTable) -> None:
    """The same machine with a new card: its old id is gone for ever (checklist 1.25)."""
    table.apply(joining(3, name="pi2", replaces=f"{2:016x}"), now=2_000)

    assert [(node.node_id, node.name) for node in table.all()] == [
        (f"{1:016x}", "pi1"),
        (f"{3:016x}", "pi2"),
    ]
    with pytest.raises(NodeWasRemoved):
        table.apply(joining(2), now=3_000)


def test_a_successor_that_is_refused_leaves_its_predecessor_in_place(table: NodeTable) -> None:
    with pytest.raises(NodeNameTaken):
        table.apply(joining(3, name="pi1", replaces=f"{2:016x}"), now=2_000)

    assert names(table) == ["pi1", "pi2"]


def availability(table: NodeTable, number: int) -> str:
    node = table.get(f"{number:016x}")
    assert node is not None
    return node.availability


def setting(number: int, wanted: Availability) -> SetAvailability:
    return SetAvailability(node_id=f"{number:016x}", availability=wanted, by="ada")


def test_a_node_can_be_told_what_to_do_and_joining_again_does_not_change_that(table: NodeTable) -> None:
    table.apply(setting(2, "drained"), now=2_000)
    table.apply(joining(2, name="pi-new"), now=2_000)

    assert [availability(table, number) for number in (1, 2)] == ["active", "drained"]
    assert len(table.staying()) == 2


def test_not_all_nodes_can_leave(table: NodeTable) -> None:
    table.apply(setting(2, "leaving"), now=2_000)

    with pytest.raises(LastNode):
        table.apply(setting(1, "leaving"), now=2_000)

    assert [node.name for node in table.staying()] == ["pi1"]
    with pytest.raises(NodeUnknown):
        table.apply(setting(7, "drained"), now=2_000)


def test_nodes_are_bounded() -> None:
    table = NodeTable(founder(number) for number in range(1, NODES + 1))

    with pytest.raises(TooManyNodes):
        table.apply(joining(NODES + 1), now=1)
    table.apply(joining(NODES + 1, replaces=f"{1:016x}"), now=1)

    assert len(table) == NODES


@pytest.mark.parametrize(
    "changed",
    [
        {"node_id": "pi3"},
        {"node_id": "A" * 16},
        {"name": "Pi3"},
        {"name": ""},
        {"name": "pi\n3"},
        {"name": "p" * 64},
        {"host": ""},
        {"host": "10.0.0.3;reboot"},
        {"host": "h" * 254},
        {"peer_port": 0},
        {"peer_port": 65_536},
    ],
)
def test_what_is_no_node_is_refused(table: NodeTable, changed: dict[str, object]) -> None:
    with pytest.raises(InvalidNode):
        table.apply(joining(3, **changed), now=2_000)


def random_command(random: Random) -> NodeCommand:
    number, token = random.randint(1, 6), bytes([random.randint(0, 3)]) * 32
    return random.choice(
        [
            joining(number, name=f"pi{random.randint(1, 6)}"),
            joining(number, token_hash=token),
            joining(number, replaces=f"{random.randint(1, 6):016x}"),
            removing(number),
            CreateJoinToken(token_hash=token, lifetime_ms=random.randint(1, 50), by="ada"),
            RevokeJoinTokens(by="ada"),
            setting(number, random.choice(["active", "cordoned", "drained", "leaving"])),
        ]
    )


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_names_stay_unique_nobody_returns_and_all_replicas_agree(seed: int) -> None:
    random, agreed = Random(seed), Agreement()
    table = agreed.state.nodes
    gone: set[str] = set()

    for _ in range(150):
        agreed.now += random.randint(0, 5)
        before, digest = {node.node_id for node in table.all()}, table.digest()
        try:
            agreed.do(random_command(random))
        except Refused:
            assert table.digest() == digest, "a refused command left something behind"
        now_there = {node.node_id for node in table.all()}
        gone |= before - now_there
        assert not now_there & gone
        assert len(set(names(table))) == len(table)
        assert not before or table.all(), "the last node was removed"

    copy = ClusterState(setup_code_hash=SETUP_CODE_HASH)
    finish(copy.restore([chunk for chunk in agreed.state.snapshot() if chunk != CUT]))
    assert agreed.replay().digest() == agreed.state.digest() == copy.digest()
    assert (copy.nodes.all(), copy.nodes.tokens(0)) == (table.all(), table.tokens(0))


def test_a_token_shows_in_no_representation() -> None:
    assert TOKEN.hex() not in repr(joining(3, token_hash=TOKEN)) and "token_hash" not in repr(
        joining(3, token_hash=TOKEN)
    )


def test_a_table_of_nodes_that_is_not_declared_refuses_to_be_forgotten() -> None:
    table = NodeTable()
    table._new_table = {}  # type: ignore[attr-defined]

    with pytest.raises(AssertionError, match="_new_table"):
        table.rows()
