"""Statistics rows: one writer each, the newest wins, and each is passed on only a few times."""

from dataclasses import dataclass

from gossip.member import NodeId
from gossip.messages import RowUpdate


@dataclass(frozen=True, slots=True, kw_only=True)
class StatRow:
    """The newest statistics of one node that reached us."""

    node_id: NodeId
    run_id: int
    version: int  # rises with every row of a run
    payload: bytes  # opaque here; <= MAX_ROW_BYTES
    measured_at: float  # on our own clock (the `clock` handed in); age = clock() - measured_at

    def as_update(self, now: float) -> RowUpdate:
        """The row as it is sent: with its age, for no two clocks agree."""
        return RowUpdate(
            node_id=self.node_id,
            run_id=self.run_id,
            version=self.version,
            age_seconds=max(0.0, now - self.measured_at),
            payload=self.payload,
        )


def received_row(update: RowUpdate, *, now: float) -> StatRow:
    return StatRow(
        node_id=update.node_id,
        run_id=update.run_id,
        version=update.version,
        payload=update.payload,
        measured_at=now - update.age_seconds,
    )


class StatTable:
    """The newest row of every node, and how often we passed each on."""

    def __init__(self) -> None:
        self._rows: dict[NodeId, StatRow] = {}
        self._told: dict[NodeId, int] = {}  # rows still to be passed on

    def put(self, row: StatRow) -> bool:
        """Keep the row if it is newer than what we have."""
        held = self._rows.get(row.node_id)
        if held and (held.run_id, held.version) >= (row.run_id, row.version):
            return False
        self._rows[row.node_id] = row
        self._told[row.node_id] = 0
        return True

    def take(self, *, room: int, overhead: int, budget: int) -> list[StatRow]:
        """Rows that fit into `room` bytes, those told least often first; each is given out `budget` times."""
        taken = []
        for node_id in sorted(self._told, key=self._told.__getitem__):
            row = self._rows[node_id]
            size = len(row.payload) + overhead
            if size > room:
                continue
            room -= size
            taken.append(row)
            self._told[node_id] += 1
            if self._told[node_id] >= budget:
                del self._told[node_id]
        return taken

    def forget(self, node_id: NodeId) -> None:
        self._rows.pop(node_id, None)
        self._told.pop(node_id, None)

    def rows(self) -> dict[NodeId, StatRow]:
        return dict(self._rows)
