"""The real shells in virtual time: services, brokers and clients on event loops of their own, over the same network.

Nothing of `replicated_queue` is left out but threads and sockets: the writer takes its steps when the disk would
be done, streams and frames arrive when the network lets them. What holds in `queue_world.py` must hold here.
"""

import asyncio
import errno
import gc
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import msgpack

from replicated_queue.autopilot import Autopilot
from replicated_queue.broker import Broker
from replicated_queue.client import QueueClient
from replicated_queue.client_server import queue_protocol
from replicated_queue.errors import (
    AlreadyDone,
    Busy,
    LeaseLost,
    NodeUnreachable,
    NoQuorum,
    OutcomeUnknown,
    QueueError,
    UnknownVersion,
)
from replicated_queue.interfaces import Lane
from replicated_queue.operations import QueueOperations
from replicated_queue.raft.autopilot import AutopilotRules
from replicated_queue.service import ReplicaService
from replicated_queue.storage.errors import CorruptLog, NoRoom
from replicated_queue.storage.store import ReplicaStore
from replicated_queue.storage.writer import StoreWriter, Write, WriterCallbacks
from tests.replicated_queue.simulated_disk import PowerCut
from tests.simulation.linearizability import NEVER, Operation
from tests.simulation.machine import SETTINGS, Machine
from tests.simulation.node_loop import NodeLoop, Stream
from tests.simulation.queue_world import HOUR_MS, TOMORROW, QueueJournal, QueueWorld

CLIENT_TIMEOUT_SECONDS = 3.0
RULES = AutopilotRules(stable_seconds=0.5, gone_seconds=2.0, calm_seconds=0.5)
NOT_DONE = (NoQuorum, Busy, NodeUnreachable)
Arrived = Callable[[], None]


class SteppedWriter(StoreWriter):
    """The writer without its thread: it works when the disk would be done."""

    def __init__(
        self, world: "ShellWorld", node: "ShellNode", store: ReplicaStore, callbacks: WriterCallbacks
    ) -> None:
        super().__init__(store, callbacks, clock=lambda: world.now)
        self._world = world
        self._node = node
        self._life = node.life
        self._is_under_way = False
        node.writer = self

    def start(self) -> None:
        self._go_on()

    def submit(self, write: Write) -> None:
        super().submit(write)
        self._go_on()

    def forget_upto(self, index: int) -> None:
        super().forget_upto(index)
        self._go_on()

    def stop(self) -> None:
        pass  # whoever ends here is killed

    def step(self) -> None:
        """What the disk does at once."""
        if not self._queue.empty():
            self._take()
        self._write_all()

    def _go_on(self) -> None:
        if not self._is_under_way and self._node.life == self._life:
            self._is_under_way = True
            seconds = self._world.random.uniform(0.0002, self._world.slowest_disk)
            self._world.after(seconds, self._written)

    def _written(self) -> None:
        node, world = self._node, self._world
        if node.life != self._life or not node.is_on:
            return
        waits = max(node.disk_free_at, node.paused_until) - world.now
        if waits > 0:
            world.after(waits, self._written)
            return
        self._is_under_way = False
        try:
            self.step()
        except Exception as error:
            self._tell.on_failure(error)
            return
        if self._lacking is not None or not self._queue.empty():
            self._go_on()

    def _begin_preparation(self) -> None:
        self._prepare()


@dataclass
class ShellNode(Machine):
    """A machine that runs a node's part of the queue."""

    loop: NodeLoop | None = None
    service: ReplicaService | None = None
    broker: Broker | None = None
    writer: SteppedWriter | None = None
    streams: list[Stream] = field(default_factory=list)  # the far ends
    asked: list["asyncio.Future[bytes]"] = field(default_factory=list)  # calls of others that wait for us
    fetched: list[Callable[[Exception], None]] = field(default_factory=list)  # snapshots of ours on their way
    seen_applied: int = 0
    seen_last: int = 0
    results: list[tuple[int, Any]] = field(default_factory=list)  # applied, and not compared yet

    @property
    def is_on(self) -> bool:
        return self.loop is not None


