"""When a node that starts may act on what it knows: decision 19, "nothing new until a leader's index is applied"."""

import asyncio
from dataclasses import dataclass

import pytest

from pinode.raft_links import CaughtUp
from tests.waiting import eventually


@dataclass
class ScriptedReplica:
    """What `CaughtUp` looks at, set by the test."""

    is_leader: bool = False
    has_opened: bool = False  # its term, by an entry that is applied
    looks: int = 0
    leader_id: int | None = None
    has_quorum: bool = True
    commit_index: int = 0
    applied_index: int = 0

    @property
    def is_leading(self) -> bool:
        self.looks += 1
        return self.is_leader and self.has_opened

    async def confirm_leadership(self) -> int:
        return self.commit_index


@dataclass
class ScriptedLeader:
    """A leader that answers with its commit index."""

    commit_index: int
    was_asked: bool = False

    async def commit_index_of_leader(self, peer: int) -> int:
        self.was_asked = True
        return self.commit_index


@pytest.fixture
async def running():
    tasks = []

    def run(replica: ScriptedReplica, leader: ScriptedLeader) -> CaughtUp:
        caught_up = CaughtUp(replica, leader)  # type: ignore[arg-type]
        tasks.append(asyncio.create_task(caught_up.run()))
        return caught_up

    yield run
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_follower_has_caught_up_when_it_applied_what_the_leader_had_committed(running) -> None:
    replica = ScriptedReplica(leader_id=2, applied_index=5)
    leader = ScriptedLeader(commit_index=9)
    caught_up = running(replica, leader)

    await eventually(lambda: replica.looks and leader.was_asked)

    assert not caught_up()
    replica.applied_index = 9
    assert caught_up()


async def test_a_leader_just_elected_waits_for_its_first_entry_before_it_trusts_its_own_index(
    running,
) -> None:
    """After a power cut its commit index may be from long ago, and dynos placed since would be stopped."""
    replica = ScriptedReplica(is_leader=True, leader_id=1, commit_index=3, applied_index=3)
    caught_up = running(replica, ScriptedLeader(commit_index=3))

    await eventually(lambda: replica.looks)
    assert not caught_up()

    replica.commit_index = replica.applied_index = 12
    replica.has_opened = True
    await eventually(caught_up)
