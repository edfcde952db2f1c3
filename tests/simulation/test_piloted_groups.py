"""Groups that begin with one node and are led by the autopilot through faults, joins and removals."""

import pytest

from replicated_queue.errors import Busy
from replicated_queue.raft.autopilot import (
    AutopilotRules,
    AutopilotWatch,
    next_change,
    voters_wanted,
)
from replicated_queue.raft.membership import ChangeRefused
from replicated_queue.replica import Replica
from tests.simulation.machine import Machine
from tests.simulation.world import World

RULES = AutopilotRules(stable_seconds=1.0, gone_seconds=4.0, calm_seconds=1.0, max_lag_entries=50)
LOOK_SECONDS = 0.3
FAULTS = ("crash", "kill", "start", "start", "part", "cut", "mend", "mend", "pause", "stall")
NODES = 7


class PilotedWorld(World):
    """Node 1 founds alone; the register of nodes is known to all at once, and followed by whoever leads."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, nodes=1, spares=NODES - 1)
        self.registered = {1}
        self.struck_off: set[int] = set()
        self._watches: dict[tuple[int, int, int], AutopilotWatch] = {}  # node, life, term
        self.after(LOOK_SECONDS, self.look)

    def look(self) -> None:
        """Every leader looks, also one that only believes to be one."""
        for me in self.ids:
            found = self.leader_at(me)
            if found is not None and found[1].is_leading:
                self.look_as(*found)
        self.after(LOOK_SECONDS, self.look)

    def look_as(self, node: Machine, replica: Replica) -> None:
        raft, now = replica.raft, self.time_of(node)
        key = (node.me, node.life, raft.term)
        watch = self._watches.setdefault(key, AutopilotWatch(RULES, now=now))
        view = watch.look(
            me=node.me,
            membership=raft.membership,
            registered={peer: self.nodes[peer].is_on for peer in self.registered},
            followers=replica.followers(now),
            last_index=raft.log.last_index,
            now=now,
        )
        change = next_change(view, RULES)
        if change is None:
            return
        if change.node == node.me:
            raft.transfer_leadership(raft.replication.best_successor())  # type: ignore[union-attr]
        else:
            try:
                raft.propose_change([change])
                self.changes += 1
            except (ChangeRefused, Busy):
                return
        self.turn(node)

    def change_register(self) -> None:
        """Somebody joins, or one is struck off for ever."""
        newcomers = [me for me in self.ids if me not in self.registered | self.struck_off]
        if newcomers and (len(self.registered) < 3 or self.random.random() < 0.7):
            self.registered.add(self.random.choice(newcomers))
        elif len(self.registered) > 2 and len(self.struck_off) < 3:
            gone = self.random.choice(sorted(self.registered))
            self.registered.discard(gone)
            self.struck_off.add(gone)

    def misbehave(self) -> None:
        self.suffer(self.random.choice(FAULTS), self.random)

    def check_arrived(self) -> None:
        """The group is what the register says."""
        (leader,) = {
            replica.raft.membership
            for me in self.registered
            if (replica := self.nodes[me].replica) is not None and replica.is_leading
        }
        assert set(leader.ids) == self.registered, f"{leader} and not {self.registered}"
        assert len(leader.voters.ids) == voters_wanted(len(self.registered)), f"{leader}"


def piloted(seed: int) -> PilotedWorld:
    """One life: everybody keeps every promise, and in the end the group is what it should be."""
    world = PilotedWorld(seed)
    for _ in range(20):
        for _ in range(10):
            world.after(world.random.uniform(0, 1.5), world.propose)
            world.after(world.random.uniform(0, 1.5), world.ask_read)
        world.after(world.random.uniform(0, 1.5), world.change_register)
        for _ in range(world.random.randrange(3)):
            world.after(world.random.uniform(0, 1.5), world.misbehave)
        world.run(1.5)
    world.check_logs()
    world.heal()
    for _ in range(10):
        world.after(world.random.uniform(20, 28), world.propose)
    world.run(30)
    world.check_logs()
    world.check_converged()
    world.check_arrived()
    return world


@pytest.mark.parametrize("block", range(4))
def test_an_autopilot_leads_a_group_through_faults_to_what_it_should_be(block: int) -> None:
    """Checklist 1.20 to 1.23, 1.26."""
    changes = 0
    for seed in range(40_000 + 10 * block, 40_000 + 10 * (block + 1)):
        try:
            changes += piloted(seed).changes
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    assert changes > 50
