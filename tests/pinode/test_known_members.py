"""The file of the members last seen: found again after a restart, and written no oftener than it must be."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gossip.events import Event, MemberAlive
from gossip.member import Member, MemberState
from pinode.peers.known_members import KnownMembers
from tests.gossip.factories import accused, member, node_id
from tests.waiting import eventually


class FakeGossip:
    """Members that a test sets."""

    def __init__(self) -> None:
        self.held: dict[str, Member] = {node_id("a"): member("a")}
        self.subscribers: list[Callable[[Event], None]] = []

    def members(self) -> tuple[Member, ...]:
        return tuple(self.held.values())

    def subscribe(self, subscriber: Callable[[Event], None]) -> None:
        self.subscribers.append(subscriber)

    def hears(self, *members: Member) -> None:
        for one in members:
            self.held[one.node_id] = one
            for subscriber in self.subscribers:
                subscriber(MemberAlive(one))


@asynccontextmanager
async def kept(file: Path, gossip: FakeGossip) -> AsyncIterator[KnownMembers]:
    known = KnownMembers(file, own_id=node_id("a"), settle_seconds=0.01)
    known.load()
    known.watch(gossip)
    task = asyncio.create_task(known.run())
    try:
        yield known
    finally:
        task.cancel()


def read_back(file: Path) -> dict[str, tuple[str, int]]:
    return {one.name: one.address for one in KnownMembers(file, own_id=node_id("a")).load()}


async def test_members_and_their_newest_addresses_are_known_after_a_restart(tmp_path: Path) -> None:
    file, gossip = tmp_path / "known_members", FakeGossip()
    moved = replace(member("c", incarnation=1), address=("10.9.9.9", 7300))

    async with kept(file, gossip) as known:
        gossip.hears(member("b"), member("c"))
        await eventually(lambda: known.writes == 1)
        gossip.hears(moved)
        await eventually(lambda: known.writes == 2)

    assert read_back(file) == {"b": member("b").address, "c": ("10.9.9.9", 7300)}


async def test_changes_that_move_nobody_write_nothing(tmp_path: Path) -> None:
    file, gossip = tmp_path / "known_members", FakeGossip()

    async with kept(file, gossip) as known:
        gossip.hears(member("b"))
        await eventually(lambda: known.writes == 1)
        gossip.hears(accused("b"), accused("b", state=MemberState.DEAD))
        gossip.hears(member("b", run_id=2), member("c"))
        await eventually(lambda: known.writes == 2)

    assert sorted(read_back(file)) == ["b", "c"]


async def test_a_start_that_finds_everyone_where_they_were_writes_nothing(tmp_path: Path) -> None:
    file, gossip = tmp_path / "known_members", FakeGossip()
    async with kept(file, gossip) as first:
        gossip.hears(member("b"))
        await eventually(lambda: first.writes == 1)

    again = FakeGossip()
    async with kept(file, again) as second:
        again.hears(member("b", run_id=2))
        await eventually(lambda: not second._changed.is_set())
        again.hears(member("c"))
        await eventually(lambda: second.writes and "c" in read_back(file))

    assert second.writes == 1, "the one for c"


async def test_a_member_that_was_not_heard_yet_stays_in_the_file_and_one_that_left_does_not(
    tmp_path: Path,
) -> None:
    file, gossip = tmp_path / "known_members", FakeGossip()
    async with kept(file, gossip) as first:
        gossip.hears(member("b"), member("c"))
        await eventually(lambda: first.writes == 1)

    again = FakeGossip()
    async with kept(file, again) as second:
        again.hears(accused("c", state=MemberState.LEFT))
        await eventually(lambda: second.writes == 1)

    assert sorted(read_back(file)) == ["b"]


async def test_a_disk_that_refuses_is_tried_again_at_the_next_change(tmp_path: Path) -> None:
    folder, gossip = tmp_path / "data", FakeGossip()
    folder.write_text("a file where the folder should be")

    async with kept(folder / "known_members", gossip) as known:
        gossip.hears(member("b"))
        await eventually(lambda: not known._changed.is_set())
        folder.unlink()
        gossip.hears(member("b", run_id=2))
        await eventually(lambda: known.writes == 1)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff", b"[]", b'{"version": 2, "members": []}', b'{"version": 1}', b'{"version": 1, "members": [7]}',
        b'{"version": 1, "members": [{"node_id": "b", "name": "b", "host": 1, "port": 1}]}',
        b'{"version": 1, "members": [{"node_id": "b", "name": "b", "host": "x.example", "port": 1}]}',
    ],
)  # fmt: skip
def test_a_damaged_file_names_nobody(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "known_members"
    file.write_bytes(content)

    assert KnownMembers(file, own_id=node_id("a")).load() == ()
