"""A group of cores with a network in hand: what is sent waits until a test delivers it, drops it or doubles it."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from replicated_queue.raft.config import RaftConfig
from replicated_queue.raft.log import RaftLog
from replicated_queue.raft.membership import Change, ChangeKind, Membership
from replicated_queue.raft.messages import (
    Entry,
    EntryId,
    HardState,
    Message,
    ReadState,
    Ready,
    Role,
    Snapshot,
)
from replicated_queue.raft.raft import Raft

CONFIG = RaftConfig(election_ticks=10, heartbeat_ticks=2, unreachable_ticks=1)


def entries_of(*terms: int, start: int = 1) -> list[Entry]:
    """Entries with these terms, one after the other."""
    return [Entry(term, index, b"%d@%d" % (index, term)) for index, term in enumerate(terms, start)]


class RaftGroup:
    """Cores by id. Disks are instant, but for those in `slow_disks`, whose Readies wait in `unpersisted`."""

    def __init__(self, *ids: int, seed: int = 0, membership: Membership | None = None, **config: Any) -> None:
        self.ids = ids or (1, 2, 3)
        self.membership = membership or Membership.of(self.ids)
        self.restored: dict[int, Snapshot] = {}
        self.read: dict[int, list[ReadState]] = {me: [] for me in self.ids}
        self.config = replace(CONFIG, **config)
        self.nodes: dict[int, Raft] = {}
        self.applied: dict[int, list[Entry]] = {}
        self.wire: list[Message] = []
        self.slow_disks: set[int] = set()
        self.unpersisted: dict[int, list[Ready]] = {}
        self.dead: set[int] = set()
        self._seed = seed
        for me in self.ids:
            self.start(me)

    def start(self, me: int, *, log: list[Entry] | None = None, hard_state: HardState | None = None) -> Raft:
        self.applied[me] = []
        self.unpersisted[me] = []
        self.nodes[me] = Raft(
            me=me,
            membership=self.membership,
            random=Random(self._seed + me),
            config=self.config,
            log=RaftLog(entries=log or []),
            hard_state=hard_state or HardState(),
        )
        return self.nodes[me]

    def take(self, me: int) -> Ready | None:
        """Do what one node's Ready says; with a slow disk the promises wait for `persist`."""
        node = self.nodes[me]
        if not node.has_ready:
            return None
        ready = node.ready()
        self.wire += ready.messages
        if ready.snapshot is not None:
            self.restored[me] = ready.snapshot
        self.applied[me] += ready.committed
        self.read[me] += ready.reads
        self.unpersisted[me].append(ready)
        if me not in self.slow_disks:
            self.persist(me)
        return ready

    def persist(self, me: int) -> None:
        """The disk of `me` has caught up."""
        for ready in self.unpersisted[me]:
            self.wire += ready.promises
            self.nodes[me].persisted(ready.term, ready.last_index)
        self.unpersisted[me] = []

    def settle(self, *, lose: Callable[[Message], bool] = lambda message: False) -> list[Message]:
        """Exchange messages until nothing moves; return all that was sent."""
        sent: list[Message] = []
        while True:
            moved = [me for me in self.ids if me not in self.dead and self.take(me) is not None]
            wire, self.wire = self.wire, []
            sent += wire
            for message in wire:
                if message.to not in self.dead and not lose(message):
                    self.nodes[message.to].step(message)
            if not wire and not moved:
                return sent

    def elect(self, me: int) -> Raft:
        """Make `me` the leader, whoever led before."""
        for node in self.nodes.values():
            node.forget_leader()
        self.nodes[me].campaign()
        self.settle()
        assert self.nodes[me].role is Role.LEADER
        return self.nodes[me]

    def compact(self, me: int, *, keep: int = 0) -> Snapshot:
        """A snapshot of what `me` has applied takes the place of its log, but for `keep` entries."""
        raft = self.nodes[me]
        members = raft.membership
        snapshot = Snapshot(raft.log.applied, members.voters.ids, members.learners)
        raft.log.compact(snapshot, keep=keep)
        return snapshot

    def change(self, kind: ChangeKind, node: int) -> None:
        """The leader proposes a change, and everybody hears of it."""
        self.nodes[self.leaders[-1]].propose_change([Change(kind, node)])
        self.settle()

    def tick(self, count: int = 1, *, settles: bool = True) -> None:
        for _ in range(count):
            for me in self.ids:
                if me not in self.dead:
                    self.nodes[me].tick()
            if settles:
                self.settle()

    @property
    def leaders(self) -> list[int]:
        return [me for me in self.ids if me not in self.dead and self.nodes[me].role is Role.LEADER]


def last_of(*entries: Entry) -> EntryId:
    return EntryId(entries[-1].term, entries[-1].index)
