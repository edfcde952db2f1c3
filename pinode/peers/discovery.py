"""Nodes on one network find each other by multicast DNS, as long as they look for a cluster to found."""

import contextlib
from collections.abc import AsyncIterator

from pinode.peers.founding_record import FoundingMember
from pinode.peers.identity import Identity
from pinode.settings import Address, Settings


class Discovery:
    """What was heard on the network so far; nothing where discovery is off."""

    def __init__(self, *, is_on: bool) -> None:
        self.is_on = is_on

    @classmethod
    @contextlib.asynccontextmanager
    async def of(
        cls, settings: Settings, identity: Identity, member: FoundingMember
    ) -> "AsyncIterator[Discovery]":
        """Announce this node and listen for others, while inside."""
        yield cls(is_on=settings.cluster.discovery == "mdns")

    def addresses(self) -> list[Address]:
        """Of nodes with the same cluster key."""
        return []

    def refuse_foreign_cluster(self) -> None:
        """Raise `Conflict` when a founded cluster of the same name and another key was heard."""
