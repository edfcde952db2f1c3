"""A whole group in virtual time from a seed: real cores and logs, a bad network, disks that forget, power cuts.

After each step the promises of Raft (figure 3 of the paper) are checked; violations raise.
"""

import heapq
from collections.abc import Callable
from random import Random

import msgpack

from replicated_queue.codec import STAMP, Frame, decode_frame, encode_frame
from replicated_queue.errors import Busy, NotLeader, UnknownVersion
from replicated_queue.raft.joining import join_appends, newest_acknowledgements
from replicated_queue.raft.membership import Change, ChangeKind, ChangeRefused, Membership
from replicated_queue.raft.messages import Entry, InstallSnapshot, Message, Ready, Role
from replicated_queue.replica import Replica
from replicated_queue.revival import revived
from replicated_queue.settings import raft_config
from replicated_queue.slow_disk import Unsynced
from replicated_queue.storage.errors import CorruptLog, NoRoom
from replicated_queue.storage.store import ReplicaStore
from tests.replicated_queue.service_group import Journal
from tests.simulation.machine import SETTINGS, Machine
from tests.simulation.promises import Promises
from tests.simulation.snapshots import OFFER_SECONDS, errands, expect, grown, is_due

FAULTS = ("crash", "kill", "start", "start", "part", "cut", "reset", "mend", "mend", "rot")
TICK_SECONDS = SETTINGS.tick_seconds
CONFIG = raft_config(SETTINGS)
FULL_DISK_SECONDS = 0.5  # between two tries


