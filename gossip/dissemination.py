"""What rides on the next message: news of members, each told a bounded number of times."""

import math
from dataclasses import dataclass

from gossip.codec import update_size
from gossip.member import NodeId, supersedes
from gossip.messages import MemberUpdate


def transmit_limit(members: int, multiplier: int) -> int:
    """How often one member tells one news, so that all of them hear it (SWIM §4.1)."""
    return multiplier * math.ceil(math.log10(members + 1))


@dataclass(slots=True)
class _Item:
    update: MemberUpdate
    size: int
    rank: int  # 0 before 1: what we say of ourselves outruns what others say of us
    arrived: int
    told: int = 0

    @property
    def urgency(self) -> tuple[int, int, int]:
        return (self.rank, self.told, -self.arrived)  # of equals the newest first


class NewsQueue:
    """News still to be told. Newer news of a member replaces older; accusers of one claim stand together."""

    def __init__(self) -> None:
        self._items: dict[tuple[NodeId, NodeId], _Item] = {}  # by member and by who says so
        self._arrivals = 0

    def __bool__(self) -> bool:
        return bool(self._items)

    def put(self, update: MemberUpdate, *, first: bool = False) -> None:
        """Tell this from now on; `first` puts it before all others."""
        node_id = update.member.node_id
        for key in [key for key in self._items if key[0] == node_id]:
            if supersedes(update.member, self._items[key].update.member):
                del self._items[key]
        self._arrivals += 1
        self._items[node_id, update.by] = _Item(
            update, update_size(update), 0 if first else 1, self._arrivals
        )

    def forget(self, node_id: NodeId) -> None:
        for key in [key for key in self._items if key[0] == node_id]:
            del self._items[key]

    def take(self, *, room: int, limit: int, at_most: int = 64) -> list[MemberUpdate]:
        """News that fit into `room` bytes, those told least often first; each is given out `limit` times.

        What does not fit stays for the next message.
        """
        taken: list[MemberUpdate] = []
        for key, item in sorted(self._items.items(), key=lambda pair: pair[1].urgency):
            if item.size > room or len(taken) >= at_most:
                continue
            room -= item.size
            taken.append(item.update)
            item.told += 1
            if item.told >= limit:
                del self._items[key]
        return taken
