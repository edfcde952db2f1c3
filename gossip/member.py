"""A member and what is claimed about it: which of two claims supersedes the other."""

from dataclasses import dataclass
from enum import IntEnum

NodeId = str  # 16 hexadecimal digits
Address = tuple[str, int]  # IP address (never a name: sending must not resolve) and UDP port

MAX_NAME_BYTES = 128
MAX_META_BYTES = 400
MAX_ROW_BYTES = 400  # of a statistics row


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


def supersedes(claim: Member, held: Member) -> bool:
    """Whether `claim` beats `held` (SWIM §4.2): by run, then incarnation, then state, and by nothing else."""
    return (claim.run_id, claim.incarnation, claim.state) > (held.run_id, held.incarnation, held.state)


def merge(one: Member, other: Member) -> Member:
    """The claim of the two that stands; in any order and any number of times the result is the same."""
    return other if supersedes(other, one) else one


def is_same_claim(one: Member, other: Member) -> bool:
    """Whether both say the same about the same incarnation, whoever said it."""
    return (one.run_id, one.incarnation, one.state) == (other.run_id, other.incarnation, other.state)
