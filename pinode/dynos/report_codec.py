"""The table of a node's dynos as bytes."""

from collections.abc import Sequence
from dataclasses import dataclass

from pinode.apps.errors import MalformedCommand
from pinode.apps.observed import DynoReport
from pinode.apps.records import from_plain, pack, to_plain, unpack


@dataclass(frozen=True, slots=True, kw_only=True)
class DynoTable:
    """All rows of one node; a later `version` of the same run replaces an earlier one."""

    run_id: str
    version: int
    rows: tuple[DynoReport, ...] = ()


def encode_table(table: DynoTable) -> bytes:
    """For the other nodes."""
    return pack(to_plain(table))


def decode_table(payload: bytes) -> DynoTable:
    """Raises `MalformedCommand`."""
    return from_plain(DynoTable, unpack(payload))


def rows_of(rows: Sequence[DynoReport], node_id: str) -> tuple[DynoReport, ...]:
    """Those that the node may speak about: its own."""
    return tuple(row for row in rows if row.node_id == node_id)


__all__ = ["DynoTable", "MalformedCommand", "decode_table", "encode_table", "rows_of"]