class ShellJournal(QueueJournal):
    """Keeps its answers until the world has seen the entries."""

    def __init__(self, node: ShellNode, *, is_newer: bool) -> None:
        super().__init__(is_newer=is_newer)
        self._node = node

    def apply(self, command: bytes, *, index: int, now: int, parts: Sequence[Any] = ()) -> Any:
        result = super().apply(command, index=index, now=now, parts=parts)
        self._node.results.append((index, result))
        return result


class Link:
    """`Transport` of one process."""

    def __init__(self, world: "ShellWorld", node: ShellNode) -> None:
        self._world = world
        self._node = node
        self._life = node.life

    def send(self, peer: int, frame: bytes, *, lane: Lane) -> None:
        world, node = self._world, self._node
        if node.life != self._life or not node.is_on:
            return
        if node.me in world.newer:
            frame = msgpack.packb([*msgpack.unpackb(frame), "a field of a newer version"])
        if world.is_healed or world.random.random() >= world.loss / 4:
            world.carry((node.me, peer, lane), lambda: world.deliver(node.me, peer, frame))

    async def call(self, peer: int, frame: bytes, *, timeout_seconds: float) -> bytes:
        return await self._world.call(self._node, peer, frame)

    async def fetch(self, peer: int, request: bytes) -> AsyncIterator[bytes]:
        pieces = self._world.fetch(self._node, peer, request)
        while True:
            piece = await pieces.get()
            if isinstance(piece, Exception):
                raise piece
            if not piece:
                return
            yield piece


@dataclass
class Person:
    """Somebody with a client of their own, and one wish at a time."""

    number: int
    machine: Machine
    loop: NodeLoop | None = None
    queue: QueueClient | None = None
    is_busy: bool = False
    jobs: list[Any] = field(default_factory=list)


