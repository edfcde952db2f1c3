"""How a node stands to the others: another cluster, an older epoch, a disk that was set back or copied."""

import asyncio
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from pinode.peers.errors import PeerRefused
from pinode.peers.kept_generations import (
    OWN_FILE,
    PEERS_FILE,
    KeptGenerations,
    generation_of,
    next_generation,
)
from pinode.peers.standing import MAX_KNOWN, ClusterMark, DiskGeneration, Generations, next_epoch, recoveries
from tests.pinode.peer_nodes import CLUSTER_ID, PeerNode, cluster_of, running
from tests.waiting import eventually

EARLIER, LATER = DiskGeneration(5, b"earlier "), DiskGeneration(6, b"later   ")


async def echo(peer: str, payload: bytes) -> bytes:
    return payload


async def refusal_of(asking: PeerNode, asked: PeerNode) -> str:
    if "echo" not in asked.links._answers._calls:
        asked.links.serve("echo", echo)
    with pytest.raises(PeerRefused) as refused:
        await asking.links.call(asked.node_id, "echo", b"", timeout_seconds=5)
    return refused.value.code


async def test_a_member_of_a_lower_epoch_is_refused_and_both_sides_know_why() -> None:
    behind, recovered = cluster_of(2)
    recovered.cluster = ClusterMark(CLUSTER_ID, next_epoch(0, Random(1)))
    async with running(behind, recovered):
        behind.links.send(recovered.node_id, "votes", b"vote for me")
        recovered.links.send(behind.node_id, "votes", b"vote for me")
        codes = await refusal_of(behind, recovered), await refusal_of(recovered, behind)
        await eventually(lambda: behind.outdated)

    assert codes == ("old_epoch", "newer_epoch")
    assert set(behind.outdated) == {"old_epoch"}
    assert (recovered.outdated, behind.frames, recovered.frames) == ([], [], [])


async def test_who_was_removed_by_a_recovery_hears_of_the_recovery_and_may_come_back() -> None:
    """A recovery removes all others; one that a person removed is told that, and stays out."""
    behind, recovered = cluster_of(2)
    recovered.cluster = ClusterMark(CLUSTER_ID, next_epoch(0, Random(1)))
    recovered.removed.add(behind.node_id)
    async with running(behind, recovered):
        code = await refusal_of(behind, recovered)

    assert (code, set(behind.outdated)) == ("old_epoch", {"old_epoch"})


async def test_of_two_that_recovered_apart_one_gives_way_and_the_other_goes_on() -> None:
    one, two = cluster_of(2)
    epochs = [next_epoch(0, Random(seed)) for seed in (1, 2)]
    one.cluster, two.cluster = (ClusterMark(CLUSTER_ID, epoch) for epoch in sorted(epochs))
    two.links.serve("echo", echo)
    async with running(one, two):
        with pytest.raises(PeerRefused, match="recovered twice, apart"):
            await one.links.call(two.node_id, "echo", b"", timeout_seconds=5)

    assert [recoveries(epoch) for epoch in epochs] == [1, 1]
    assert (set(one.outdated), two.outdated) == ({"old_epoch"}, [])


def test_a_later_recovery_has_a_higher_epoch_whatever_was_drawn() -> None:
    epoch = 0
    for seed in range(20):
        before, epoch = epoch, next_epoch(epoch, Random(seed))
        assert epoch > before
    assert recoveries(epoch) == 20


async def test_a_node_of_a_lower_epoch_gets_nothing_from_what_is_open_to_holders_of_the_key() -> None:
    behind, recovered = cluster_of(2)
    recovered.cluster = ClusterMark(CLUSTER_ID, next_epoch(0, Random(1)))
    recovered.links.serve("founding", echo, open_to_holders=True)
    async with running(behind, recovered):
        bound = recovered.links.bound
        assert bound
        with pytest.raises(PeerRefused, match="has to come back as a new node"):
            await behind.links.exchange(bound.host, bound.port, "founding", b"", timeout_seconds=5)

        assert behind.outdated == ["old_epoch"]


async def test_a_disk_that_was_set_back_is_refused_by_who_heard_of_a_later_one() -> None:
    one, two = cluster_of(2)
    two.generations.learn(one.node_id, LATER)
    one.generation = EARLIER
    async with running(one, two):
        one.links.send(two.node_id, "votes", b"vote for me")
        code = await refusal_of(one, two)
        await eventually(lambda: one.outdated)

    assert (code, set(one.outdated), two.frames) == ("set_back", {"set_back"}, [])


