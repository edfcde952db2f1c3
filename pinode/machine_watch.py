"""Watches the machine of a node: how it is, and where; tells the others and the network when that is news."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from pinode.apps.observed import NodeStats
from pinode.host import HostSensors
from pinode.memory import settle
from pinode.node_agreement import Agreement
from pinode.node_facts import NodeFacts, NodeRow, encode_facts, encode_row, is_news
from pinode.node_parts import Work
from pinode.own_address import OwnAddress
from pinode.peers.discovery import announce
from pinode.peers.founding_record import FoundingMember
from pinode.peers.identity import Identity
from pinode.settings import Settings
from replicated_queue.memory import give_back

logger = logging.getLogger(__name__)

MEASURE_SECONDS = 5.0  # how often this machine is measured, and told to the others when it changed by enough
LOOK_AGAIN_SECONDS = 2.0  # when it seems to have another address
LATEST_NEWS_SECONDS = 30.0  # or all the same
GIVE_BACK_SECONDS = 60.0  # how often free memory goes back to the system


class MachineWatch:
    """One a node; `run` it, and `announce` beside it."""

    def __init__(
        self,
        settings: Settings,
        *,
        own: OwnAddress,
        facts: NodeFacts,
        warnings: Callable[[], tuple[str, ...]],
        agreement: Agreement,
        work: Work,
    ) -> None:
        """`warnings`: what the node says of itself now."""
        self._settings = settings
        self._own = own
        self._facts = facts
        self._warnings = warnings
        self._agreement = agreement
        self._work = work
        self._moved = asyncio.Event()

    async def announce(self, identity: Identity) -> None:
        """By multicast DNS: where this node is now, of which cluster, and names of apps, until cancelled."""
        cluster = self._agreement.cluster
        # The settings of a machine that joined may name another cluster.
        named = replace(self._settings.cluster, name=cluster.cluster_name)
        settings = replace(self._settings, cluster=named)
        identity.secrets.on_change(self._moved.set)  # it names the key
        while True:
            self._moved.clear()
            here = FoundingMember(
                node_id=identity.node_id,
                name=cluster.node_name,
                host=self._own.host,
                peer_port=settings.listen.peer.port,
            )
            async with asyncio.TaskGroup() as tasks:
                names = self._work.lan_names.run_on
                announcing = tasks.create_task(
                    announce(settings, identity=identity, member=here, beside=names)
                )
                await self._moved.wait()
                announcing.cancel()

    async def run(self) -> None:
        """Measure; tell the others when it is news, and when this machine has another address."""
        agreement = self._agreement
        sensors = HostSensors(self._settings.node.data_dir)
        told, told_at, lag_seconds = NodeRow(stats=NodeStats()), float("-inf"), 0.0
        told_facts = self._facts
        given_back_at = time.monotonic()
        clean_up = (
            settle  # at first: what the founding took is garbage by now, what was restored is here to stay
        )
        while True:
            if self._own.look():
                await self._move()
            began = time.monotonic()
            stats = NodeStats(**sensors.sample(began).as_stats(), loop_lag_ms=round(lag_seconds * 1000, 1))
            dynos, builds = agreement.cluster.at_work(agreement.cluster.node_id)
            row = NodeRow(stats=stats, dynos=dynos, builds=builds)
            since = began - told_at
            if since >= LATEST_NEWS_SECONDS or is_news(told, row):
                agreement.gossip.publish(encode_row(row))
                told, told_at = row, began
            facts = replace(self._facts, warnings=self._warnings(), taken=self._work.lan_names.taken)
            if told_facts != (told_facts := facts):
                agreement.gossip.set_meta(encode_facts(facts))
            if began - given_back_at >= GIVE_BACK_SECONDS:
                given_back_at = began
                clean_up()
                clean_up = give_back
            pause = LOOK_AGAIN_SECONDS if self._own.is_in_doubt else MEASURE_SECONDS
            await asyncio.sleep(pause)
            lag_seconds = max(0.0, time.monotonic() - began - pause)

    async def _move(self) -> None:
        """This machine has another address: whoever dials it must learn that, and its certificate name it."""
        logger.info("this node has a new address address=%s", self._own.host)
        self._agreement.gossip.set_address((self._own.host, self._settings.listen.peer.port))
        self._moved.set()
        await self._work.certificate.renew(self._own.host)
        self._work.router.tell_certificates()
