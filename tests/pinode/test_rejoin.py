"""A node that lost its state comes back to its own cluster, as a new one, and founds nothing (checklist 1.25)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from pinode.errors import Conflict, PinodeError
from pinode.peers.agreement import Ballot, Prepare
from pinode.peers.cluster_key import read_cluster_key
from pinode.peers.coming_back import COPY_SECONDS, NAME_TAKEN, OLD_SELF_SECONDS, ComingBack
from pinode.peers.errors import PeerRefused
from pinode.peers.founding import Founder
from pinode.peers.founding_codec import Look, encode
from pinode.peers.founding_record import FoundingMember
from pinode.peers.founding_store import FoundingStore
from pinode.peers.identity import load_node_id
from pinode.peers.joining import join_with_token
from pinode.peers.rejoin import FILE, OTHER_HARDWARE, Rejoin, keep_rejoin, read_rejoin
from tests.pinode.peer_nodes import CLUSTER_KEY, PeerNode, running
from tests.pinode.test_joining import Member, add, found_in, settings_in
from tests.waiting import eventually

OLD_ID = "4" * 16


@pytest.fixture
async def member() -> AsyncIterator[Member]:
    made = Member()
    made.cluster.apply(add(OLD_ID, "pi4"))
    async with running(made.node):
        yield made


def rejoin_to(member: Member, cluster_id: bytes | None = None) -> Rejoin:
    return Rejoin(
        cluster_id=member.record.cluster_id if cluster_id is None else cluster_id,
        old_id=OLD_ID,
        reason="damaged-log",
    )


async def test_who_comes_back_takes_the_place_of_who_it_was(member: Member, tmp_path: Path) -> None:
    member.gone.add(OLD_ID)

    await found_in(tmp_path, member.address, rejoin=rejoin_to(member))

    nodes = member.cluster.state.nodes
    named = nodes.named("pi4")
    assert named is not None and named.node_id == load_node_id(tmp_path) != OLD_ID
    assert nodes.get(OLD_ID) is None


async def test_who_comes_back_under_another_name_takes_its_old_place_too(
    member: Member, tmp_path: Path
) -> None:
    member.gone.add(OLD_ID)

    await found_in(tmp_path, member.address, name="pi5", rejoin=rejoin_to(member))

    assert member.names == ["pi1", "pi5"]


async def test_who_comes_back_at_once_waits_until_its_old_self_is_known_to_be_gone(
    member: Member, tmp_path: Path
) -> None:
    coming = asyncio.create_task(found_in(tmp_path, member.address, rejoin=rejoin_to(member)))
    await eventually(lambda: member.cluster.commands or coming.done())
    assert not coming.done()
    assert member.names == ["pi1", "pi4"]

    member.gone.add(OLD_ID)
    await coming

    assert member.names == ["pi1", "pi4"]


async def test_another_cluster_of_the_same_key_is_not_taken_for_the_own_one(
    member: Member, tmp_path: Path
) -> None:
    coming = asyncio.create_task(found_in(tmp_path, member.address, rejoin=rejoin_to(member, b"another one")))
    await eventually(lambda: member.looks > 2)

    assert not coming.done() and FoundingStore(tmp_path).record() is None
    assert member.cluster.commands == []
    coming.cancel()


async def test_who_waits_for_its_cluster_takes_part_in_no_founding(tmp_path: Path) -> None:
    """Else fresh nodes would count it, and it would be of two clusters."""
    node = PeerNode("127.0.0.2", {})
    member = FoundingMember(node_id=node.node_id, name="pi4", host="127.0.0.2", peer_port=7300)
    founder = Founder(settings_in(tmp_path), node.identity, member, node.links, Random(1), float)
    note = Rejoin(cluster_id=b"c" * 16, old_id=OLD_ID, reason="set-back")
    founder.back = ComingBack(note, data_dir=tmp_path, name="pi4")
    fresh = FoundingMember(node_id="a" * 16, name="pi9", host="10.0.0.9", peer_port=7300)

    for question in (Look(fresh, "home", ()), Prepare(Ballot(1, "a" * 16), frozenset({node.node_id}))):
        with pytest.raises(PeerRefused, match="waits for it"):
            await founder.answer("a" * 16, encode(question))


# -- by a token --------------------------------------------------------------------------------------------


async def come_back_by_token(folder: Path, member: Member, note: Rejoin, *, name: str = "pi4") -> None:
    async with asyncio.timeout(10):
        await join_with_token(
            settings_in(folder), member.token(), name=name, host="127.0.0.2", rejoin=note, pause=0.01
        )


async def test_who_comes_back_by_a_token_takes_the_place_of_who_it_was(
    member: Member, tmp_path: Path
) -> None:
    """As a node does that lost its state while the cluster key was rotated: its own copy is an old one."""
    member.gone.add(OLD_ID)

    await come_back_by_token(tmp_path, member, rejoin_to(member), name="pi5")

    assert member.names == ["pi1", "pi5"] and member.cluster.state.nodes.get(OLD_ID) is None
    assert read_cluster_key(tmp_path / "cluster.key") == CLUSTER_KEY
    assert FoundingStore(tmp_path).record() == member.record


async def test_who_comes_back_by_a_token_waits_until_its_old_self_is_known_to_be_gone(
    member: Member, tmp_path: Path
) -> None:
    coming = asyncio.create_task(come_back_by_token(tmp_path, member, rejoin_to(member)))
    await eventually(lambda: len(member.cluster.commands) > 1 or coming.done())
    assert not coming.done() and member.cluster.state.nodes.get(OLD_ID)

    member.gone.add(OLD_ID)
    await coming

    assert member.names == ["pi1", "pi4"]


async def test_a_copy_of_a_card_does_not_take_the_place_of_who_runs_by_a_token_either(
    member: Member, tmp_path: Path
) -> None:
    member.gone.add(OLD_ID)  # for a moment
    coming_back(tmp_path, [0.0]).note_refusal(NAME_TAKEN)
    note = read_rejoin(tmp_path)
    assert note

    with pytest.raises(Conflict, match="a copy of that of the node 'pi4'"):
        await come_back_by_token(tmp_path, member, note)

    assert member.cluster.commands == [] and member.cluster.state.nodes.get(OLD_ID)


async def test_a_token_of_another_cluster_counts_more_than_where_this_machine_was(
    member: Member, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await come_back_by_token(tmp_path, member, rejoin_to(member, b"another one"), name="pi5")

    assert member.names == ["pi1", "pi4", "pi5"]
    assert "this machine was in another cluster than the token is of" in caplog.text


def coming_back(folder: Path, now: list[float], *, reason: str = OTHER_HARDWARE) -> ComingBack:
    note = read_rejoin(folder) or Rejoin(cluster_id=b"c" * 16, old_id=OLD_ID, reason=reason)
    return ComingBack(note, data_dir=folder, name="pi4", clock=lambda: now[0])


@pytest.mark.parametrize(
    ("reason", "seconds"), [(OTHER_HARDWARE, COPY_SECONDS), ("set-back", OLD_SELF_SECONDS)]
)
def test_the_old_name_is_waited_for_a_while_and_for_nothing_else(
    tmp_path: Path, reason: str, seconds: float
) -> None:
    now = [100.0]
    back = coming_back(tmp_path, now, reason=reason)

    assert back.may_wait(NAME_TAKEN) and not back.may_wait("node_was_removed")
    now[0] += seconds - 1
    assert back.may_wait(NAME_TAKEN)
    now[0] += 2
    assert not back.may_wait(NAME_TAKEN)


def test_a_copy_of_a_card_that_runs_never_takes_its_place_later_when_it_is_away(tmp_path: Path) -> None:
    coming_back(tmp_path, [0.0]).note_refusal(NAME_TAKEN)

    again = coming_back(tmp_path, [0.0])

    assert again.replaces is None
    with pytest.raises(Conflict, match="a copy of that of the node 'pi4'") as refused:
        again.refuse_copy()
    assert "pinode start --moved" in refused.value.hint


def test_a_copy_of_a_card_joins_under_a_name_of_its_own(tmp_path: Path) -> None:
    coming_back(tmp_path, [0.0]).note_refusal(NAME_TAKEN)
    note = read_rejoin(tmp_path)
    assert note

    ComingBack(note, data_dir=tmp_path, name="pi5").refuse_copy()


def test_who_comes_back_to_its_own_machine_is_no_copy(tmp_path: Path) -> None:
    coming_back(tmp_path, [0.0], reason="damaged-log").note_refusal(NAME_TAKEN)

    assert read_rejoin(tmp_path) is None


def test_the_note_of_a_rejoin_comes_back_from_its_file_and_is_not_guessed(tmp_path: Path) -> None:
    note = Rejoin(cluster_id=b"c" * 16, old_id=OLD_ID, reason="set-back")
    assert read_rejoin(tmp_path) is None

    keep_rejoin(tmp_path, note)
    assert read_rejoin(tmp_path) == note

    (tmp_path / FILE).write_bytes(b"{}")
    with pytest.raises(PinodeError, match="cannot be read"):
        read_rejoin(tmp_path)