async def test_who_starts_again_is_let_in_and_its_earlier_start_no_more() -> None:
    one, two = cluster_of(2)
    two.links.serve("echo", echo)
    one.generation = LATER
    async with running(one, two):
        assert await one.links.call(two.node_id, "echo", b"hello", timeout_seconds=5) == b"hello"

    assert two.generations.known == {one.node_id: LATER}
    assert two.generations.is_set_back(one.node_id, EARLIER)


async def test_a_stranger_cannot_make_a_member_look_set_back() -> None:
    """Only who is let in as a member is remembered."""
    one, two = cluster_of(2)
    one.cluster = ClusterMark(b"another cluster!", 0)
    one.generation = replace(LATER, number=1 << 40)
    async with running(one, two):
        await refusal_of(one, two)

    assert two.generations.known == {}


@pytest.mark.parametrize(
    ("heard", "is_set_back"),
    [
        (LATER, False),
        (EARLIER, True),
        (replace(LATER, mark=b"the copy"), True),
        (replace(LATER, number=7), False),
    ],
    ids=["the same start", "an earlier start", "another start of that number", "a later start"],
)
def test_a_generation_is_old_when_a_later_one_or_another_of_its_number_was_heard(
    heard: DiskGeneration, is_set_back: bool
) -> None:
    generations = Generations({"a": LATER})

    assert generations.is_set_back("a", heard) is is_set_back
    assert not generations.is_set_back("b", heard)


def test_generations_are_bounded_and_the_one_heard_of_longest_ago_gives_way() -> None:
    generations = Generations()
    for number in range(MAX_KNOWN):
        generations.learn(f"{number:016x}", EARLIER)
    generations.learn(f"{0:016x}", LATER)

    generations.learn("one more", EARLIER)

    assert len(generations.known) == MAX_KNOWN
    assert f"{0:016x}" in generations.known and f"{1:016x}" not in generations.known


def test_every_start_counts_one_further_and_has_a_mark_of_its_own(tmp_path: Path) -> None:
    first, second = next_generation(tmp_path, Random(1)), next_generation(tmp_path, Random(2))

    assert (first.number, second.number, generation_of(tmp_path)) == (1, 2, 2)
    assert first.mark != second.mark


def test_a_generation_that_cannot_be_read_counts_as_the_first_so_that_peers_remember_more(
    tmp_path: Path,
) -> None:
    (tmp_path / OWN_FILE).write_bytes(b"rotten")

    assert Generations({"a": EARLIER}).is_set_back("a", next_generation(tmp_path, Random(1)))


async def test_generations_of_peers_are_known_again_after_a_restart(tmp_path: Path) -> None:
    kept = KeptGenerations(tmp_path)
    kept.all.learn("a", LATER)
    kept.note_news()
    writing = asyncio.create_task(kept.run())
    await eventually(lambda: KeptGenerations(tmp_path).all.known == {"a": LATER})
    writing.cancel()


def test_a_damaged_file_of_generations_accuses_nobody(tmp_path: Path) -> None:
    for damaged in (b"", b"[]", b'{"version": 1, "peers": {"a": 3}}', b'{"version": 2}', b"\xff\0"):
        (tmp_path / PEERS_FILE).write_bytes(damaged)

        assert KeptGenerations(tmp_path).all.known == {}


async def test_a_removed_node_is_told_so_on_every_lane_and_to_founding_too() -> None:
    """Checklist 1.24."""
    removed, member = cluster_of(2)
    member.removed.add(removed.node_id)
    member.links.serve("founding", echo, open_to_holders=True)
    async with running(removed, member):
        removed.links.send(member.node_id, "votes", b"vote for me")
        code = await refusal_of(removed, member)
        bound = member.links.bound
        assert bound
        with pytest.raises(PeerRefused, match="was removed from this cluster"):
            await removed.links.exchange(bound.host, bound.port, "founding", b"", timeout_seconds=5)
        await eventually(lambda: len(removed.outdated) >= 3)

    assert code == "removed" and set(removed.outdated) == {"removed"}
    assert member.frames == []


async def test_who_is_removed_while_its_links_are_open_is_told_and_cut_off() -> None:
    removed, member = cluster_of(2)
    member.links.serve("echo", echo)
    async with running(removed, member):
        removed.links.send(member.node_id, "votes", b"hello")
        assert await removed.links.call(member.node_id, "echo", b"x", timeout_seconds=5) == b"x"
        await eventually(lambda: member.frames)
        member.links.cut_off_removed()
        assert removed.outdated == []

        member.removed.add(removed.node_id)
        member.links.cut_off_removed()

        await eventually(lambda: len(removed.outdated) >= 2)
        assert set(removed.outdated) == {"removed"}
        await refusal_of(removed, member)
        assert len(member.frames) == 1
