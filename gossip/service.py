"""The shell: socket, timers and streams around the core."""

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

from gossip.codec import decode_datagram, decode_state, encode_datagram, encode_state, is_sound
from gossip.events import (
    Event,
    MemberAlive,
    MemberDied,
    MemberJoined,
    MemberLeft,
    MemberSuspected,
    NameConflict,
)
from gossip.member import MAX_META_BYTES, MAX_NAME_BYTES, MAX_ROW_BYTES, Address, Member, MemberState, NodeId
from gossip.messages import GossipError, Send, StartExchange, WrongCluster
from gossip.outbox import Effect
from gossip.settings import GossipSettings
from gossip.stats import StatRow
from gossip.swim import Swim

logger = logging.getLogger(__name__)

GOODBYES = 3  # datagrams get lost
GOODBYE_PAUSE_SECONDS = 0.1
MAPPED = "::ffff:"  # before an IPv4 address on an IPv6 socket
DRAIN_DATAGRAMS = 256  # handled before timers and other tasks get their turn
_PHRASES = {
    MemberJoined: "member joined",
    MemberAlive: "member is alive again",
    MemberSuspected: "member suspected",
    MemberDied: "member died",
    MemberLeft: "member left",
    NameConflict: "our name is taken",
}

Exchange = Callable[[str, int, bytes], Awaitable[bytes]]  # host, port, payload -> the other's answer
Subscriber = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Opened:
    """What a datagram turned out to be."""

    payload: bytes | None  # None: not (yet) to be believed
    replies: tuple[bytes, ...] = ()  # raw datagrams to send back to the source, e.g. a challenge or its echo


class Seal(Protocol):
    """Keeps strangers out of the datagrams; handed in by the program."""

    def seal(self, payload: bytes, *, to: Address) -> bytes:
        """Encrypt and authenticate; adds at most `GossipSettings.seal_bytes`."""
        ...

    def open(self, datagram: bytes, *, source: Address) -> Opened:
        """Undo `seal`; never raises for a hostile datagram."""
        ...


@dataclass(slots=True)
class Counters:
    """What happened since the start; only ever rising."""

    datagrams_sent: int = 0
    datagrams_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    send_failures: int = 0
    oversize: int = 0  # sealed beyond `datagram_bytes`: `seal_bytes` is set too small
    unopened: int = 0  # strangers, replays, challenges
    malformed: int = 0
    wrong_cluster: int = 0
    exchanges: int = 0
    exchange_failures: int = 0
    exchanges_answered: int = 0


