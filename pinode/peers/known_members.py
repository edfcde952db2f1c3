"""A file of the members last seen and where, so that a node that starts again finds them where they moved to.

It is written only when an address is new or a member has left, some seconds after it happened, so that a
cluster that starts writes it once; with nothing happening it is never written.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from gossip.codec import is_sound
from gossip.events import Event
from gossip.member import Address, Member, MemberState, NodeId
from pinode.peers.durable_files import write_durably

logger = logging.getLogger(__name__)

VERSION = 1
MAX_MEMBERS = 256
SETTLE_SECONDS = 10.0  # the changes of so long are written together


class Members(Protocol):
    """What is wanted of gossip."""

    def members(self) -> tuple[Member, ...]: ...
    def subscribe(self, subscriber: Callable[[Event], None]) -> None: ...


class KnownMembers:
    """`load` it before gossip starts, `run` it beside."""

    def __init__(self, file: Path, *, own_id: NodeId, settle_seconds: float = SETTLE_SECONDS) -> None:
        self._file = file
        self._own_id = own_id
        self._settle_seconds = settle_seconds
        self._known: dict[NodeId, Member] = {}
        self._on_disk: dict[NodeId, Address] = {}
        self._members: Members | None = None
        self._changed = asyncio.Event()
        self.writes = 0

    def load(self) -> tuple[Member, ...]:
        """The members of the run before; a file that is missing or damaged names none, for seeds remain."""
        try:
            listed = json.loads(self._file.read_bytes())
            read = [_member_from(one) for one in listed["members"]] if listed["version"] == VERSION else []
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.warning("known members are not readable file=%s reason=%r", self._file, error)
            return ()
        sound = [one for one in read[:MAX_MEMBERS] if is_sound(one)]
        self._known = {one.node_id: one for one in sound if one.node_id != self._own_id}
        self._on_disk = self.addresses()
        return tuple(self._known.values())

    def watch(self, members: Members) -> None:
        """Keep the file as these members are."""
        self._members = members
        members.subscribe(lambda _: self._changed.set())

    async def run(self) -> None:
        """Write what changed, until cancelled."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(self._settle_seconds)
            self._changed.clear()
            self._learn(self._members.members() if self._members else ())
            if self.addresses() != self._on_disk:
                await self._write()

    def _learn(self, members: Iterable[Member]) -> None:
        """A dead member stays, for it may come back; one that left does not."""
        for member in members:
            if member.node_id == self._own_id:
                continue
            if member.state is MemberState.LEFT:
                self._known.pop(member.node_id, None)
            elif member.node_id in self._known or len(self._known) < MAX_MEMBERS:
                self._known[member.node_id] = member

    def addresses(self) -> dict[NodeId, Address]:
        return {node_id: member.address for node_id, member in self._known.items()}

    async def _write(self) -> None:
        written = self.addresses()
        listed = [
            {"node_id": one.node_id, "name": one.name, "host": one.address[0], "port": one.address[1]}
            for _, one in sorted(self._known.items())
        ]
        content = json.dumps({"version": VERSION, "members": listed}, indent=1).encode() + b"\n"
        try:
            await asyncio.to_thread(write_durably, self._file, content)
        except OSError as error:
            logger.warning("known members are not written file=%s reason=%r", self._file, error)
            return
        self._on_disk = written
        self.writes += 1


def _member_from(listed: dict[str, object]) -> Member:
    """Only the address matters: what else there is to know the member tells itself."""
    host, port = listed["host"], listed["port"]
    if not isinstance(host, str) or type(port) is not int:
        raise ValueError(f"no address: {listed!r:.200}")
    return Member(
        node_id=str(listed["node_id"]),
        name=str(listed["name"]),
        address=(host, port),
        run_id=0,
        incarnation=0,
        state=MemberState.DEAD,
    )
