"""A group that keeps a queue, its clients, and everything that can happen to them, by a schedule.

Every replica's answer to every entry is compared with that of one more state machine, which no fault ever touches.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from replicated_queue.codec import STAMP
from replicated_queue.errors import Busy, NotLeader, Refusal
from replicated_queue.leases import LeaseTable
from replicated_queue.parts import snapshot_of
from replicated_queue.queue.codec import command_of, command_values, result_of
from replicated_queue.queue.commands import (
    Ack,
    Command,
    Created,
    ExpireLease,
    GiveBack,
    Put,
    Reserve,
    Reserved,
)
from replicated_queue.queue_state import QUEUE_DOMAIN, QueueStateMachine
from replicated_queue.raft.messages import Entry
from replicated_queue.request_codec import decode_entry, encode_bundle
from replicated_queue.sessions import Answer, open_answer, single
from tests.replicated_queue.service_group import Journal
from tests.simulation.linearizability import NEVER, Operation, is_linearizable
from tests.simulation.machine import Machine
from tests.simulation.schedule import Happening, Schedule
from tests.simulation.world import World

PATIENCE_SECONDS = 4.0  # of a client with one request
MOMENT_SECONDS = 0.05
LAST_SECONDS = 1.0  # in which what was agreed last gets to everybody
LOOK_SECONDS = 0.25  # how often a leader looks at its leases
HOUR_MS = 3_600_000
FASTEST_CLOCK = 1.25  # see `World.suffer`
TOMORROW = encode_bundle(single("tomorrow", b"a command that only newer versions know"))


class QueueJournal(Journal):
    """A queue; with `is_newer` it also knows commands of a domain that older versions have not."""

    def __init__(self, *, is_newer: bool = False) -> None:
        super().__init__()
        self.machine = QueueStateMachine()
        self.is_newer = is_newer

    def apply(self, command: bytes, *, index: int, now: int, parts: Sequence[Any] = ()) -> Any:
        if self.is_newer and command == TOMORROW:
            return ()
        return self.machine.apply(command, index=index, now=now, parts=parts)

    def digest(self) -> bytes:
        return self.machine.digest()

    def digest_steps(self) -> Generator[None, None, bytes]:
        return self.machine.digest_steps()

    def snapshot(self) -> Iterator[bytes]:
        return snapshot_of(self.machine._parts(), chunk_rows=3)

    def restore(self, chunks: Iterable[bytes]) -> Generator[None, None, Callable[[], None]]:
        return self.machine.restore(chunks)


@dataclass
class Customer:
    """One client: one request at a time, repeated to whichever node until it is answered or given up."""

    number: int
    session: bytes
    sequence: int = 0
    data: bytes = b""  # of the request under way; empty for none
    kind: str = ""
    argument: int | tuple[int, int] = 0
    invoked: float = 0.0
    known_index: int = 0
    leases: list[tuple[int, int]] = field(default_factory=list)


class QueueWorld(World):
    """`leases_end`: leases are short and run out; else they last, and the clients' history is checked."""

    healing_seconds = 6.0

    def __init__(
        self, seed: int, *, nodes: int = 3, spares: int = 0, customers: int = 4, leases_end: bool = False
    ) -> None:
        self.reference = QueueJournal(is_newer=True)
        self.results: list[Sequence[Answer]] = []  # of the reference, by index
        self.history: list[Operation] = []
        self.leases_end = leases_end
        self.lease_tables: dict[tuple[int, int, int], LeaseTable] = {}  # node, life, term
        self.asked: dict[tuple[int, int, int], tuple[Customer, int, bytes]] = {}
        self.token_of: dict[int, int] = {}  # job → the newest token
        self.granted: dict[
            int, tuple[float, int]
        ] = {}  # job → since when its holder has it, and for how long
        self.given_back: set[tuple[int, int]] = set()  # (job, token) of leases that nobody got to know of
        self.finished: set[int] = set()
        self.expired = 0
        self.is_over = False  # nobody asks for anything any more
        super().__init__(seed, nodes=nodes, spares=spares)
        self.customers = [Customer(number, b"customer %07d" % number) for number in range(customers)]

    def journal_of(self, node: Machine) -> Journal:
        return QueueJournal(is_newer=node.me in self.newer)

    # Clients

    def wish(self, random: Random) -> None:
        """Somebody who waits for nothing asks for something."""
        idle = [customer for customer in self.customers if not customer.data]
        if not idle:
            return
        customer = random.choice(idle)
        customer.sequence += 1
        customer.kind = random.choice(("put", "put", "reserve", "ack"))
        lease_ms = random.randrange(500, 3000) if self.leases_end else HOUR_MS
        command: Command
        match customer.kind:
            case "put":
                customer.argument = random.randrange(3)
                command = Put("mail", b"job", priority=customer.argument, lease_ms=lease_ms, max_attempts=0)
            case "ack" if customer.leases:
                customer.argument = random.choice(customer.leases)
                command = Ack(*customer.argument)
            case _:
                customer.kind, customer.argument = "reserve", 0
                command = Reserve(("mail",))
        customer.data = encode_bundle(
            single(
                QUEUE_DOMAIN,
                command_values(command),
                customer.session,
                sequence=customer.sequence,
                since=customer.known_index,
            )
        )
        customer.invoked = self.now
        self.attempt(customer, customer.sequence)

    def attempt(self, customer: Customer, sequence: int) -> None:
        if customer.sequence != sequence or not customer.data or self.is_over:
            return
        if self.now - customer.invoked > PATIENCE_SECONDS and not self.is_healed:
            self.hear(customer, None, NEVER)
            return
        node = self.nodes[self.random.choice(self.ids)]
        self.by_network(lambda: self.take(node, customer, sequence, customer.data))
        self.after(self.random.uniform(0.05, 0.5), lambda: self.attempt(customer, sequence))

    def is_idle(self, node: Machine) -> bool:
        """Whether it takes nothing now."""
        return self.now < node.paused_until or node.is_full

    def by_network(self, action: Callable[[], None]) -> None:
        if self.is_healed or self.random.random() >= self.loss:
            self.after(self.random.uniform(0.0005, 0.02), action)

    def take(self, node: Machine, customer: Customer, sequence: int, data: bytes) -> None:
        replica = node.replica
        if replica is None or not replica.is_leading or not data or self.is_idle(node):
            return
        try:
            index = replica.propose([data], now=self.time_of(node))
        except (NotLeader, Busy):
            return
        self.asked[node.me, node.life, index] = (customer, sequence, data)
        self.turn(node)

    def applied(self, node: Machine, index: int, result: Sequence[Answer]) -> None:
        assert result == self.results[index - 1], f"node {node.me} answers entry {index} unlike the others"
        super().applied(node, index, result)
        customer, sequence, data = self.asked.pop((node.me, node.life, index), (None, 0, b""))
        if customer is not None and self.committed[index - 1].data[STAMP.size :] == data:
            self.by_network(lambda: self.answer(customer, sequence, index, result))

    def answer(self, customer: Customer, sequence: int, index: int, result: Sequence[Answer]) -> None:
        if customer.sequence != sequence or not customer.data:
            return
        customer.known_index = max(customer.known_index, index)
        try:
            found = result_of(open_answer(result))
        except Refusal:
            found = None
        match found:
            case Created(job_ids=ids):
                self.hear(customer, ids[0], self.now)
            case Reserved(token=token, job_ids=ids):
                lease = (ids[0], token) if ids else None
                customer.leases += [lease] if lease else []
                self.hear(customer, lease, self.now)
            case _:
                self.hear(customer, found is not None, self.now)

    def hear(self, customer: Customer, result: object, at: float) -> None:
        self.history.append(
            Operation(customer.number, customer.kind, customer.argument, result, customer.invoked, at)
        )
        customer.data = b""

    # What is committed, and what leaders do with their leases

    def commit(self, entry: Entry) -> None:
        if not self.promises.commit(entry):
            return
        if not entry.data or entry.is_change:
            self.results.append(())
            return
        stamp = STAMP.unpack_from(entry.data)[1]
        before = {job.id: job.token for job in self.reference.machine.queue.jobs.values()}
        self.note_given_back(entry)
        result = self.reference.apply(entry.data[STAMP.size :], index=entry.index, now=stamp)
        self.results.append(result)
        jobs = self.reference.machine.queue.jobs
        for job in jobs.values():
            assert job.id not in self.finished, f"job {job.id} is back after it was done"
            if job.token == before.get(job.id):
                continue
            if job.token:
                assert job.token > self.token_of.get(job.id, 0), f"token {job.token} of job {job.id} fell"
                was_free = not before.get(job.id) or (job.id, before[job.id]) in self.given_back
                assert was_free, f"job {job.id} went to a second holder while one had it"
                self.token_of[job.id] = job.token
                self.granted[job.id] = (self.now, job.lease_ms)
            elif before.get(job.id) and (job.id, before[job.id]) not in self.given_back:
                since, lease_ms = self.granted[job.id]
                shortest = lease_ms / 1000 / FASTEST_CLOCK - MOMENT_SECONDS
                assert self.now - since >= shortest, f"the lease of job {job.id} ended early"
        self.finished |= before.keys() - set(jobs)

    def note_given_back(self, entry: Entry) -> None:
        """Leases that this entry ends because nobody got to know of them: nobody may have one of them."""
        for bundle in decode_entry(entry.data[STAMP.size :]):
            for _, _, values in bundle.each() if bundle.domain == QUEUE_DOMAIN else ():
                command = command_of(values)
                if isinstance(command, GiveBack):
                    assert command.unseen
                    self.given_back.update(command.leases)

    def look_at_leases(self) -> None:
        """As the leader's desk does, four times a second."""
        for node in self.nodes.values():
            if node.replica is not None and node.replica.is_leading and not self.is_idle(node):
                self.expire(node)
        if not self.is_over:
            self.after(LOOK_SECONDS, self.look_at_leases)

    def expire(self, node: Machine) -> None:
        assert node.replica is not None and isinstance(node.journal, QueueJournal)
        key = (node.me, node.life, node.replica.raft.term)
        table = self.lease_tables.setdefault(key, LeaseTable())
        table.advance(self.time_of(node))
        held = {job: (token, granted) for job, token, granted in node.journal.machine.queue.leases()}
        for job, (token, granted) in held.items():
            if table._held.get(job, (0,))[0] != token:
                table.grant(job, token, granted / 1000)
        for job in table._held.keys() - held.keys():
            table.end(job)
        for job, token in table.take_due():
            entry = encode_bundle(single(QUEUE_DOMAIN, command_values(ExpireLease(job, token))))
            try:
                node.replica.propose([entry], now=self.time_of(node))
                self.expired += 1
            except (NotLeader, Busy):
                return
        self.turn(node)

    def close(self) -> None:
        """Nothing happens any more; what somebody still waits for may have been done."""
        for customer in self.customers:
            if customer.data:
                self.hear(customer, None, NEVER)

    # The schedule

    def happen(self, happening: Happening) -> None:
        """What the schedule says."""
        random = Random(happening.seed)
        match happening.what:
            case "wish":
                self.wish(random)
            case "member":
                self.change_membership(random)
            case "tomorrow":
                self.speak_of_tomorrow()
            case _:
                self.suffer(happening.what, random)

    def speak_of_tomorrow(self) -> None:
        """A newer leader proposes what older nodes cannot apply, and must not skip."""
        for me in self.ids:
            found = self.leader_at(me)
            if found is not None and me in self.newer and not self.is_idle(found[0]):
                try:
                    found[1].propose([TOMORROW], now=self.time_of(found[0]))
                except Busy:
                    return
                self.turn(found[0])


def live_by(
    schedule: Schedule, seed: int, *, seconds: float, spares: int = 0, leases_end: bool = False,
    make: Callable[..., QueueWorld] = QueueWorld,
) -> QueueWorld:  # fmt: skip
    """One life of a queue by a schedule, then healing; every promise is checked. Raises `AssertionError`."""
    world = make(seed, spares=spares, leases_end=leases_end)
    for happening in schedule:
        world.after(happening.at, lambda happening=happening: world.happen(happening))  # type: ignore[misc]
    if leases_end:
        world.look_at_leases()
    try:
        world.run(seconds)
        world.check_logs()
        world.heal()
        world.run(world.healing_seconds)
        world.is_over = True
        world.run(LAST_SECONDS)
        world.check_logs()
        world.check_converged()
    finally:
        world.close()
    # The model of the history knows no lease that nobody heard of, and that was given back.
    if not leases_end and not world.given_back:
        assert is_linearizable(world.history), "no queue that does one thing at a time could answer so"
    return world
