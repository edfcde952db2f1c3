"""Open probes: ours, and those we make for others."""

import math
from dataclasses import dataclass, field

from gossip.member import Address, Member, NodeId

MAX_RELAYS = 64  # probes we make for others at one time; more requests are not answered


@dataclass(slots=True, kw_only=True)
class Probe:
    """One probe of ours: ping, ping again, then through helpers, then the verdict (SWIM §3.1)."""

    sequence: int
    target: Member
    again_at: float
    indirect_at: float
    verdict_at: float
    helpers: frozenset[NodeId] = frozenset()
    nacks: set[NodeId] = field(default_factory=set)

    def next_at(self) -> float:
        return min(self.again_at, self.indirect_at, self.verdict_at)


@dataclass(slots=True, kw_only=True)
class Relay:
    """A probe we make for somebody else."""

    sequence: int
    target: NodeId
    requester: Address
    requester_sequence: int
    nack_at: float
    ends_at: float


class ProbeBook:
    """All open probes by sequence, and when something is due of them."""

    def __init__(self) -> None:
        self._probes: dict[int, Probe] = {}
        self._relays: dict[int, Relay] = {}
        self._sequence = 0

    def open(self, target: Member, *, now: float, timeout: float, indirect: float) -> Probe:
        probe = Probe(
            sequence=self._next_sequence(),
            target=target,
            again_at=now + timeout / 2,
            indirect_at=now + timeout,
            verdict_at=now + timeout + indirect,
        )
        self._probes[probe.sequence] = probe
        return probe

    def open_relay(
        self, target: NodeId, *, requester: Address, sequence: int, now: float, patience: float
    ) -> Relay | None:
        """A probe for somebody else, who waits about `patience`; none when there are too many of them."""
        if len(self._relays) >= MAX_RELAYS:
            return None
        relay = Relay(
            sequence=self._next_sequence(),
            target=target,
            requester=requester,
            requester_sequence=sequence,
            nack_at=now + patience * 0.7,  # it has to travel back in time
            ends_at=now + patience * 2,
        )
        self._relays[relay.sequence] = relay
        return relay

    def is_probing(self, node_id: NodeId) -> bool:
        return any(probe.target.node_id == node_id for probe in self._probes.values())

    def acked(self, sequence: int, *, by: NodeId) -> Probe | Relay | None:
        """Close and return the probe that this answers; `None` when it is late or from somebody else."""
        probe = self._probes.get(sequence)
        if probe and (by == probe.target.node_id or by in probe.helpers):
            return self._probes.pop(sequence)
        relay = self._relays.get(sequence)
        if relay and by == relay.target:
            return self._relays.pop(sequence)
        return None

    def nacked(self, sequence: int, *, by: NodeId) -> None:
        probe = self._probes.get(sequence)
        if probe and by in probe.helpers:
            probe.nacks.add(by)

    def due_probes(self, now: float) -> list[Probe]:
        return [probe for probe in self._probes.values() if probe.next_at() <= now]

    def due_nacks(self, now: float) -> list[Relay]:
        """Relays whose requester should hear now that the target is silent to us too."""
        for relay in [relay for relay in self._relays.values() if relay.ends_at <= now]:
            del self._relays[relay.sequence]
        due = [relay for relay in self._relays.values() if relay.nack_at <= now]
        for relay in due:
            relay.nack_at = math.inf
        return due

    def close(self, probe: Probe) -> None:
        del self._probes[probe.sequence]

    def clear(self) -> None:
        """Forget all: nobody is judged by what we slept through."""
        self._probes.clear()
        self._relays.clear()

    def next_deadline(self) -> float:
        if not self._probes and not self._relays:
            return math.inf
        probes = [probe.next_at() for probe in self._probes.values()]
        return min(probes + [min(relay.nack_at, relay.ends_at) for relay in self._relays.values()])

    def _next_sequence(self) -> int:
        self._sequence = self._sequence % 0xFFFF_FFFF + 1
        return self._sequence
