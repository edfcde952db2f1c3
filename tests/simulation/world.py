"""A whole group in virtual time from a seed: real cores and logs, a bad network, disks that forget, power cuts.

After each step the promises of Raft (figure 3 of the paper) are checked; `violations` never appear, they raise.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import msgpack

from replicated_queue.codec import STAMP, decode_frame, encode_frame, encode_record
from replicated_queue.errors import Busy, NotLeader
from replicated_queue.raft.config import RaftConfig
from replicated_queue.raft.joining import join_appends, newest_acknowledgements
from replicated_queue.raft.log import RaftLog
from replicated_queue.raft.membership import Change, ChangeKind, ChangeRefused, Membership
from replicated_queue.raft.messages import Entry, HardState, Message, Ready, Role
from replicated_queue.raft.raft import Raft
from replicated_queue.replica import Replica
from replicated_queue.slow_disk import DiskWatch, Unsynced
from replicated_queue.storage.store import ReplicaStore
from tests.replicated_queue.service_group import Journal
from tests.replicated_queue.simulated_disk import PowerCut, SimulatedDisk

FAULTS = ("crash", "start", "start", "part", "cut", "reset", "mend", "mend")
SEGMENT_BYTES = 16 * 1024
TICK_SECONDS = 0.01
CONFIG = RaftConfig(
    max_append_bytes=2000, max_inflight_appends=4, max_uncommitted_bytes=20_000, max_apply_bytes=2000
)


@dataclass
class SimulatedNode:
    """One machine: its disk outlives the process."""

    me: int
    disk: SimulatedDisk = field(default_factory=SimulatedDisk)
    life: int = 0  # counts starts; what belonged to an earlier one is void
    store: ReplicaStore | None = None
    replica: Replica | None = None  # None: off
    journal: Journal = field(default_factory=Journal)
    hard_state: HardState = field(default_factory=HardState)
    queued: list[tuple[HardState, Ready]] = field(default_factory=list)  # wait for the disk to be free
    writing: list[tuple[HardState, Ready]] = field(default_factory=list)
    wakes_at: float = 0.0
    disk_watch: DiskWatch = field(default_factory=DiskWatch)
    unsynced_since: float = 0.0  # of the first Ready in `writing`
    clock: tuple[float, float, float] = (0.0, 0.0, 1.0)  # what it showed, when, and how fast it runs
    paused_until: float = 0.0
    disk_free_at: float = 0.0  # stalled, or full, until then


class World:
    """Nodes, their network and the client, all driven by one heap of events."""

    make_journal: Callable[[], Journal] = Journal
    newer: frozenset[int] | set[int] = frozenset()  # nodes that speak with fields that others do not know

    def __init__(self, seed: int, *, nodes: int = 3, spares: int = 0) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.steps = 0
        self.founders = tuple(range(1, nodes + 1))
        self.ids = tuple(range(1, nodes + spares + 1))
        self.nodes = {me: SimulatedNode(me) for me in self.ids}
        self.blocked: set[tuple[int, int]] = set()
        self.loss = self.random.choice((0.0, 0.02, 0.2))
        self.slowest_disk = self.random.choice((0.002, 0.03, 2.0))
        self.leaders: dict[int, int] = {}  # term -> who led it
        self.committed: list[Entry] = []
        self.acknowledged: list[tuple[int, bytes]] = []
        self.waiting: dict[tuple[int, int, int], bytes] = {}  # node, its life, index -> command
        self.proposed = 0
        self.ours: set[bytes] = set()  # what `propose` proposed
        self.changes = 0  # of the membership, proposed
        self.removed: set[int] = set()  # never to come back under this id
        self.reads: dict[tuple[int, int, int], int] = {}  # node, its life, number -> what it must see
        self.reads_asked = 0
        self.reads_answered = 0
        self.is_healed = False
        self.handed_over = 0  # by leaders with slow disks
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0
        for me in self.ids:
            self.start(me)

    # Time

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._events, (self.now + seconds, self._sequence, action))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, action = heapq.heappop(self._events)
            self.steps += 1
            action()
        self.now = end

    def time_of(self, node: SimulatedNode) -> float:
        """What the machine's own clock says."""
        shown, at, rate = node.clock
        return shown + (self.now - at) * rate

    def is_paused(self, node: SimulatedNode) -> bool:
        return self.now < node.paused_until

    # Machines

    def start(self, me: int) -> None:
        node = self.nodes[me]
        node.life += 1
        node.store = ReplicaStore(node.disk, segment_bytes=SEGMENT_BYTES)
        recovered = node.store.take_recovered()
        node.hard_state, node.journal = recovered.hard_state, self.make_journal()
        node.queued, node.writing = [], []
        raft = Raft(
            me=me,
            membership=Membership.of(self.founders),
            random=Random(self.random.random()),
            config=CONFIG,
            log=RaftLog(entries=recovered.entries),
            hard_state=recovered.hard_state,
        )
        node.replica = Replica(
            raft=raft, state_machine=node.journal, tick_seconds=TICK_SECONDS, now=self.time_of(node)
        )
        self.turn(node)

    def crash(self, me: int) -> None:
        """The power goes; a write that was under way may be there in part."""
        node = self.nodes[me]
        if node.replica is None:
            return
        if node.writing:
            node.disk.cut_after = node.disk.operations + self.random.randrange(6)
            try:
                put_on_disk(node)
            except PowerCut:
                pass
        node.disk.lose_power(self.random)
        node.replica = None
        for peer in self.ids:
            if self.random.random() < 0.5:
                self.after(self.random.uniform(0, 0.1), lambda peer=peer: self.reset_link(peer, me))  # type: ignore[misc]

    def reset_link(self, me: int, peer: int) -> None:
        node = self.nodes[me]
        if me != peer and node.replica is not None:
            node.replica.raft.peer_unreachable(peer)
            self.turn(node)

    # Network

    def send(self, messages: list[Message], sender: SimulatedNode) -> None:
        assert sender.replica is not None
        for message in messages:
            frame = encode_frame(message, now=sender.replica.cluster_time(self.time_of(sender)))
            if sender.me in self.newer:
                frame = msgpack.packb([*msgpack.unpackb(frame), "a field of a newer version"])
            copies = 1 + (not self.is_healed and self.random.random() < 0.05)
            for _ in range(copies):
                if self.is_healed or self.random.random() >= self.loss:
                    late = not self.is_healed and self.random.random() < 0.02
                    delay = self.random.uniform(0.0005, 3.0 if late else 0.02)
                    self.after(delay, self.delivery(sender.me, message.to, frame))

    def delivery(self, sender: int, to: int, frame: bytes) -> Callable[[], None]:
        def deliver() -> None:
            node = self.nodes[to]
            if self.is_paused(node):
                self.after(node.paused_until - self.now, deliver)
            elif node.replica is not None and (sender, to) not in self.blocked:
                node.replica.receive(decode_frame(frame, sender=sender, to=to), now=self.time_of(node))
                self.turn(node)

        return deliver

    # One turn of a node, as the shell does it

    def turn(self, node: SimulatedNode) -> None:
        replica = node.replica
        assert replica is not None
        replica.tick(self.time_of(node))
        self.watch_disk(node, replica)
        while (ready := replica.ready()) is not None:
            self.perform(node, replica, ready)
        self.watch(node, replica)
        deadline = self.now + max(0.0, replica.next_deadline() - self.time_of(node)) / node.clock[2]
        if not self.now < node.wakes_at <= deadline:
            node.wakes_at = deadline
            self.after(deadline - self.now, self.alarm(node, node.life))

    def watch_disk(self, node: SimulatedNode, replica: Replica) -> None:
        oldest = Unsynced(node.unsynced_since, node.writing[0][1].last_index) if node.writing else None
        slow = node.disk_watch.judge(replica.raft.replication, oldest, is_full=False, now=self.time_of(node))
        if slow is not None:
            self.handed_over += slow.successor != 0
            if slow.successor:
                replica.raft.transfer_leadership(slow.successor)

    def alarm(self, node: SimulatedNode, life: int) -> Callable[[], None]:
        def wake() -> None:
            if node.life != life or node.replica is None:
                return
            if self.is_paused(node):
                self.after(node.paused_until - self.now, wake)
            else:
                self.turn(node)

        return wake

    def perform(self, node: SimulatedNode, replica: Replica, ready: Ready) -> None:
        self.send(join_appends(ready.messages, max_bytes=CONFIG.max_append_bytes), node)
        node.hard_state = ready.hard_state or node.hard_state
        if ready.must_sync or node.queued or node.writing:
            node.queued.append((node.hard_state, ready))
            self.write(node)
        else:
            self.keep_promises(node, replica, [ready])
        for entry in ready.committed:
            self.check_committed(entry)
        for state in ready.reads:
            self.reads_answered += 1
            bound = self.reads.pop((node.me, node.life, state.read))
            assert state.index >= bound, f"a read saw {state.index} after {bound} was committed"
        for index, result in replica.apply(ready.committed):
            self.applied(node, index, result)
        if replica.raft.role is not Role.LEADER:
            self.waiting = {key: value for key, value in self.waiting.items() if key[0] != node.me}

    def applied(self, node: SimulatedNode, index: int, result: bytes) -> None:
        command = self.waiting.pop((node.me, node.life, index), None)
        if command == self.committed[index - 1].data[STAMP.size :]:
            self.acknowledged.append((index, command))

    def write(self, node: SimulatedNode) -> None:
        if node.writing or not node.queued:
            return
        node.writing, node.queued, node.unsynced_since = node.queued, [], self.time_of(node)
        life = node.life

        def written() -> None:
            if node.life != life or node.replica is None:
                return
            if self.now < max(node.disk_free_at, node.paused_until):
                self.after(max(node.disk_free_at, node.paused_until) - self.now, written)
                return
            put_on_disk(node)
            done, node.writing = node.writing, []
            self.keep_promises(node, node.replica, [ready for _, ready in done])
            self.write(node)
            self.turn(node)

        self.after(self.random.uniform(0.0002, self.slowest_disk), written)

    def keep_promises(self, node: SimulatedNode, replica: Replica, durable: list[Ready]) -> None:
        self.send(newest_acknowledgements([promise for ready in durable for promise in ready.promises]), node)
        for ready in durable:
            replica.raft.persisted(ready.term, ready.last_index)

    # The client

    def propose(self) -> None:
        node = self.nodes[self.random.choice(self.ids)]
        if node.replica is None or node.replica.raft.role is not Role.LEADER:
            return
        commands = []
        for _ in range(self.random.randrange(1, 5)):
            self.proposed += 1
            commands.append(b"%d." % self.proposed * self.random.randrange(1, 200))
        try:
            first = node.replica.propose(commands, now=self.time_of(node))
        except (NotLeader, Busy):
            return
        self.ours.update(commands)
        for index, command in enumerate(commands, first):
            self.waiting[node.me, node.life, index] = command
        self.turn(node)

    def ask_read(self) -> None:
        """A read that comes now must see everything that any node has applied by now."""
        node = self.nodes[self.random.choice(self.ids)]
        if node.replica is None or node.replica.raft.role is not Role.LEADER:
            return
        self.reads_asked += 1
        self.reads[node.me, node.life, self.reads_asked] = len(self.committed)
        node.replica.raft.read(self.reads_asked)
        self.turn(node)

    def change_membership(self) -> None:
        """Somebody who leads, or believes it, moves one node."""
        node = self.nodes[self.random.choice(self.ids)]
        if node.replica is None or not node.replica.is_leading:
            return
        membership = node.replica.raft.membership
        kind, who = self.random.choice(tuple(ChangeKind)), self.random.choice(self.ids)
        too_few = (
            kind is not ChangeKind.ADD_VOTER and who in membership.voters and len(membership.voters.ids) < 4
        )
        if too_few or (kind is ChangeKind.REMOVE and who not in membership) or who in self.removed:
            return
        try:
            node.replica.raft.propose_change([Change(kind, who)])
        except (ChangeRefused, Busy):
            return
        self.changes += 1
        if kind is ChangeKind.REMOVE:
            self.removed.add(who)
        self.turn(node)

    # Faults

    def misbehave(self) -> None:
        """One random fault, or the end of some."""
        self.suffer(self.random.choice(FAULTS), self.random)

    def suffer(self, what: str, random: Random) -> None:
        """One fault of this kind."""
        match what:
            case "crash":
                self.crash(random.choice(self.ids))
            case "start":
                off = [me for me in self.ids if self.nodes[me].replica is None]
                if off:
                    self.start(random.choice(off))
            case "part":
                side = set(random.sample(self.ids, random.randrange(1, len(self.ids))))
                self.blocked = {(a, b) for a in self.ids for b in self.ids if (a in side) != (b in side)}
            case "cut":
                pairs = [(a, b) for a in self.ids for b in self.ids if a != b]
                self.blocked |= set(random.sample(pairs, random.randrange(1, 3)))  # one way
            case "reset":
                self.reset_link(*random.sample(self.ids, 2))
            case "pause":
                self.nodes[random.choice(self.ids)].paused_until = self.now + random.uniform(0.1, 4.0)
            case "stall" | "full":
                self.nodes[random.choice(self.ids)].disk_free_at = self.now + random.uniform(0.2, 5.0)
            case "drift":
                node = self.nodes[random.choice(self.ids)]
                node.clock = (self.time_of(node), self.now, random.uniform(0.8, 1.25))
            case _:
                self.blocked = set()

    def heal(self) -> None:
        """Everything works from now on."""
        self.is_healed = True
        self.blocked = set()
        self.slowest_disk = 0.002
        for node in self.nodes.values():
            node.paused_until = node.disk_free_at = 0.0
        for me in self.ids:
            if self.nodes[me].replica is None:
                self.start(me)

    # What must hold

    def watch(self, node: SimulatedNode, replica: Replica) -> None:
        raft = replica.raft
        if raft.role is Role.LEADER:
            first = self.leaders.setdefault(raft.term, node.me)
            assert first == node.me, f"{first} and {node.me} both led term {raft.term}"

    def check_committed(self, entry: Entry) -> None:
        if entry.index <= len(self.committed):
            known = self.committed[entry.index - 1]
            assert known == entry, f"{known} was committed, then {entry}"
        else:
            assert entry.index == len(self.committed) + 1
            self.committed.append(entry)

    def check_logs(self) -> None:
        """Log matching: two logs with one entry in common are equal up to it; and they hold what is committed."""
        logs = [node.replica.raft.log for node in self.nodes.values() if node.replica is not None]
        for log in logs:
            assert log.entries_from(1, end=log.commit_index) == self.committed[: log.commit_index]
        for one in logs:
            for other in logs:
                shared = min(one.last_index, other.last_index)
                while shared and one.term_at(shared) != other.term_at(shared):
                    shared -= 1
                assert one.entries_from(1, end=shared) == other.entries_from(1, end=shared)

    def check_converged(self) -> None:
        """After healing: one leader, equal states, and nothing acknowledged was lost or done twice."""
        everybody = [node.replica for node in self.nodes.values() if node.replica is not None]
        assert len(everybody) == len(self.ids)
        leaders = [replica.raft for replica in everybody if replica.raft.role is Role.LEADER]
        assert len(leaders) == 1, f"{len(leaders)} leaders after healing"
        members = leaders[0].membership
        replicas = [replica for replica in everybody if replica.raft.me in members]
        assert len({replica.applied_index for replica in replicas}) == 1
        assert all(replica.raft.membership == members for replica in replicas), "views of the group differ"
        assert len({self.nodes[me].journal.digest() for me in members.ids}) == 1, "states differ"
        journals = [self.nodes[me].journal.commands for me in members.ids]
        assert all(journal == journals[0] for journal in journals)
        stamps = [now for _, now, _ in journals[0]]
        assert stamps == sorted(stamps), "cluster time ran backwards"
        places = {index: command for index, _, command in journals[0]}
        proposals = [command for _, _, command in journals[0] if command in self.ours]
        assert len(set(proposals)) == len(proposals), "a proposal was done twice"
        for index, command in self.acknowledged:
            assert places[index] == command, f"entry {index} was acknowledged and lost"


