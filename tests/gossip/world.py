"""A cluster in virtual time: real cores on a network that loses, delays, parts, pauses and kills, all from one seed."""

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from random import Random

from gossip.codec import decode_datagram, encode_datagram, encode_state
from gossip.events import Event, MemberDied
from gossip.member import Address, Member, MemberState, NodeId
from gossip.messages import Datagram, FullState, KnownMember, Send, StartExchange
from gossip.outbox import Effect
from gossip.settings import GossipSettings
from gossip.swim import Swim

CLUSTER = b"simulated"
SOCKET_BUFFER = 400  # datagrams that wait for a paused process
EXCHANGE_TIMEOUT = 5.0


def node_id_of(number: int) -> NodeId:
    """Spread over the ring, unlike counting."""
    return f"{(number + 1) * 0x9E37_79B9_7F4A_7C15 % (1 << 64):016x}"


def address_of(number: int) -> Address:
    return (f"10.0.{number // 250}.{number % 250 + 1}", 7300)


@dataclass(slots=True)
class Node:
    number: int
    swim: Swim
    run_id: int
    clock_offset: float  # monotonic clocks of different machines have nothing in common
    is_up: bool = True
    paused_until: float = 0.0
    ticks_planned: int = 0
    inbox: deque[Callable[[], None]] = field(default_factory=deque)
    events: list[tuple[float, Event]] = field(default_factory=list)
    datagrams_sent: int = 0
    bytes_sent: int = 0
    exchange_bytes: int = 0

    @property
    def node_id(self) -> NodeId:
        return node_id_of(self.number)