class ShellWorld(QueueWorld):
    """`customers` have a client each; the node that serves one asks whichever leads."""

    healing_seconds = 8.0

    def __init__(
        self, seed: int, *, nodes: int = 3, spares: int = 0, customers: int = 3, leases_end: bool = False
    ) -> None:
        self.registered = dict.fromkeys(range(1, nodes + 1), True)
        self.free_at: dict[object, float] = {}  # wire → when what was sent last arrives
        self.calls_answered = 0
        self.waits_served = 0  # reserves that found nothing at once, and then a job
        self.is_served: object = False  # after healing
        super().__init__(seed, nodes=nodes, spares=spares, customers=0, leases_end=leases_end)
        self.people = [Person(number, Machine(100 + number)) for number in range(customers)]
        self.machines = {node.me: node for node in (*self.nodes.values(), *(p.machine for p in self.people))}
        for person in self.people:
            self.open_client(person)

    def machine(self, me: int) -> Machine:
        return ShellNode(me)

    # `Surroundings` of the loops

    def clock_of(self, loop: NodeLoop) -> float:
        return self.time_of(loop.name)  # type: ignore[arg-type]

    def seconds_until(self, loop: NodeLoop, shown: float) -> float:
        machine = loop.name
        assert isinstance(machine, Machine)
        return max(0.0, shown - self.time_of(machine)) / machine.clock[2]

    def pause_of(self, loop: NodeLoop) -> float:
        assert isinstance(loop.name, Machine)
        return loop.name.paused_until - self.now

    def work_seconds(self, loop: NodeLoop) -> float:
        assert isinstance(loop.name, Machine)
        return max(0.0, loop.name.disk_free_at - self.now) + self.moment()

    def dial(self, loop: NodeLoop, path: str, protocol: asyncio.Protocol) -> "asyncio.Future[Any]":
        node = self.nodes[int(Path(path).name)]
        assert isinstance(node, ShellNode)
        connected = loop.create_future()

        def knock() -> None:
            if node.loop is None or node.broker is None or node.me not in self.registered:
                refused = ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens")
                self.after(self.moment(), lambda: tell(loop, connected, refused))
                return
            listening = queue_protocol(node.broker, authenticate=_everybody)()
            near, far = Stream(loop, protocol), Stream(node.loop, listening)
            near.wire, far.wire = self.wire_to(far), self.wire_to(near)
            node.streams.append(near)
            node.loop.call_soon(listening.connection_made, far)
            self.after(self.moment(), lambda: self._connected(near, connected))

        self.after(self.moment(), knock)
        return connected

    def _connected(self, near: Stream, connected: "asyncio.Future[Any]") -> None:
        if not near.loop.is_dead:
            near.loop.call_soon(near.protocol.connection_made, near)
            tell(near.loop, connected, near)

    def wire_to(self, end: Stream) -> Callable[[bytes | None], None]:
        def wire(data: bytes | None) -> None:
            self.carry(end, lambda: end.loop.is_dead or end.loop.call_soon(end.arrived, data))

        return wire

    def turned(self, loop: NodeLoop) -> None:
        node = loop.name
        if not isinstance(node, ShellNode) or node.service is None or node.service._replica is None:
            return
        replica = node.replica = node.service._replica
        self.promises.watch(node.me, replica)
        log = replica.raft.log
        since = max(min(node.seen_last, log.last_index) - 3, log.base.index + 1)
        self.promises.check_written(log.entries_from(since), replica)
        node.seen_last = log.last_index
        for index in range(max(node.seen_applied, log.base.index) + 1, replica.applied_index + 1):
            self.commit(log.entry_at(index))
        node.seen_applied = replica.applied_index
        results, node.results = node.results, []
        for index, result in results:
            assert result == self.results[index - 1], (
                f"node {node.me} answers entry {index} unlike the others"
            )

    # Processes

    def start(self, me: int) -> None:
        node = self.nodes[me]
        assert isinstance(node, ShellNode)
        if node.is_ruined or node.is_on:
            return
        node.begin_life(ShellJournal(node, is_newer=me in self.newer))
        node.seen_applied = node.seen_last = 0
        node.results = []
        loop = node.loop = NodeLoop(self, node)
        loop.call_soon(self._begin, node, loop)
        for peer in self.ids:  # a link that is made anew ends the one before
            self.after(self.random.uniform(0.0, 0.5), lambda peer=peer: self.reset_link(peer, me))  # type: ignore[misc]

    def _begin(self, node: ShellNode, loop: NodeLoop) -> None:
        task = loop.create_task(self._run_node(node, loop))
        task.add_done_callback(lambda task: self._ended(node, loop, task))

    async def _run_node(self, node: ShellNode, loop: NodeLoop) -> None:
        assert isinstance(node.journal, ShellJournal)
        link = Link(self, node)
        node.service = service = ReplicaService(
            peer_id=node.me,
            voters=self.founders,
            state_machine=node.journal,
            directory=Path("/nowhere"),
            transport=link,
            random=Random(self.random.random()),
            settings=SETTINGS,
            clock=loop.time,
            open_disk=lambda _: node.disk,
            make_writer=partial(SteppedWriter, self, node),
        )
        node.broker = broker = Broker(
            log=service,
            queue=node.journal.machine.queue,
            transport=link,
            client_id=b"node %d life %04d " % (node.me, node.life),
            clock=loop.time,
            timeout_seconds=CLIENT_TIMEOUT_SECONDS,
        )
        async with asyncio.TaskGroup() as parts:
            parts.create_task(service.run())
            parts.create_task(broker.run())
            if len(self.ids) > len(self.founders):
                pilot = Autopilot(service, self.living, rules=RULES, clock=loop.time, round_seconds=0.5)
                parts.create_task(pilot.run())

    def living(self) -> dict[int, bool]:
        """Who is registered, and whether gossip sees it."""
        return {me: self.nodes[me].is_on for me in self.registered}

    def _ended(self, node: ShellNode, loop: NodeLoop, task: "asyncio.Task[None]") -> None:
        if loop.is_dead or task.cancelled():
            return
        error = task.exception()
        assert isinstance(error, BaseExceptionGroup), f"node {node.me} ended by itself"
        for one in error.exceptions:
            match one:
                case CorruptLog():
                    assert node.is_rotten, f"node {node.me} finds its log damaged, which nobody did"
                    node.is_ruined = True
                case UnknownVersion():
                    assert node.me not in self.newer, "the command is no news to this node"
                    self.halted += 1
                case NoRoom():
                    pass
                case _:
                    raise one
        self.after(0.0, lambda: self.kill(node.me) if node.loop is loop else None)

    def crash(self, me: int) -> None:
        node = self.nodes[me]
        assert isinstance(node, ShellNode)
        if not node.is_on:
            return
        node.disk.cut_after = node.disk.operations + self.random.randrange(6)
        try:
            if node.writer is not None and self.random.random() < 0.8:
                node.writer.step()
        except PowerCut:
            pass
        except NoRoom:
            pass
        node.disk.cut_after = None
        self.kill(me)
        node.disk.lose_power(self.random, flips=0.05)

    def kill(self, me: int) -> None:
        node = self.nodes[me]
        assert isinstance(node, ShellNode)
        if node.loop is None:
            return
        loop, node.loop = node.loop, None
        node.service = node.broker = node.writer = None
        node.replica = None
        node.life += 1
        fetched, node.fetched = node.fetched, []
        loop.die()
        for hand in fetched:
            hand(ConnectionResetError("the node is gone"))
        self.hang_up(me)
        for waiting in node.asked:
            reset = ConnectionResetError(errno.ECONNRESET, "the node is gone")
            seconds = self.random.choice((0.001, 0.05, 9.0))
            self.after(seconds, lambda waiting=waiting, reset=reset: tell(waiting.get_loop(), waiting, reset))  # type: ignore[misc]
        node.asked = []
        self._reset_links(me)

    def hang_up(self, me: int) -> None:
        """Clients hear that the node is gone, sooner or later."""
        node = self.nodes[me]
        assert isinstance(node, ShellNode)
        streams, node.streams = node.streams, []
        for stream in streams:
            self.after(self.random.uniform(0.0, 2.0), lambda stream=stream: hang_up(stream))  # type: ignore[misc]

    def reset_link(self, me: int, peer: int) -> None:
        node = self.nodes[me]
        assert isinstance(node, ShellNode)
        if me != peer and node.loop is not None and node.service is not None:
            node.loop.call_soon(node.service.peer_unreachable, peer)

    # The network

    def carry(self, wire: object, arrived: Arrived) -> None:
        """In the order of sending, wire by wire."""
        late = not self.is_healed and self.random.random() < 0.01
        at = self.now + self.random.uniform(0.0005, 1.5 if late else 0.02)
        at = self.free_at[wire] = max(at, self.free_at.get(wire, 0.0))
        self.after(at - self.now, arrived)

    def deliver(self, sender: int, to: int, frame: bytes) -> None:
        node = self.nodes[to]
        assert isinstance(node, ShellNode)
        if node.loop is not None and node.service is not None and (sender, to) not in self.blocked:
            node.loop.call_soon(node.service.receive, sender, frame)

    async def call(self, node: ShellNode, peer: int, frame: bytes) -> bytes:
        """Have a peer's broker answer, as a stream would carry it: whole, or not at all."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        task: list[asyncio.Task[bytes]] = []
        self.carry((node.me, peer, "calls"), lambda: self._called(node.me, peer, frame, answer, task))
        try:
            return await answer
        except asyncio.CancelledError:
            for one in task:
                self.carry((node.me, peer, "calls"), lambda: one.get_loop().call_soon(one.cancel))  # noqa: B023
            raise

    def _called(
        self, me: int, peer: int, frame: bytes, answer: "asyncio.Future[bytes]", tasks: list[Any]
    ) -> None:
        node = self.nodes[peer]
        assert isinstance(node, ShellNode)
        if (me, peer) in self.blocked:
            return
        if node.loop is None or node.broker is None:
            refused = ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens")
            self.carry((peer, me, "calls"), lambda: tell(answer.get_loop(), answer, refused))
            return

        def answered(task: "asyncio.Task[bytes]") -> None:
            if answer in node.asked:
                node.asked.remove(answer)
                if not task.cancelled():
                    self.calls_answered += 1
                    self.carry((peer, me, "calls"), lambda: self._heard(me, peer, answer, task.result()))

        node.asked.append(answer)
        loop, broker = node.loop, node.broker

        def take() -> None:
            task = loop.create_task(broker.answer(frame))
            task.add_done_callback(answered)
            tasks.append(task)

        loop.call_soon(take)

    def _heard(self, me: int, peer: int, answer: "asyncio.Future[bytes]", frame: bytes) -> None:
        if (peer, me) not in self.blocked:
            tell(answer.get_loop(), answer, frame)

    def fetch(self, node: ShellNode, peer: int, request: bytes) -> "asyncio.Queue[bytes | Exception]":
        """The pieces of a snapshot, in order; b"" at its end, or why it broke off."""
        pieces: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        loop, other = node.loop, self.nodes[peer]
        assert loop is not None and isinstance(other, ShellNode)

        def hand(piece: bytes | Exception) -> None:
            def arrive() -> None:
                cut = {(node.me, peer), (peer, node.me)} & self.blocked
                if not loop.is_dead:
                    loop.call_soon(pieces.put_nowait, ConnectionResetError("cut") if cut else piece)

            self.carry(pieces, arrive)

        async def serve(service: ReplicaService) -> None:
            try:
                async for piece in service.serve_snapshot(node.me, request):
                    for start in range(0, len(piece), 500):
                        hand(piece[start : start + 500])
                    if not self.is_healed and self.random.random() < 0.05:
                        raise ConnectionResetError("the link broke")
                hand(b"")
            except (QueueError, OSError) as error:
                hand(OSError(str(error)))

        def ended(task: "asyncio.Task[None]") -> None:
            if hand in other.fetched:
                other.fetched.remove(hand)
                if (error := task.exception()) is not None:
                    raise error

        def take(loop: NodeLoop, service: ReplicaService) -> None:
            loop.create_task(serve(service)).add_done_callback(ended)

        def begin() -> None:
            if other.loop is None or other.service is None or (node.me, peer) in self.blocked:
                hand(ConnectionRefusedError("nobody is there"))
            else:
                other.fetched.append(hand)
                other.loop.call_soon(take, other.loop, other.service)

        self.carry((node.me, peer, "snapshots"), begin)
        return pieces

    # People

    def open_client(self, person: Person) -> None:
        loop = person.loop = NodeLoop(self, person.machine)
        client = person.queue = QueueClient(["localhost"], timeout=CLIENT_TIMEOUT_SECONDS, clock=loop.time)
        places = [Path(f"/nodes/{me}") for me in self.ids]
        self.random.shuffle(places)
        client._places = [*places]
        client._client_id = b"customer %07d" % person.number

        async def live() -> None:
            async with client:
                await loop.create_future()

        loop.call_soon(lambda: loop.create_task(live()))

    def wish(self, random: Random) -> None:
        idle = [person for person in self.people if not person.is_busy]
        if not idle or self.now < 0.2:
            return
        person = random.choice(idle)
        loop, queue = person.loop, person.queue
        assert loop is not None and queue is not None
        person.is_busy = True
        loop.call_soon(lambda: loop.create_task(self.ask(person, queue, random)))

    async def ask(self, person: Person, queue: QueueOperations, random: Random) -> None:
        """One request, and what is heard of it."""
        kind = random.choice(("put", "put", "reserve", "ack"))
        invoked, argument, result, at = self.now, random.randrange(3), None, NEVER
        try:
            if kind == "put":
                lease = random.uniform(0.5, 3.0) if self.leases_end else HOUR_MS / 1000
                result = await queue.put("mail", b"job", priority=argument, lease=lease, max_attempts=0)
            elif kind == "ack" and person.jobs:
                job = random.choice(person.jobs)
                argument = (job.id, job.token)
                await queue.ack(job)
                result = True
            else:
                kind, argument = "reserve", 0
                wait = random.choice((0.0, 0.0, 0.7, 2.5))
                # Some lose patience. Not where the history counts: in it nobody takes a job and gives it back.
                patience = random.choice((None, None, 0.02, 0.3)) if self.leases_end else None
                async with asyncio.timeout(patience):
                    job = await queue.reserve("mail", wait=wait)
                self.waits_served += job is not None and self.now - invoked > 0.3
                if job is None:
                    person.is_busy = False
                    return  # it says nothing of the moment: jobs that others are about to get do not count
                person.jobs.append(job)
                result = (job.id, job.token)
            at = self.now
        except (LeaseLost, AlreadyDone):
            result, at = False, self.now
        except OutcomeUnknown:
            pass
        except (*NOT_DONE, TimeoutError):  # who lost patience has nothing, and what was taken is given back
            person.is_busy = False
            return
        self.history.append(Operation(person.number, kind, argument, result, invoked, at))
        person.is_busy = False

    def look_at_leases(self) -> None:
        """The desks do it themselves."""

    # Beginning and end

    def change_membership(self, random: Random | None = None) -> None:
        """Somebody joins, or is taken off the register for good."""
        random = random or self.random
        spares = [me for me in self.ids if me not in self.registered and me not in self.removed]
        if spares and random.random() < 0.6:
            self.registered[spares[0]] = True
        elif len(self.registered) > 3:
            gone = random.choice(sorted(self.registered))
            del self.registered[gone]
            self.removed.add(gone)
            self.hang_up(gone)
        self.changes += 1

    def suffer(self, what: str, random: Random) -> None:
        if what == "rot" and len(self.ids) > len(self.founders):
            return  # of two voters that the register may leave, none may be lost
        super().suffer(what, random)

    def speak_of_tomorrow(self) -> None:
        for node in self.nodes.values():
            assert isinstance(node, ShellNode)
            if node.service is not None and node.service.is_leading and node.me in self.newer:
                with suppress(QueueError):
                    node.service.propose(TOMORROW, lambda outcome: None)

    def heal(self) -> None:
        super().heal()
        for me in self.ids:  # who found no room for a snapshot would hear of the next one after a minute
            for peer in self.ids:
                self.after(self.random.uniform(0.1, 0.5), lambda me=me, peer=peer: self.reset_link(me, peer))  # type: ignore[misc]
        self.after(4.5, lambda: self.serve_last(self.people[0]))

    def serve_last(self, person: Person) -> None:
        """Whatever was: a job that is put now can be had, and done."""
        loop, queue = person.loop, person.queue
        assert loop is not None and queue is not None

        async def serve() -> None:
            try:
                await queue.put("last", b"job")
                job = await queue.reserve("last", wait=1.0)
                assert job is not None
                await queue.ack(job)
                self.is_served = True
            except QueueError as error:
                self.is_served = error

        loop.call_soon(lambda: loop.create_task(serve()))

    def close(self) -> None:
        """Let go of everybody."""
        for node in self.nodes.values():
            assert isinstance(node, ShellNode)
            if node.loop is not None:
                node.loop.die()
        for person in self.people:
            if person.loop is not None:
                person.loop.die()
        gc.unfreeze()  # what nodes loaded at their start is left alone by the collector, but only while they live

    def check_converged(self) -> None:
        held = {(job.id, job.token) for person in self.people for job in person.jobs}
        assert not held & self.given_back, "a job was given back that somebody had"
        busy = [person.number for person in self.people if person.is_busy]
        assert not busy, f"customers {busy} still wait"
        assert self.is_served is True, f"after healing a customer hears {self.is_served}"
        super().check_converged()


def tell(loop: Any, future: "asyncio.Future[Any]", what: object) -> None:
    """Settle the future, in its loop."""

    def settle() -> None:
        if not future.done():
            if isinstance(what, Exception):
                future.set_exception(what)
            else:
                future.set_result(what)

    if not loop.is_dead:
        loop.call_soon(settle)


def hang_up(stream: Stream) -> None:
    if not stream.loop.is_dead:
        stream.loop.call_soon(stream.arrived, None)


async def _everybody(token: bytes) -> bool:
    return True
