"""How many members vote, and which: what a leader changes by itself.

Gossip says who lives, the log who is registered; only Raft commits.
"""

from collections.abc import Iterable

from .membership import Membership


def voters_wanted(nodes: int) -> int:
    """How many voters a group of so many nodes has: 1 below 3, 3 below 7, then 5.

    Two voters would stop when either is away; more than five cost each entry more disks than they save.
    """
    return 1 if nodes < 3 else 3 if nodes < 7 else 5


def founding_membership(ids: Iterable[int]) -> Membership:
    """The group that these nodes found: the lowest ids vote, the others learn."""
    everybody = sorted(set(ids))
    count = voters_wanted(len(everybody))
    return Membership.of(everybody[:count], everybody[count:])
