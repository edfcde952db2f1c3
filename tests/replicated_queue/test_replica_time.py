"""How a replica counts time: all of a wait it asked for, but not a pause of its own process."""

from random import Random

import pytest

from replicated_queue.raft.log import RaftLog
from replicated_queue.raft.membership import Membership
from replicated_queue.raft.messages import HardState, Role
from replicated_queue.raft.raft import Raft
from replicated_queue.replica import Replica
from tests.replicated_queue.service_group import Journal
from tests.simulation.world import CONFIG, TICK_SECONDS

ELECTION_SECONDS = CONFIG.election_ticks * TICK_SECONDS


def replica(seed: int) -> Replica:
    raft = Raft(
        me=1,
        membership=Membership.of((1, 2, 3)),
        random=Random(seed),
        config=CONFIG,
        log=RaftLog(entries=[]),
        hard_state=HardState(),
    )
    return Replica(raft=raft, state_machine=Journal(), tick_seconds=TICK_SECONDS, now=0.0)


@pytest.mark.parametrize("seed", range(20))
def test_a_follower_that_hears_nobody_campaigns_within_twice_the_election_timeout(seed: int) -> None:
    alone, now = replica(seed), 0.0

    while alone.raft.role is Role.FOLLOWER and now < 10:
        now = alone.next_deadline() + 0.001  # as a shell that sleeps until it is due
        alone.tick(now)

    assert ELECTION_SECONDS <= now <= 2 * ELECTION_SECONDS + 0.1


def test_a_replica_that_was_paused_for_long_does_not_campaign_at_once() -> None:
    paused = replica(1)

    paused.tick(30.0)

    assert paused.raft.role is Role.FOLLOWER
