"""Everyone we know of: the living in their ring, the dead with their tombstones."""

import math
from bisect import bisect_left
from collections.abc import Iterator

from gossip.member import Address, Member, MemberState, NodeId


class Roster:
    """Members by node id, ourselves included; the ring is the live ones in the order of their ids."""

    def __init__(self, me: Member) -> None:
        self.me = me
        self._others: dict[NodeId, Member] = {}
        self._gone_at: dict[NodeId, float] = {}
        self._ring: list[NodeId] = [me.node_id]
        self._live_addresses: frozenset[Address] | None = None

    def __len__(self) -> int:
        return len(self._others) + 1

    def __iter__(self) -> Iterator[Member]:
        return (self[node_id] for node_id in sorted([self.me.node_id, *self._others]))

    def __getitem__(self, node_id: NodeId) -> Member:
        return self.me if node_id == self.me.node_id else self._others[node_id]

    def get(self, node_id: NodeId) -> Member | None:
        return self.me if node_id == self.me.node_id else self._others.get(node_id)

    def put(self, member: Member, *, now: float) -> None:
        """Hold this claim; `now` is when the member ended, if it says dead or left."""
        self._live_addresses = None
        self._others[member.node_id] = member
        place = bisect_left(self._ring, member.node_id)
        is_in_ring = self._ring[place : place + 1] == [member.node_id]
        if member.state.is_live:
            self._gone_at.pop(member.node_id, None)
            if not is_in_ring:
                self._ring.insert(place, member.node_id)
        else:
            self._gone_at[member.node_id] = now
            if is_in_ring:
                del self._ring[place]

    @property
    def ring(self) -> list[NodeId]:
        """Ids of the live members, ourselves included, in order; not to be changed by the caller."""
        return self._ring

    def live_others(self) -> list[Member]:
        return [self._others[node_id] for node_id in self._ring if node_id != self.me.node_id]

    def is_live(self, node_id: NodeId) -> bool:
        held = self.get(node_id)
        return held is not None and held.state.is_live

    def live_addresses(self) -> frozenset[Address]:
        """Where live members are, ourselves included."""
        if self._live_addresses is None:
            self._live_addresses = frozenset(self[node_id].address for node_id in self._ring)
        return self._live_addresses

    def dead(self) -> list[Member]:
        """Those that died (not those that left)."""
        return [held for held in map(self.__getitem__, self._gone_at) if held.state is MemberState.DEAD]

    def gone_seconds(self, node_id: NodeId, now: float) -> float:
        return max(0.0, now - self._gone_at[node_id]) if node_id in self._gone_at else 0.0

    def reap(self, before: float) -> list[NodeId]:
        """Forget those that ended before that time; if one speaks again it is new."""
        reaped = [node_id for node_id, gone_at in self._gone_at.items() if gone_at <= before]
        for node_id in reaped:
            del self._gone_at[node_id], self._others[node_id]
        return reaped

    def oldest_end(self) -> float:
        """When the first of the gone ended; infinite when nobody is."""
        return min(self._gone_at.values(), default=math.inf)

    def neighbours(self, node_id: NodeId, count: int) -> list[NodeId]:
        """The `count` live members that follow this one in the ring."""
        place = bisect_left(self._ring, node_id)
        turned = [one for one in self._ring[place:] + self._ring[:place] if one != node_id]
        return turned[:count]