class World:
    """`run` it; ask it what everyone believes. `false_deaths` are verdicts about nodes that were up."""

    def __init__(
        self,
        nodes: int,
        *,
        seed: int,
        loss: float = 0.0,
        latency: float = 0.002,
        settings: GossipSettings | None = None,
        measures_bytes: bool = False,
    ) -> None:
        self.now = 0.0
        self.random = Random(seed)
        self.seed = seed
        self.loss = loss
        self.latency = latency
        self.settings = settings or GossipSettings()
        self.nodes: list[Node] = []
        self.false_deaths: list[tuple[float, int, int]] = []
        self.measures_bytes = measures_bytes
        self.measures_exchanges = False
        self._by_address: dict[Address, Node] = {}
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._cut: set[tuple[int, int]] = set()
        self._stalls: Callable[[], float] = lambda: 0.0
        for number in range(nodes):
            self.add(number)

    # What happens to the cluster.

    def add(self, number: int, *, run_id: int = 1, name: str = "", seeds: Iterable[int] = (0,)) -> Node:
        offset = self.random.uniform(0, 100_000)
        me = Member(
            node_id=node_id_of(number),
            name=name or f"pi{number}",
            address=address_of(number),
            run_id=run_id,
            incarnation=0,
            state=MemberState.ALIVE,
            meta=b"m" * 100,
        )
        swim = Swim(me=me, settings=self.settings, random=Random(self.random.random()), now=self.now + offset)
        node = Node(number=number, swim=swim, run_id=run_id, clock_offset=offset)
        if number < len(self.nodes):
            self.nodes[number] = node
        else:
            self.nodes.append(node)
        self._by_address[address_of(number)] = node
        others = [address_of(one) for one in seeds if one != number]
        self._perform(node, swim.add_seeds(others, now=self.now + offset))
        return node

    def kill(self, number: int) -> None:
        self.nodes[number].is_up = False

    def restart(self, number: int, *, run_id: int | None = None) -> Node:
        self.kill(number)
        next_run = self.nodes[number].run_id + 1 if run_id is None else run_id
        return self.add(number, run_id=next_run, seeds=(0, 1))

    def pause(self, number: int, seconds: float) -> None:
        """The process stops (SIGSTOP, a starved CPU, a stalled card); its socket buffer does not."""
        node = self.nodes[number]
        node.paused_until = max(node.paused_until, self.now + seconds)
        self._at(node.paused_until, lambda: self._resume(node))

    def part(self, one: Iterable[int], other: Iterable[int]) -> None:
        others = list(other)
        for a in one:
            for b in others:
                self._cut |= {(a, b), (b, a)}

    def cut_one_way(self, sender: int, receiver: int) -> None:
        self._cut.add((sender, receiver))

    def heal(self) -> None:
        self._cut.clear()

    def stall(self, seconds: Callable[[], float]) -> None:
        """Every datagram is late by what `seconds` says."""
        self._stalls = seconds

    def starve(self, *, slice_seconds: float, every_seconds: float) -> None:
        """From now on all nodes lose the CPU again and again, each at its own times."""
        for node in self.nodes:
            begin = partial(self._starve, node, slice_seconds, every_seconds)
            self._at(self.now + self.random.uniform(0, every_seconds), begin)

    def do(self, number: int, action: Callable[[Swim, float], list[Effect]]) -> None:
        """Call a node's core as its program would."""
        node = self.nodes[number]
        self._perform(node, action(node.swim, self.now + node.clock_offset))

    # Time.

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            self.now, _, action = heapq.heappop(self._queue)
            action()
        self.now = end

    def run_until(self, condition: Callable[[], bool], *, within: float) -> float:
        """Seconds until the condition held, looked at every 50 ms."""
        began = self.now
        while not condition():
            assert self.now - began < within, f"not within {within} s (seed {self.seed}): {self.views()}"
            self.run(0.05)
        return self.now - began

    def introduce_everyone(self) -> None:
        """Have everyone know everyone from the beginning, as after a long time together."""
        known = tuple(KnownMember(member=node.swim.me) for node in self.nodes)
        first = self.nodes[0]
        state = FullState(sender=first.node_id, run_id=first.run_id, beat=self.now, members=known)
        for node in self.nodes:
            self._perform(node, node.swim.learn_state(state, now=self.now + node.clock_offset))

    def settle(self, within: float = 20.0) -> None:
        """Run until everyone sees everyone alive."""
        self.run_until(lambda: self.all_see(MemberState.ALIVE), within=within)

    # What everyone believes.

    def up(self) -> list[Node]:
        return [node for node in self.nodes if node.is_up]

    def state(self, observer: int, subject: int) -> MemberState | None:
        for member in self.nodes[observer].swim.members():
            if member.node_id == node_id_of(subject):
                return member.state
        return None

    def views(self) -> list[str]:
        return [
            "".join("?" if (s := self.state(a.number, b.number)) is None else s.name[0] for b in self.nodes)
            for a in self.up()
        ]

    def all_see(self, state: MemberState, *, of: Iterable[int] | None = None) -> bool:
        subjects = [node.number for node in self.up()] if of is None else list(of)
        return all(
            self.state(node.number, subject) is state
            for node in self.up()
            for subject in subjects
            if node.number != subject
        )

    def tables_agree(self) -> bool:
        tables = {node.swim.members() for node in self.up()}
        return len(tables) == 1

    def events_of(self, observer: int, kind: type) -> list[Event]:
        return [event for _, event in self.nodes[observer].events if isinstance(event, kind)]

    # The network.

    def _at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (when, next(self._order), action))

    def _reaches(self, a: Node, b: Node) -> bool:
        return b.is_up and (a.number, b.number) not in self._cut

    def _node_at(self, address: Address) -> Node | None:
        return self._by_address.get(address)

    def _send(self, sender: Node, effect: Send) -> None:
        sender.datagrams_sent += 1
        datagram = effect.datagram
        if self.measures_bytes:
            data = encode_datagram(datagram, cluster_id=CLUSTER)
            assert len(data) <= self.settings.datagram_bytes - self.settings.seal_bytes
            sender.bytes_sent += len(data) + self.settings.seal_bytes
            datagram = decode_datagram(data, cluster_id=CLUSTER)
        receiver = self._node_at(effect.to)
        if receiver is None or not self._reaches(sender, receiver) or self.random.random() < self.loss:
            return
        late = self.latency * self.random.uniform(0.5, 2) + self._stalls()
        self._at(self.now + late, lambda: self._deliver(receiver, datagram, address_of(sender.number)))

    def _deliver(self, node: Node, datagram: Datagram, source: Address) -> None:
        def receive() -> None:
            now = self.now + node.clock_offset
            self._perform(node, node.swim.receive(datagram, source=source, now=now))

        self._run_or_wait(node, receive)

    def _exchange(self, node: Node, address: Address) -> None:
        other = self._node_at(address)
        if other is None or not other.is_up:
            self._at(self.now + 0.01, lambda: self._exchange_failed(node, address))
            return
        if not (self._reaches(node, other) and self._reaches(other, node)):
            self._at(self.now + EXCHANGE_TIMEOUT, lambda: self._exchange_failed(node, address))
            return
        state = node.swim.full_state(self.now + node.clock_offset)

        def answer() -> None:
            now = self.now + other.clock_offset
            self._perform(other, other.swim.learn_state(state, now=now))
            answered = other.swim.full_state(now)
            if self.measures_exchanges:
                node.exchange_bytes += len(encode_state(state, cluster_id=CLUSTER))
                other.exchange_bytes += len(encode_state(answered, cluster_id=CLUSTER))

            def take() -> None:
                here = self.now + node.clock_offset
                self._perform(node, node.swim.exchange_succeeded(address, answered, now=here))

            self._at(self.now + self.latency * 3, lambda: self._run_or_wait(node, take))

        self._at(self.now + self.latency * 3, lambda: self._run_or_wait(other, answer))

    def _exchange_failed(self, node: Node, address: Address) -> None:
        def fail() -> None:
            now = self.now + node.clock_offset
            self._perform(node, node.swim.exchange_failed(address, now=now))

        self._run_or_wait(node, fail)

    # The processes.

    def _run_or_wait(self, node: Node, action: Callable[[], None]) -> None:
        if not node.is_up:
            return
        if node.paused_until > self.now:
            if len(node.inbox) < SOCKET_BUFFER:
                node.inbox.append(action)
            return
        action()

    def _resume(self, node: Node) -> None:
        if not node.is_up or node.paused_until > self.now:
            return
        while node.inbox:
            node.inbox.popleft()()
        self._tick(node)

    def _starve(self, node: Node, slice_seconds: float, every_seconds: float) -> None:
        if node.is_up:
            self.pause(node.number, self.random.uniform(0.1, slice_seconds))
            pause = slice_seconds + self.random.expovariate(1 / every_seconds)
            self._at(self.now + pause, lambda: self._starve(node, slice_seconds, every_seconds))

    def _tick(self, node: Node) -> None:
        if node.is_up and node.paused_until <= self.now:
            self._perform(node, node.swim.tick(now=self.now + node.clock_offset))

    def _perform(self, node: Node, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._send(node, effect)
            elif isinstance(effect, StartExchange):
                self._exchange(node, effect.to)
            else:
                node.events.append((self.now, effect))
                if isinstance(effect, MemberDied):
                    self._check_death(node, effect.member)
        self._plan_tick(node)

    def _plan_tick(self, node: Node) -> None:
        node.ticks_planned += 1
        plan = node.ticks_planned

        def tick() -> None:
            if plan == node.ticks_planned:
                self._tick(node)

        due = node.swim.next_deadline() - node.clock_offset
        self._at(max(self.now, due + 1e-6), tick)

    def _check_death(self, observer: Node, member: Member) -> None:
        subject = next(node for node in self.nodes if node.node_id == member.node_id)
        if subject.is_up and subject.run_id == member.run_id:
            self.false_deaths.append((self.now, observer.number, subject.number))
