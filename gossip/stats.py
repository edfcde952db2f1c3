"""Statistics rows: one writer each, the newest wins."""

from dataclasses import dataclass

from gossip.member import NodeId

MAX_ROW_BYTES = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class StatRow:
    """The newest statistics of one node that reached us."""

    node_id: NodeId
    run_id: int
    version: int  # rises with every row of a run
    payload: bytes  # opaque here; <= MAX_ROW_BYTES
    measured_at: float  # on our own clock (the `clock` handed in); age = clock() - measured_at