class Gossip:
    """One member of the cluster: `run()` it, ask it for `members()`."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        name: str,
        address: Address,
        bind: Address,
        run_id: int,
        cluster_id: bytes,
        seal: Seal,
        exchange: Exchange,
        meta: bytes = b"",
        settings: GossipSettings | None = None,
        seeds: Sequence[Address] = (),
        known_members: Sequence[Member] = (),
        clock: Callable[[], float] = time.monotonic,
        random: Random | None = None,
    ) -> None:
        """`address` is an IP address and port that others can send to; `bind` is where we listen.

        `seeds` (hosts may be names) are tried for ever, `known_members` of an earlier run until they were
        reached once. Raises `ValueError` when name, address or meta could not be told to others.
        """
        self.counters = Counters()
        self._bind = bind
        self._cluster_id = cluster_id
        self._seal = seal
        self._exchange = exchange
        self._settings = settings or GossipSettings()
        self._clock = clock
        self._subscribers: list[Subscriber] = []
        state = MemberState.ALIVE
        me = Member(
            node_id=node_id, name=name, address=address, run_id=run_id, incarnation=0, state=state, meta=meta
        )
        _check_sound(me)
        now = clock()
        self._swim = Swim(me=me, settings=self._settings, random=random or Random(), now=now)
        self._swim.add_seeds(seeds, now=now)
        former = [one.address for one in known_members if one.node_id != node_id]
        self._swim.add_seeds(former, now=now, are_lasting=False)
        self._socket: socket.socket | None = None
        self._is_ipv6 = False
        self._streams: asyncio.TaskGroup | None = None
        self._failed: asyncio.Future[None] | None = None  # while it runs
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Take part until cancelled. Raises `OSError` when `bind` is taken."""
        loop = asyncio.get_running_loop()
        with _bound_socket(self._bind) as listening:
            self._socket = listening
            self._is_ipv6 = listening.family is socket.AF_INET6
            self._failed = loop.create_future()
            try:
                loop.add_reader(listening, self._turn)
                async with asyncio.TaskGroup() as self._streams:
                    self._turn()
                    await self._failed
            finally:
                loop.remove_reader(listening)
                if self._timer is not None:
                    self._timer.cancel()
                self._socket = self._streams = self._failed = None

    async def leave(self) -> None:
        """Say goodbye, so that nobody suspects us; returns within a second. `run` must still be running."""
        for _ in range(GOODBYES):
            self._act(self._swim.leave(now=self._clock()))
            await asyncio.sleep(GOODBYE_PAUSE_SECONDS)

    def answer_exchange(self, payload: bytes) -> bytes:
        """The other side of `exchange`: merge their view and return ours.

        Raises `MalformedMessage` or `WrongCluster`; close the stream then.
        """
        now = self._clock()
        try:
            state = decode_state(payload, cluster_id=self._cluster_id)
        except GossipError as error:
            self._count_refused(error)
            raise
        self._act(self._swim.learn_state(state, now=now))
        self.counters.exchanges_answered += 1
        return encode_state(self._swim.full_state(now), cluster_id=self._cluster_id)

    def members(self) -> tuple[Member, ...]:
        """Everyone we know of, ourselves and the dead included, by node id."""
        return self._swim.members()

    def stats(self) -> Mapping[NodeId, StatRow]:
        """The newest statistics row of each node, our own included."""
        return self._swim.rows()

    def publish(self, payload: bytes) -> None:
        """Make this our statistics row (<= MAX_ROW_BYTES); it rides on what is said anyway."""
        if len(payload) > MAX_ROW_BYTES:
            raise ValueError(f"a statistics row of {len(payload)} bytes; at most {MAX_ROW_BYTES} are sent")
        self._act(self._swim.publish(payload, now=self._clock()))

    def set_meta(self, meta: bytes) -> None:
        """Tell everyone our new meta (<= MAX_META_BYTES); nothing happens when it is the old one."""
        if len(meta) > MAX_META_BYTES:
            raise ValueError(f"{len(meta)} bytes of meta; at most {MAX_META_BYTES} are sent")
        self._act(self._swim.change_myself(meta=meta, now=self._clock()))

    def set_address(self, address: Address) -> None:
        """Tell everyone our new address."""
        _check_sound(replace(self._swim.me, address=address))
        self._act(self._swim.change_myself(address=address, now=self._clock()))

    def add_seeds(self, seeds: Sequence[Address]) -> None:
        """Further addresses to try, for ever; hosts may be names here."""
        self._act(self._swim.add_seeds(seeds, now=self._clock()))

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber` at every event, on the event loop, in order."""
        self._subscribers.append(subscriber)

    @property
    def run_id(self) -> int:
        """Our run; higher than the one handed in when somebody remembered a higher one of ours."""
        return self._swim.me.run_id

    @property
    def health_score(self) -> int:
        """0: well; up to 8: we seem to be the slow one ourselves (Lifeguard)."""
        return self._swim.health.score

    def _turn(self) -> None:
        """Hand over what was received, then let the core do what is due, and come back when more is.

        A callback of the loop and no task, for each of a task's turns costs the loop two.
        """
        if self._failed is None or self._failed.done():
            return
        try:
            self._receive_all()
            self._perform(self._swim.tick(now=self._clock()))
        except Exception as error:  # a bug, or what a subscriber raised: it must end `run`, not vanish
            self._failed.set_exception(error)
            return
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait_seconds = self._swim.next_deadline() - self._clock()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, wait_seconds), self._turn)

    def _receive_all(self) -> None:
        assert self._socket is not None
        for _ in range(DRAIN_DATAGRAMS):
            try:
                datagram, source = self._socket.recvfrom(65_536)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error about something we sent: the probe will tell
            self._receive(datagram, _shown(source))

    def _receive(self, datagram: bytes, source: Address) -> None:
        self.counters.datagrams_received += 1
        self.counters.bytes_received += len(datagram)
        opened = self._seal.open(datagram, source=source)
        for reply in opened.replies:
            self._send_raw(reply, source)
        if opened.payload is None:
            self.counters.unopened += 1
            return
        try:
            message = decode_datagram(opened.payload, cluster_id=self._cluster_id)
        except GossipError as error:
            self._count_refused(error)
            return
        self._perform(self._swim.receive(message, source=source, now=self._clock()))

    def _count_refused(self, error: GossipError) -> None:
        if isinstance(error, WrongCluster):
            self.counters.wrong_cluster += 1
        else:
            self.counters.malformed += 1

    def _act(self, effects: Sequence[Effect]) -> None:
        """Perform what a call from outside led to; the timer may have to be set anew."""
        self._perform(effects)
        if self._failed is not None:
            self._set_timer()

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    payload = encode_datagram(effect.datagram, cluster_id=self._cluster_id)
                    self._send_raw(self._seal.seal(payload, to=effect.to), effect.to)
                case StartExchange():
                    assert self._streams is not None, "only a tick starts exchanges"
                    self._streams.create_task(self._exchange_with(effect.to))
                case _:
                    self._publish_event(effect)

    def _send_raw(self, datagram: bytes, to: Address) -> None:
        if self._socket is None:
            return
        if len(datagram) > self._settings.datagram_bytes:
            self.counters.oversize += 1
        try:
            self._socket.sendto(datagram, _sendable(to) if self._is_ipv6 else to)
        except OSError:
            self.counters.send_failures += 1  # as good as lost on the way
            return
        self.counters.datagrams_sent += 1
        self.counters.bytes_sent += len(datagram)

    async def _exchange_with(self, address: Address) -> None:
        payload = encode_state(self._swim.full_state(self._clock()), cluster_id=self._cluster_id)
        try:
            async with asyncio.timeout(self._settings.exchange_timeout_seconds):
                answer = await self._exchange(*address, payload)
            state = decode_state(answer, cluster_id=self._cluster_id)
        except (OSError, EOFError, GossipError) as error:
            if isinstance(error, GossipError):
                self._count_refused(error)
            self.counters.exchange_failures += 1
            logger.debug("exchange failed address=%s:%d reason=%r", *address, error)
            self._act(self._swim.exchange_failed(address, now=self._clock()))
            return
        self.counters.exchanges += 1
        self._act(self._swim.exchange_succeeded(address, state, now=self._clock()))

    def _publish_event(self, event: Event) -> None:
        if phrase := _PHRASES.get(type(event)):
            member = event.other if isinstance(event, NameConflict) else event.member
            logger.log(
                logging.WARNING if isinstance(event, NameConflict) else logging.INFO,
                "%s name=%s node_id=%s address=%s:%d run_id=%d incarnation=%d",
                phrase,
                member.name,
                member.node_id,
                *member.address,
                member.run_id,
                member.incarnation,
            )
        for subscriber in self._subscribers:
            subscriber(event)


def _check_sound(member: Member) -> None:
    if not is_sound(member):
        raise ValueError(
            f"this member cannot be told to others: {member!r:.300}. "
            "The node id must be 16 hexadecimal digits, the address an IP address and a port, "
            f"the name printable and <= {MAX_NAME_BYTES} bytes, meta <= {MAX_META_BYTES} bytes."
        )


def _bound_socket(bind: Address) -> socket.socket:
    """A non-blocking socket: we read it ourselves, to be done with all that waits before any timer counts."""
    found = socket.getaddrinfo(*bind, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setblocking(False)
        if family is socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # `::` speaks IPv4 too
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def _sendable(to: Address) -> Address:
    """An IPv4 address as an IPv6 socket takes it (RFC 4291 §2.5.5.2)."""
    return to if ":" in to[0] else (MAPPED + to[0], to[1])


def _shown(source: tuple[str, int]) -> Address:
    """The address of who sent, as everyone else knows it."""
    host = source[0]
    return (host.removeprefix(MAPPED) if "." in host else host, source[1])
