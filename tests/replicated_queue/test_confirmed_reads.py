"""Reads that promise to be current: the shell's part of ReadIndex (thesis §6.4, checklist 1.15, 1.16, 1.18)."""

import asyncio
from pathlib import Path

import pytest

from replicated_queue.confirmations import Confirmations
from replicated_queue.errors import NotLeader, QueueError
from replicated_queue.raft.messages import Heartbeat
from replicated_queue.replica import Replica
from tests.replicated_queue.raft_group import RaftGroup
from tests.replicated_queue.service_group import Journal, ServiceGroup, proposed
from tests.waiting import eventually

FAST = {"heartbeat_seconds": 0.05, "election_timeout_seconds": 0.3, "segment_bytes": 256 * 1024}


class Asked:
    """The core of a leader of three, and what became of each who asked."""

    def __init__(self) -> None:
        self.group = RaftGroup()
        raft = self.group.elect(1)
        self.replica = Replica(raft=raft, state_machine=Journal(), tick_seconds=0.01, now=0.0)
        self.confirmations = Confirmations()
        self.answers: dict[str, int | QueueError] = {}

    def ask(self, name: str) -> None:
        self.confirmations.add(lambda outcome: self.answers.__setitem__(name, outcome))
        self.confirmations.ask(self.replica)

    def settle(self) -> None:
        self.group.settle()
        self.confirmations.heard(self.group.read[1])
        self.group.read[1] = []


def test_who_asks_while_a_round_is_under_way_is_served_by_the_next() -> None:
    """Checklist 1.16: answers to a round that began before may be from before a successor was elected."""
    asked = Asked()
    asked.ask("first")
    asked.ask("second")
    asked.settle()
    asked.confirmations.answer(1)
    assert asked.answers == {"first": 1}

    asked.confirmations.ask(asked.replica)
    asked.settle()
    asked.confirmations.answer(1)

    assert asked.answers == {"first": 1, "second": 1}


def test_a_read_waits_until_its_index_is_applied() -> None:
    """Checklist 1.16."""
    asked = Asked()
    asked.ask("read")
    asked.settle()

    asked.confirmations.answer(0)
    assert asked.answers == {}

    asked.confirmations.answer(1)
    assert asked.answers == {"read": 1}


def test_a_round_of_an_earlier_leadership_serves_nobody() -> None:
    """Checklist 1.18."""
    asked = Asked()
    asked.ask("read")
    raft = asked.replica.raft
    raft.step(Heartbeat(sender=2, to=1, term=raft.term + 1, commit=0))

    asked.confirmations.ask(asked.replica)

    assert isinstance(asked.answers["read"], NotLeader)


async def test_a_confirmed_leader_has_applied_all_that_was_answered_before(tmp_path: Path) -> None:
    """Checklist 1.16."""
    async with ServiceGroup(tmp_path, **FAST) as group:
        leader = await group.elected()
        answer = await proposed(leader, b"one")

        index = await leader.confirm_leadership()

        assert index >= int(answer.split(b":")[0])
        assert leader.applied_index >= index


async def test_a_leader_that_does_not_know_of_its_successor_confirms_nothing(tmp_path: Path) -> None:
    """Checklist 1.15, 1.18: it still believes that it leads, and says so to nobody."""
    async with ServiceGroup(tmp_path, **FAST) as group:
        old = await group.elected()
        await proposed(old, b"before")
        group.cut_off = {group.id_of(old)}
        asked = asyncio.ensure_future(old.confirm_leadership())
        new = await group.elected()
        await proposed(new, b"that the old one has not seen")

        with pytest.raises(NotLeader):
            await asked

        assert new is not old


async def test_a_follower_confirms_nothing_and_neither_does_who_stops(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, **FAST) as group:
        leader = await group.elected()
        follower = next(one for one in group.services.values() if one is not leader)
        with pytest.raises(NotLeader):
            await follower.confirm_leadership()
        group.cut_off = {group.id_of(leader)}
        asked = asyncio.ensure_future(leader.confirm_leadership())
        await asyncio.wait([asked], timeout=0)

        await group.stop(group.id_of(leader))

        with pytest.raises(NotLeader):
            await asked
        with pytest.raises(NotLeader):
            await leader.confirm_leadership()


async def test_one_round_of_heartbeats_serves_all_who_ask_meanwhile(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, **{**FAST, "heartbeat_seconds": 0.25}) as group:
        leader = await group.elected()
        await proposed(leader, b"opened")
        await eventually(lambda: all(one.is_active for one in leader.followers()))
        before = group.sent

        await asyncio.gather(*(leader.confirm_leadership() for _ in range(200)))

        assert group.sent - before < 60


async def test_a_lone_voter_confirms_itself(tmp_path: Path) -> None:
    async with ServiceGroup(tmp_path, voters=(1,), learners=(2,), **FAST) as group:
        leader = await group.elected()
        await group.stop(2)

        assert await leader.confirm_leadership() == leader.applied_index