class World:
    """Nodes, their network and the client, all driven by one heap of events."""

    newer: set[int]  # nodes of a newer version: frames with a field more, and a kind of command more

    def __init__(self, seed: int, *, nodes: int = 3, spares: int = 0) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.steps = 0
        self.founders = tuple(range(1, nodes + 1))
        self.ids = tuple(range(1, nodes + spares + 1))
        self.nodes = {me: self.machine(me) for me in self.ids}
        self.blocked: set[tuple[int, int]] = set()
        self.loss = self.random.choice((0.0, 0.02, 0.2))
        self.slowest_disk = self.random.choice((0.002, 0.03, 2.0))
        self.newer = {me for me in self.ids if self.random.random() < 0.3}
        self.promises = Promises()
        self.waiting: dict[tuple[int, int, int], bytes] = {}  # node, its life, index -> command
        self.proposed = 0
        self.ours: set[bytes] = set()  # what `propose` proposed
        self.changes = 0  # of the membership, proposed
        self.removed: set[int] = set()  # never to come back under this id
        self.reads: dict[tuple[int, int, int], int] = {}  # node, its life, number -> what it must see
        self.reads_asked = self.reads_answered = 0
        self.snapshots_taken = self.snapshots_received = 0
        self.halted = 0  # lives that ended at a command of a newer version
        self.handed_over = 0  # by leaders with slow disks
        self.is_healed = False
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0
        for me in self.ids:
            self.start(me)

    def machine(self, me: int) -> Machine:
        """A new one."""
        return Machine(me)

    @property
    def committed(self) -> list[Entry]:
        return self.promises.committed

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

    def time_of(self, node: Machine) -> float:
        """What the machine's own clock says."""
        shown, at, rate = node.clock
        return shown + (self.now - at) * rate

    def moment(self) -> float:
        """How long a step of work takes somewhere else."""
        return self.random.uniform(0.0002, 0.02)

    # Machines

    def journal_of(self, node: Machine) -> Journal:
        """What a new process of the node begins with."""
        return Journal()

    def start(self, me: int) -> None:
        node = self.nodes[me]
        if node.is_ruined:
            return
        must_refuse = node.must_refuse in node.disk.files.items()  # unless it is no segment any more
        try:
            store = ReplicaStore(node.disk, segment_bytes=SETTINGS.segment_bytes)
        except CorruptLog:
            assert node.is_rotten, f"node {me} finds its log damaged, which nobody did"
            node.is_ruined = True
            return
        except NoRoom:
            return  # it is tried again by whoever starts it next
        assert not must_refuse, f"node {me} does not see that its log is damaged"
        recovered = store.take_recovered()
        node.begin_life(self.journal_of(node))
        node.store, node.hard_state = store, recovered.hard_state
        node.log_bytes, node.snapshot_bytes = 0, 0
        grown(node, recovered.entries)
        if recovered.reader is not None:
            node.snapshot_bytes = recovered.reader.size_bytes
            steps = node.journal.restore(recovered.reader.chunks())
            _finished(steps)()
            assert recovered.mark is not None
            self.promises.check_snapshot(recovered.mark.snapshot.last, node.journal.digest())
        node.replica = revived(
            recovered,
            me=me,
            founders=Membership.of(self.founders),
            state_machine=node.journal,
            random=Random(self.random.random()),
            settings=SETTINGS,
            now=self.time_of(node),
        )
        self.turn(node)

    def crash(self, me: int) -> None:
        """The power goes; a write that was under way may be there in part."""
        node = self.nodes[me]
        if node.is_on:
            node.lose_power(self.random)
            self._reset_links(me)

    def kill(self, me: int) -> None:
        """The process ends; what it wrote without syncing is still there."""
        node = self.nodes[me]
        if node.is_on:
            node.end_life()
            self._reset_links(me)

    def _reset_links(self, me: int) -> None:
        for peer in self.ids:
            if self.random.random() < 0.5:
                self.after(self.random.uniform(0, 0.1), lambda peer=peer: self.reset_link(peer, me))  # type: ignore[misc]

    def reset_link(self, me: int, peer: int) -> None:
        node = self.nodes[me]
        if me != peer and node.replica is not None:
            node.replica.raft.peer_unreachable(peer)
            self.turn(node)

    # Network

    def send(self, messages: list[Message], sender: Machine) -> None:
        assert sender.replica is not None
        for message in messages:
            if isinstance(message, InstallSnapshot):
                expect(self, sender, message.to, OFFER_SECONDS)
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
            if self.now < node.paused_until:
                self.after(node.paused_until - self.now, deliver)
            elif node.replica is not None and (sender, to) not in self.blocked:
                decoded = decode_frame(frame, sender=sender, to=to)
                if isinstance(decoded.message, InstallSnapshot):
                    node.offered = decoded
                    self.run_errands(node)
                else:
                    node.replica.receive(decoded, now=self.time_of(node))
                    self.turn(node)

        return deliver

    def install(self, node: Machine, offered: Frame) -> None:
        """A leader's snapshot is on the disk and decoded: the algorithm takes it, or finds it too old."""
        assert node.replica is not None
        node.replica.receive(offered, now=self.time_of(node))
        self.turn(node)

    def run_errands(self, node: Machine) -> None:
        """Let the snapshots of a node go on, one step at a time, as long as this life lasts."""
        if node.errand is not None or not (is_due(node) or node.offered is not None):
            return
        errand = node.errand = errands(self, node)

        def go_on() -> None:
            waits = max(node.disk_free_at, node.paused_until) - self.now
            if node.errand is not errand:
                return
            if waits > 0:
                self.after(waits, go_on)
                return
            try:
                self.after(next(errand), go_on)
            except StopIteration:
                self.run_errands(node)

        self.after(self.moment(), go_on)

    # One turn of a node, as the shell does it

    def turn(self, node: Machine) -> None:
        replica = node.replica
        assert replica is not None
        replica.tick(self.time_of(node))
        self.watch_disk(node, replica)
        try:
            while (ready := replica.ready()) is not None:
                self.perform(node, replica, ready)
        except UnknownVersion:
            assert node.me not in self.newer, "the command is no news to this node"
            self.halted += 1
            self.kill(node.me)
            return
        self.promises.watch(node.me, replica)
        deadline = self.now + max(0.0, replica.next_deadline() - self.time_of(node)) / node.clock[2]
        if not self.now < node.wakes_at <= deadline:
            node.wakes_at = deadline
            self.after(deadline - self.now, self.alarm(node, node.life))

    def watch_disk(self, node: Machine, replica: Replica) -> None:
        oldest = Unsynced(node.unsynced_since, node.writing[0][1].last_index) if node.writing else None
        replication, now = replica.raft.replication, self.time_of(node)
        trouble = node.disk_watch.judge(replication, oldest, is_full=node.is_full, now=now)
        if trouble is not None and trouble.successor:
            self.handed_over += 1
            replica.raft.transfer_leadership(trouble.successor)

    def alarm(self, node: Machine, life: int) -> Callable[[], None]:
        def wake() -> None:
            if node.life != life or node.replica is None:
                return
            if self.now < node.paused_until:
                self.after(node.paused_until - self.now, wake)
            else:
                self.turn(node)

        return wake

    def perform(self, node: Machine, replica: Replica, ready: Ready) -> None:
        self.promises.check_written(ready.entries, replica)
        self.send(join_appends(ready.messages, max_bytes=CONFIG.max_append_bytes), node)
        node.hard_state = ready.hard_state or node.hard_state
        grown(node, ready.entries)
        if ready.must_sync or ready.snapshot is not None or node.queued or node.writing:
            node.queued.append((node.hard_state, ready))
            self.write(node)
        else:
            self.keep_promises(node, replica, [ready])
        if ready.snapshot is not None:
            self.take_over(node, replica, ready)
        for entry in ready.committed:
            self.commit(entry)
        for state in ready.reads:
            self.reads_answered += 1
            bound = self.reads.pop((node.me, node.life, state.read))
            assert state.index >= bound, f"a read saw {state.index} after {bound} was committed"
        for index, result in replica.apply(ready.committed):
            self.applied(node, index, result)
        if replica.raft.role is not Role.LEADER:
            self.waiting = {key: value for key, value in self.waiting.items() if key[0] != node.me}
        self.run_errands(node)

    def take_over(self, node: Machine, replica: Replica, ready: Ready) -> None:
        """The algorithm has taken a leader's snapshot: the state is it, from now on."""
        assert node.prepared is not None
        mark, become = node.prepared
        assert mark.snapshot == ready.snapshot
        become()  # type: ignore[operator]
        replica.restored(mark.snapshot.last.index, stamp=mark.cluster_time)
        self.promises.check_snapshot(mark.snapshot.last, node.journal.digest())

    def commit(self, entry: Entry) -> None:
        """Somebody applies this entry."""
        self.promises.commit(entry)

    def applied(self, node: Machine, index: int, result: bytes) -> None:
        command = self.waiting.pop((node.me, node.life, index), None)
        if command == self.committed[index - 1].data[STAMP.size :]:
            self.promises.acknowledged.append((index, command))

    def write(self, node: Machine) -> None:
        if node.writing or not node.queued:
            return
        node.begin_writing()
        node.unsynced_since = self.time_of(node)
        life = node.life

        def written() -> None:
            if node.life != life or node.replica is None:
                return
            waits = max(node.disk_free_at, node.paused_until) - self.now
            if waits > 0:
                self.after(waits, written)
                return
            try:
                node.put_on_disk()
                node.is_full = False
            except NoRoom:
                node.is_full = True
                self.after(FULL_DISK_SECONDS, written)
                self.turn(node)
                return
            done, node.writing = node.writing, []
            self.keep_promises(node, node.replica, [ready for _, ready in done])
            self.write(node)
            self.turn(node)

        self.after(self.random.uniform(0.0002, self.slowest_disk), written)

    def keep_promises(self, node: Machine, replica: Replica, durable: list[Ready]) -> None:
        self.send(newest_acknowledgements([promise for ready in durable for promise in ready.promises]), node)
        for ready in durable:
            replica.raft.persisted(ready.term, ready.last_index)

    # The client

    def leader_at(self, me: int) -> tuple[Machine, Replica] | None:
        """The node of this id, if it takes itself for the leader."""
        node = self.nodes[me]
        replica = node.replica
        if replica is None or replica.raft.role is not Role.LEADER or self.now < node.paused_until:
            return None
        return node, replica

    def propose(self) -> None:
        found = self.leader_at(self.random.choice(self.ids))
        if found is None or found[0].is_full:
            return
        node, replica = found
        commands = []
        for _ in range(self.random.randrange(1, 5)):
            self.proposed += 1
            commands.append(b"%d." % self.proposed * self.random.randrange(1, 200))
        try:
            first = replica.propose(commands, now=self.time_of(node))
        except (NotLeader, Busy):
            return
        self.ours.update(commands)
        for index, command in enumerate(commands, first):
            self.waiting[node.me, node.life, index] = command
        self.turn(node)

    def ask_read(self) -> None:
        """A read that comes now must see everything that any node has applied by now."""
        found = self.leader_at(self.random.choice(self.ids))
        if found is None:
            return
        node, replica = found
        self.reads_asked += 1
        self.reads[node.me, node.life, self.reads_asked] = len(self.committed)
        replica.raft.read(self.reads_asked)
        self.turn(node)

    def change_membership(self, random: Random | None = None) -> None:
        """Somebody who leads, or believes it, moves one node."""
        random = random or self.random
        leading = [found for me in self.ids if (found := self.leader_at(me)) and found[1].is_leading]
        if not leading:
            return
        node, replica = random.choice(leading)
        membership = replica.raft.membership
        kind, who = random.choice(tuple(ChangeKind)), random.choice(self.ids)
        is_voter = who in membership.voters
        too_few = kind is not ChangeKind.ADD_VOTER and is_voter and len(membership.voters.ids) < 4
        unfit = kind is ChangeKind.ADD_VOTER and self.nodes[who].is_rotten
        if too_few or unfit or (kind is ChangeKind.REMOVE and who not in membership) or who in self.removed:
            return
        try:
            replica.raft.propose_change([Change(kind, who)])
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
        """One fault of this kind, or the end of some."""
        who = random.choice(self.ids)
        node = self.nodes[who]
        match what:
            case "crash":
                self.crash(who)
            case "kill":
                self.kill(who)
            case "start":
                off = [me for me in self.ids if not self.nodes[me].is_on]
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
                node.paused_until = self.now + random.uniform(0.1, 4.0)
            case "stall":
                node.disk_free_at = self.now + random.uniform(0.2, 5.0)
            case "fill":
                node.disk.fill()
                self.after(random.uniform(0.5, 6.0), lambda: setattr(node.disk, "capacity_bytes", None))
            case "drift":
                node.clock = (self.time_of(node), self.now, random.uniform(0.8, 1.25))
            case "step":
                node.clock = (self.time_of(node) + random.uniform(1.6, 600.0), self.now, node.clock[2])
            case "rot":
                if not any(other.is_rotten for other in self.nodes.values() if other is not node):
                    node.rot(random)
            case "upgrade":
                self.kill(who)
                self.newer.add(who)
                self.start(who)
            case _:
                self.blocked = set()

    def heal(self) -> None:
        """Everything works from now on, and every node has the newest version."""
        self.is_healed = True
        self.blocked = set()
        self.slowest_disk = 0.002
        for node in self.nodes.values():
            node.paused_until = node.disk_free_at = 0.0
            node.disk.capacity_bytes = None
        for me, node in self.nodes.items():
            if me not in self.newer:
                self.kill(me)
            self.newer.add(me)
            if not node.is_on:
                self.start(me)

    # What must hold in the end

    def check_logs(self) -> None:
        self.promises.check_logs(node.replica for node in self.nodes.values() if node.replica is not None)

    def check_converged(self) -> None:
        sound = [node for node in self.nodes.values() if not node.is_ruined]
        self.promises.check_converged(sound, self.ours)


def _finished(steps):  # type: ignore[no-untyped-def]
    """What a generator returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


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
