"""Announces the names of apps while this node leads, as the name book says."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from pinode.cluster import Cluster
from pinode.lan_names.name_book import NameBook, Steps
from pinode.lan_names.responder import Responder
from pinode.lan_names.wanted import (
    LAN_DOMAIN,
    LanName,
    is_announcing,
    is_of_this_cluster,
    names_of_nodes,
    wanted_names,
)

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncZeroconf

logger = logging.getLogger(__name__)

SPACING_SECONDS = 1.0  # between two looks, however much changes
LONGEST_WAIT_SECONDS = 60.0  # a name may be lost meanwhile, and is asked for again after some time


class LanNames:
    """One a node; acts on the leader alone."""

    def __init__(self, cluster: Cluster, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._cluster = cluster
        self._clock = clock
        self._book = NameBook()
        self._reported_taken: frozenset[str] = frozenset()
        self._reported_told = (0, "")

    @property
    def taken(self) -> tuple[str, ...]:
        """Apps whose names another machine has, as the leader found; nothing on other nodes."""
        return self._book.taken

    async def run_on(self, zeroconf: "AsyncZeroconf") -> None:
        """Announce with this instance until cancelled; then say no more, without a word to the network."""
        if not is_announcing(self._cluster.settings):
            await asyncio.Event().wait()
        cluster_name = self._cluster.cluster_name
        with Responder(zeroconf.zeroconf, cluster_name, on_claimed=self._note_claim) as responder:
            try:
                while True:
                    revision = self._cluster.revision  # before looking: a change meanwhile is looked at again
                    while await self._carry_out(self._look(), responder):
                        pass
                    await asyncio.sleep(SPACING_SECONDS)
                    due = self._book.wait_seconds(self._clock())
                    wait = LONGEST_WAIT_SECONDS if due is None else min(due, LONGEST_WAIT_SECONDS)
                    await self._cluster.changed(revision, timeout_seconds=wait)
            finally:
                self._book = NameBook()

    def _look(self) -> Steps:
        cluster = self._cluster
        if not (cluster.is_leader and cluster.has_quorum):
            steps = self._book.steps(None, now=self._clock())
        else:
            nodes, port = cluster.nodes(), cluster.settings.listen.apps.port
            wanted = wanted_names(cluster.state.registry, nodes, own_id=cluster.node_id, port=port)
            steps = self._book.steps(wanted, reserved=names_of_nodes(nodes), now=self._clock())
        self._report()
        return steps

    async def _carry_out(self, steps: Steps, responder: Responder) -> bool:
        """Whether to look again at once."""
        responder.withdraw(steps.withdraw)
        await responder.part(steps.part)
        await responder.announce(steps.announce)
        if not steps.probe:
            return False
        answered = await responder.probe(steps.probe)
        self._book.conclude(steps.probe, answered, now=self._clock())
        return True

    def _note_claim(self, app: str, address: str, ttl_seconds: float) -> bool:
        """Somebody says that this name has that address. Whether that is another machine."""
        if is_of_this_cluster(address, ttl_seconds, self._cluster.nodes()):
            return False
        if self._book.lose(app, now=self._clock()):
            self._report()
        return True

    def _report(self) -> None:
        """Log what is new."""
        taken, told = frozenset(self._book.taken), _summary(self._book.held.values())
        for app in sorted(taken - self._reported_taken):
            logger.warning("app is not announced, a machine has its name name=%s.%s", app, LAN_DOMAIN)
        for app in sorted(self._reported_taken - taken):
            logger.info("no machine has the name of the app any more name=%s.%s", app, LAN_DOMAIN)
        if told != self._reported_told:
            logger.info("names of apps are announced names=%d addresses=%s", *told)
        self._reported_taken, self._reported_told = taken, told


def _summary(held: Collection[LanName]) -> tuple[int, str]:
    return len(held), ",".join(sorted({address for name in held for address in name.addresses}))