def put_on_disk(node: SimulatedNode) -> None:
    """Write what is being written as the writer's thread would: the vote, then one batch."""
    assert node.store is not None
    newest, _ = node.writing[-1]
    if not node.store.ballot.holds(newest):
        node.store.ballot.cast(newest)
    records = [encode_record(hard, ready.entries) for hard, ready in node.writing if ready.entries]
    if records:
        node.store.wal.append(b"".join(records))


def live_through(seed: int, *, nodes: int = 3, spares: int = 0, seconds: float = 20.0) -> World:
    """One life of a group: faults and proposals, then healing; every promise is checked on the way."""
    world = World(seed, nodes=nodes, spares=spares)
    pause = seconds / 20
    for _ in range(20):
        for _ in range(10):
            world.after(world.random.uniform(0, pause), world.propose)
            world.after(world.random.uniform(0, pause), world.ask_read)
        for _ in range(10 if spares else 0):
            world.after(world.random.uniform(0, pause), world.change_membership)
        for _ in range(world.random.randrange(3)):
            world.after(world.random.uniform(0, pause), world.misbehave)
        world.run(pause)
        world.check_logs()
    world.heal()
    for _ in range(10):
        world.after(world.random.uniform(5, 9), world.propose)
    world.run(10)
    world.check_logs()
    world.check_converged()
    return world
