"""What a node keeps of its founding on its disk."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from pinode.peers.agreement import AcceptorState
from pinode.peers.durable_files import write_durably
from pinode.peers.founding_codec import decode_record, decode_state, encode_record, encode_state
from pinode.peers.founding_record import FoundingRecord
from pinode.settings import Address, parse_address

T = TypeVar("T")


class FoundingStore:
    """The record, and before there is one what this node promised."""

    def __init__(self, data_dir: Path) -> None:
        self._record_file = data_dir / "cluster.record"
        self._state_file = data_dir / "founding"
        self._addresses_file = data_dir / "founding.addresses"
        self._joined_file = data_dir / "joined"

    def record(self) -> FoundingRecord | None:
        """The record, once decided. Raises `MalformedFrame` when it cannot be read."""
        content = _read(self._record_file)
        return decode_record(content) if content is not None else None

    def state(self) -> AcceptorState:
        """What this node promised and accepted. Raises `MalformedFrame` when it cannot be read."""
        content = _read(self._state_file)
        return decode_state(content) if content is not None else AcceptorState()

    def keep_record(self, record: FoundingRecord) -> None:
        """Make the record durable."""
        write_durably(self._record_file, encode_record(record))

    def keep_state(self, state: AcceptorState) -> None:
        """Make a promise durable; only then may it be given."""
        write_durably(self._state_file, encode_state(state))

    def keep_joined(self, node_id: str, record: FoundingRecord, addresses: Iterable[Address]) -> None:
        """Make durable that this node, which is not in the record, was admitted; the record last."""
        self.keep_addresses(addresses)
        write_durably(self._joined_file, node_id.encode() + b"\n")
        self.keep_record(record)

    def joined_as(self) -> str | None:
        """The node id with which this machine joined a founded cluster; None for a founder."""
        content = _read(self._joined_file)
        return content.decode().strip() if content is not None else None

    def addresses(self) -> tuple[Address, ...]:
        """Where the others were when this node last promised, or joined."""
        content = _read(self._addresses_file) or b""
        return tuple(parse_address(line) for line in content.decode().splitlines())

    def keep_addresses(self, addresses: Iterable[Address]) -> None:
        """Make them durable, one a line."""
        write_durably(self._addresses_file, "".join(f"{address}\n" for address in addresses).encode())


async def write_to_the_end(write: Callable[[T], None], content: T) -> None:
    """Call `write` in a thread. Who is cancelled meanwhile waits for it all the same.

    A write that nobody awaits would go on after its caller let go of the file, and could put older content
    over newer.
    """
    writing = asyncio.ensure_future(asyncio.to_thread(write, content))
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait((writing,))
        raise


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
