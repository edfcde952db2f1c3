"""How a node leaves its cluster for good: its dynos first, then its vote, then its name.

The steps are agreed one after the other, so that whoever looks sees how far it is, and a node that is
switched off in the middle of it stays a node that is leaving.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from typing import Any

from pinode.apps.observed import Availability, NodeView
from pinode.cluster import Cluster
from pinode.errors import Conflict, PinodeError
from pinode.nodes.commands import RemoveNode, SetAvailability
from pinode.operations.membership import why_not_without
from replicated_queue.errors import QueueError

logger = logging.getLogger(__name__)

METHOD = "farewell"
DRAIN_SECONDS = 180.0  # for its dynos and builds to be elsewhere
FAREWELL_SECONDS = 90.0  # for the others to go on without its vote, and to strike it off
ASK_SECONDS = 5.0
LOOK_SECONDS = 0.5
GONE, WAIT = b"gone", b"wait"
RUNNING = ("fetching", "starting", "up", "stopping")


class CannotLeave(Conflict):
    """Something this node holds has nowhere else to go."""

    code = "cannot_leave"


def serve_farewells(cluster: Cluster) -> None:
    """Strike off nodes that are leaving, when they ask for it and the log's group goes on without them."""

    async def answer(peer: str, payload: bytes) -> bytes:
        node = cluster.node(peer)
        if node is None:
            return GONE
        if node.availability != "leaving":
            raise Conflict(f"node {peer} is not leaving")
        if node.counts_as != "none":
            return WAIT
        await cluster.execute(RemoveNode(node_id=peer, by=payload.decode("utf-8", "replace")[:100]))
        return GONE

    cluster.peers.serve(METHOD, answer)


class Departure:
    """A part of a node that does nothing until `begin`."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        on_left: Callable[[], None],
        starts_at_boot: bool = False,
        drain_seconds: float = DRAIN_SECONDS,
        farewell_seconds: float = FAREWELL_SECONDS,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._cluster = cluster
        self._on_left = on_left
        self._starts_at_boot = starts_at_boot
        self._drain_seconds = drain_seconds
        self._farewell_seconds = farewell_seconds
        self._look_seconds = look_seconds
        self._asked = asyncio.Event()
        self.is_saying_farewell = False  # to be struck off is what it waits for
        self._by = ""
        self._waiting_for = ""
        self._failure: PinodeError | None = None

    def begin(self, *, by: str) -> None:
        """Leave, unless it is at it. Raises `Conflict` where the others could not go on without this node."""
        if self._asked.is_set():
            return
        here = self._here()
        refusal = why_not_without(self._cluster.nodes(), here) if here is not None else None
        if refusal is not None:
            raise refusal
        self._by, self._failure, self._waiting_for = by, None, "the cluster to agree"
        self._asked.set()

    def progress(self) -> dict[str, Any]:
        """How far it is: `failure` when it stays, and why. Who has left is told if it starts at boot."""
        failure = self._failure
        told = None if failure is None else {"message": failure.message, "hint": failure.hint}
        return {
            "pid": os.getpid(),
            "waiting_for": self._waiting_for,
            "failure": told,
            "starts_at_boot": self._starts_at_boot,
        }

    async def run(self) -> None:
        """Leave when asked to; until cancelled."""
        while True:
            await self._asked.wait()
            try:
                await self._leave()
                logger.info("this node has left the cluster")
                self._on_left()
                return
            except (PinodeError, QueueError, TimeoutError) as error:
                logger.warning("this node cannot leave reason=%s", error)
                self.is_saying_farewell = False
                self._failure = error if isinstance(error, PinodeError) else PinodeError(str(error))
                await self._stay()
            self._asked.clear()

    async def _leave(self) -> None:
        self.is_saying_farewell = True
        if await self._is_struck_off():
            return  # it was leaving when it was switched off, and hears nothing of the log any more
        self.is_saying_farewell = False
        await self._set("drained")
        await self._until(self._what_is_here, self._drain_seconds)
        with contextlib.suppress(QueueError, TimeoutError):
            # The group may go on without this node before it hears that this is agreed; the others know.
            await self._set("leaving")
        self._waiting_for = "the others to go on without its vote"
        self.is_saying_farewell = True
        async with asyncio.timeout(self._farewell_seconds):
            while True:
                if await self._is_struck_off():
                    return
                await asyncio.sleep(self._look_seconds)

    async def _until(self, what_is_left: Callable[[], str], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while left := what_is_left():
                    self._waiting_for = left
                    await asyncio.sleep(self._look_seconds)
        except TimeoutError as error:
            raise CannotLeave(
                f"this node still holds {self._waiting_for} after {seconds:.0f} s; it stays.",
                hint="`pinode nodes` shows whether another node can take that. Scale it down, or try again.",
            ) from error

    def _what_is_here(self) -> str:
        """Dynos and builds, in words."""
        registry, node_id = self._cluster.state.registry, self._cluster.node_id
        dynos = [f"{one.dyno} of {one.app}" for one in registry.placements_on(node_id)]
        ending = [row for row in self._cluster.reports() if row.node_id == node_id and row.state in RUNNING]
        dynos = dynos or [f"{row.process_type}.{row.ordinal} of {row.app}" for row in ending]
        builds = [
            f"build {build.id} of {build.app}"
            for build in registry.unfinished_builds()
            if build.node_id == node_id and build.state == "building"
        ]
        return ", ".join([*dynos, *builds][:5])

    async def _is_struck_off(self) -> bool:
        """Ask the others, for what is agreed after the group goes on without this node is not told to it."""
        for node in self._cluster.nodes():
            if node.node_id == self._cluster.node_id or not node.is_in_reach:
                continue
            try:
                answer = await self._cluster.peers.call(
                    node.node_id, METHOD, self._by.encode(), timeout_seconds=ASK_SECONDS
                )
            except (PinodeError, QueueError, OSError, TimeoutError) as error:
                logger.info("no answer about leaving node=%s reason=%s", node.name, error)
                continue
            return answer == GONE
        return False

    async def _stay(self) -> None:
        try:
            await self._set("active")
        except (PinodeError, QueueError, TimeoutError) as error:
            logger.warning("this node stays, but takes nothing new until `uncordon` reason=%s", error)

    async def _set(self, availability: Availability) -> None:
        await self._cluster.execute(
            SetAvailability(node_id=self._cluster.node_id, availability=availability, by=self._by)
        )

    def _here(self) -> NodeView | None:
        return self._cluster.node(self._cluster.node_id)
