"""A cluster is upgraded node by node: nothing is agreed that one of them would not understand."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from random import Random

import msgpack
import pytest

from pinode.apps.records import to_plain
from pinode.cluster_state import ClusterState, ProgramTooOld
from pinode.errors import Conflict
from pinode.feature_level import FEATURE_LEVEL, SINCE, level_of
from pinode.live_cluster import NotYetEverywhere
from pinode.nodes.commands import RemoveNode, SetAvailability
from pinode.nodes.errors import InvalidNode, NodeTooOld
from pinode.nodes.node_table import NodeTable
from pinode.peers.join_codec import JoinRequest, Rejected, decode_request, encode_request
from pinode.peers.joining import error_of
from replicated_queue.interfaces import CUT
from tests.pinode.agreement import Agreement
from tests.pinode.fake_cluster import FakeCluster
from tests.pinode.test_joining import FOUNDER, SECRET
from tests.pinode.test_node_table import founder, joining
from tests.pinode.test_status import shown
from tests.pinode.upgraded_nodes import AgingNodes
from tests.replicated_queue.test_snapshots_of_state import finish
from tests.waiting import eventually


def drained(number: int) -> SetAvailability:
    return SetAvailability(node_id=f"{number:016x}", availability="drained", by="ada")


@dataclass(frozen=True)
class Renamed:
    app: str
    keeps_old_address: bool = False


def test_a_command_needs_the_level_of_its_kind_and_of_each_field_that_says_something() -> None:
    since = {"Renamed": 2, "Renamed.keeps_old_address": 3}

    assert level_of(Renamed("blog"), since) == 2
    assert level_of(Renamed("blog", keeps_old_address=True), since) == 3
    assert level_of(drained(1), since) == 1


def test_this_program_supports_all_levels_that_its_own_commands_need() -> None:
    assert max(SINCE.values(), default=1) <= FEATURE_LEVEL


def test_the_level_is_the_lowest_of_all_registered_nodes() -> None:
    table = NodeTable([founder(1), founder(2), founder(3)])
    levels = []

    for number in (1, 2, 3):
        table.apply(joining(number, feature_level=2), now=0)
        levels.append(table.feature_level)

    assert levels == [1, 1, 2]


def test_the_level_rises_when_the_last_old_node_is_removed() -> None:
    table = NodeTable([founder(1), founder(2)])
    table.apply(joining(1, feature_level=2), now=0)

    table.apply(RemoveNode(node_id=founder(2).node_id, by="ada"), now=0)

    assert table.feature_level == 2


def test_the_level_never_falls_whatever_happens_to_the_nodes() -> None:
    random = Random(11)
    table = NodeTable([founder(number) for number in range(1, 5)])
    highest = 1
    for _ in range(2_000):
        number = random.randrange(1, 8)
        if random.random() < 0.2 and table.get(f"{number:016x}") and len(table) > 1:
            table.apply(RemoveNode(node_id=f"{number:016x}", by="ada"), now=0)
        elif table.removed(f"{number:016x}") is None:
            try:
                table.apply(joining(number, feature_level=random.choice([1, 1, 2, 3])), now=0)
            except NodeTooOld:
                pass
        assert table.feature_level >= highest
        highest = table.feature_level


def test_an_older_program_may_not_join_and_hears_what_to_do() -> None:
    table = NodeTable([founder(1)])
    table.apply(joining(1, feature_level=3), now=0)

    with pytest.raises(NodeTooOld, match=r"pi2 is too old .* level 2, and the cluster is at 3") as refused:
        table.apply(joining(2, feature_level=2), now=0)

    assert "Install the version" in refused.value.hint
    assert [node.name for node in table.all()] == ["pi1"]


@pytest.mark.parametrize("level", [0, -1])
def test_a_level_below_the_first_is_none(level: int) -> None:
    with pytest.raises(InvalidNode, match="no feature level"):
        NodeTable([founder(1)]).apply(joining(2, feature_level=level), now=0)


def test_a_join_request_tells_the_level_and_one_of_today_means_the_first() -> None:
    request = JoinRequest(FOUNDER, None, SECRET, feature_level=4)
    encoded = encode_request(request)
    without = encoded[:1].replace(b"\x98", b"\x97") + encoded[1:-1]

    assert decode_request(encoded).feature_level == 4
    assert decode_request(without).feature_level == 1


def test_a_joiner_that_is_too_old_ends_with_a_conflict() -> None:
    refused = NodeTooOld(name="pi4", level=1, needed=2)
    error = error_of(Rejected(refused.code, refused.message, refused.hint, is_passing=False))

    assert isinstance(error, Conflict) and error.code == "node_too_old"


def test_what_was_written_before_there_were_levels_is_of_the_first() -> None:
    chunks = [chunk for chunk in Agreement().state.snapshot() if chunk != CUT]
    before = msgpack.packb(
        {name: value for name, value in to_plain(founder(1)).items() if name != "feature_level"}
    )
    row = b"\x93" + msgpack.packb("_nodes") + msgpack.packb(founder(1).node_id) + before
    state = ClusterState()

    finish(state.restore([*chunks, b"\x92" + msgpack.packb("nodes") + b"\x91" + row]))

    assert state.nodes.all() == (founder(1),) and state.nodes.feature_level == 1


def test_an_older_program_applies_nothing_of_a_cluster_that_was_upgraded() -> None:
    newer = ClusterState(founders=[founder(1)], feature_level=2)
    newer.nodes.apply(joining(1, feature_level=2), now=0)
    chunks = [chunk for chunk in newer.snapshot() if chunk != CUT]
    older = ClusterState(founders=[founder(1)], feature_level=1)

    with pytest.raises(ProgramTooOld, match="supports feature level 1, and the cluster is at 2"):
        finish(older.restore(chunks))


def test_status_names_the_nodes_that_what_is_new_waits_for() -> None:
    cluster = FakeCluster()
    for name in ("pi1", "pi3"):
        cluster.change_node(name, feature_level=2)
    cluster.change_node("pi2", version="0.1.0")

    warnings = [one for one in shown(cluster)["warnings"] if "upgraded" in one]

    assert warnings == ["not all nodes are upgraded: what is new waits for pi2 (0.1.0)."]


async def test_what_is_new_waits_until_the_last_node_is_upgraded(tmp_path: Path) -> None:
    async with AgingNodes(tmp_path) as nodes:
        for upgraded, still_old in ((1, "pi2 .*, pi3"), (2, "pi3")):
            await nodes.upgrade(upgraded, level=2)
            entries = (await nodes.leader()).replica.last_index
            for node in nodes.nodes.values():
                with pytest.raises(NotYetEverywhere, match=f"upgrade the other nodes first: {still_old}"):
                    await node.cluster.execute(drained(1))
            assert (await nodes.leader()).replica.last_index == entries

        await nodes.upgrade(3, level=2)
        await nodes.nodes[2].cluster.execute(drained(1))

        digests = [lambda node=node: node.state.digest() for node in nodes.nodes.values()]
        await eventually(lambda: len({digest() for digest in digests}) == 1, within_seconds=10)
        assert {node.state.nodes.feature_level for node in nodes.nodes.values()} == {2}


async def test_a_node_that_is_set_back_to_an_older_program_ends_and_keeps_what_it_holds(
    tmp_path: Path,
) -> None:
    async with AgingNodes(tmp_path) as nodes:
        for number in nodes.voters:
            await nodes.upgrade(number, level=2)
        await nodes.stop(3)

        older = nodes.start(3, level=1)
        with pytest.raises(BaseExceptionGroup) as ended:
            async with asyncio.timeout(10):
                await older.run
        del nodes.nodes[3]

        assert ended.group_contains(ProgramTooOld, match="supports feature level 1")
        await nodes.nodes[1].cluster.execute(drained(1))
        again = nodes.start(3, level=2)
        await eventually(
            lambda: again.state.nodes.get(f"{1:016x}").availability == "drained",  # type: ignore[union-attr]
            within_seconds=10,
        )
