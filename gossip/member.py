"""A member and what is claimed about it: which of two claims supersedes the other."""

from dataclasses import dataclass
from enum import IntEnum

NodeId = str  # 16 hexadecimal digits
Address = tuple[str, int]  # IP address (never a name: sending must not resolve) and UDP port

MAX_NAME_BYTES = 128
MAX_META_BYTES = 400


class MemberState(IntEnum):
    """What is claimed of a member; at equal incarnation the higher number supersedes."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3

    @property
    def is_live(self) -> bool:
        """Alive or suspect: still probed, still told the news."""
        return self <= MemberState.SUSPECT


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One process of one node, as somebody sees it. Only the member itself raises its incarnation."""

    node_id: NodeId
    name: str  # shown to people; <= MAX_NAME_BYTES
    address: Address
    run_id: int  # rises with every process start of the node
    incarnation: int  # starts at 0 with every run; raised to refute, or to tell a new address or meta
    state: MemberState
    meta: bytes = b""  # opaque here; <= MAX_META_BYTES
