"""The shell: socket, timers and streams around the core."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from gossip.events import Event
from gossip.member import Address, Member, NodeId
from gossip.settings import GossipSettings
from gossip.stats import StatRow

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
        self.counters = Counters()

    async def run(self) -> None:
        """Take part until cancelled. Raises `OSError` when `bind` is taken."""

    async def leave(self) -> None:
        """Say goodbye, so that nobody suspects us; returns within a second. `run` must still be running."""

    def answer_exchange(self, payload: bytes) -> bytes:
        """The other side of `exchange`: merge their view and return ours.

        Raises `MalformedMessage` or `WrongCluster`; close the stream then.
        """
        return b""

    def members(self) -> tuple[Member, ...]:
        """Everyone we know of, ourselves and the dead included, by node id."""
        return ()

    def stats(self) -> Mapping[NodeId, StatRow]:
        """The newest statistics row of each node, our own included."""
        return {}

    def publish(self, payload: bytes) -> None:
        """Make this our statistics row (<= MAX_ROW_BYTES)."""

    def set_meta(self, meta: bytes) -> None:
        """Tell everyone our new meta (<= MAX_META_BYTES); nothing happens when it is the old one."""

    def set_address(self, address: Address) -> None:
        """Tell everyone our new address."""

    def add_seeds(self, seeds: Sequence[Address]) -> None:
        """Further addresses to try, for ever; hosts may be names here."""

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber` at every event, on the event loop, in order."""

    @property
    def run_id(self) -> int:
        """Our run; higher than the one handed in when somebody remembered a higher one of ours."""
        return 0

    @property
    def health_score(self) -> int:
        """0: well; up to 8: we seem to be the slow one ourselves (Lifeguard)."""
        return 0
