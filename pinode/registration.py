"""Keeps what is agreed about this node as it is: its name, its address, the feature level of its program."""

import asyncio
import logging
from collections.abc import Callable

from pinode.apps.errors import Refused
from pinode.cluster import Cluster
from pinode.errors import PinodeError
from pinode.feature_level import FEATURE_LEVEL
from pinode.nodes.commands import AddNode
from replicated_queue.errors import QueueError

logger = logging.getLogger(__name__)

LOOK_SECONDS = 10.0


class Registration:
    """One a node. Nothing is written while nothing is different."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        host: Callable[[], str],
        is_caught_up: Callable[[], bool],
        look_seconds: float = LOOK_SECONDS,
        feature_level: int = FEATURE_LEVEL,
    ) -> None:
        """`host`: the address of this machine now."""
        self._feature_level = feature_level
        self._cluster = cluster
        self._host = host
        self._is_caught_up = is_caught_up
        self._look_seconds = look_seconds
        self._refused: AddNode | None = None

    async def run(self) -> None:
        """Look every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(self._look_seconds)
            await self.look()

    async def look(self) -> None:
        """Have a difference agreed on, once."""
        cluster = self._cluster
        known = cluster.state.nodes.get(cluster.node_id)
        if known is None or not self._is_caught_up() or not cluster.has_quorum:
            return
        wanted = AddNode(
            node_id=cluster.node_id,
            name=cluster.node_name,
            host=self._host(),
            peer_port=cluster.settings.listen.peer.port,
            feature_level=self._feature_level,
        )
        agreed = AddNode(
            node_id=known.node_id,
            name=known.name,
            host=known.host,
            peer_port=known.peer_port,
            feature_level=known.feature_level,
        )
        if wanted in (agreed, self._refused):
            return
        try:
            await cluster.execute(wanted)
            logger.info(
                "registered anew name=%s host=%s port=%d feature_level=%d",
                wanted.name,
                wanted.host,
                wanted.peer_port,
                wanted.feature_level,
            )
        except Refused as refused:
            self._refused = wanted
            logger.warning(
                "this node stays registered as %s: %s %s", known.where, refused.message, refused.hint
            )
        except (PinodeError, QueueError, TimeoutError) as error:
            logger.info("not registered anew yet reason=%r", error)
