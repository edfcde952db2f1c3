"""Records every node's statistics as gossip brings them, and gives the rings to a peer that lost its own."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol

from gossip.member import NodeId
from gossip.stats import StatRow
from pinode.apps.observed import NodeView
from pinode.cluster import PeerCalls
from pinode.errors import PinodeError
from pinode.metrics.codec import History, MalformedRings, decode_history, encode_history
from pinode.metrics.rings import FIELDS, FINE_SECONDS, NodeRings, Row, Stretch
from pinode.node_facts import NodeRow, decode_row

logger = logging.getLogger(__name__)

METHOD = "metrics.rings"
CHUNK_SECONDS = 10.0
MAX_NODES = 64
OLDEST_ROW_SECONDS = 45.0  # a node that is well tells something every 30 s
ASK_TIMES = 6  # a start of everyone at once leaves nobody to ask


class Nodes(Protocol):
    """What is wanted of the cluster."""

    @property
    def node_id(self) -> str: ...
    @property
    def peers(self) -> PeerCalls: ...
    def nodes(self) -> Sequence[NodeView]: ...


class NodeHistory:
    """The last day of every node. `serve` it and `run` it."""

    def __init__(
        self,
        cluster: Nodes,
        *,
        rows: Callable[[], Mapping[NodeId, StatRow]],
        clock: Callable[[], float] = time.monotonic,
        step_seconds: float = FINE_SECONDS,
    ) -> None:
        self._cluster = cluster
        self._rows = rows
        self._clock = clock
        self._step_seconds = step_seconds
        self._rings: dict[NodeId, NodeRings] = {}

    def serve(self) -> None:
        """Answer peers that ask for the rings."""
        self._cluster.peers.serve_stream(METHOD, self._all)

    async def run(self) -> None:
        """Record, until cancelled; at first also ask the others what was before."""
        asks = ASK_TIMES
        while True:
            self.record()
            if asks and await self._ask():
                asks = 0
            asks = max(0, asks - 1)
            await asyncio.sleep(self._step_seconds)

    def record(self) -> None:
        """Keep how everybody is now, as far as that is known."""
        now = self._clock()
        for node_id, row in self._rows().items():
            if now - row.measured_at <= OLDEST_ROW_SECONDS:
                self._rings_of(node_id).record(_values(decode_row(row.payload)), now=now)

    def fine(self, node_id: NodeId) -> Stretch:
        """The last hour in steps of 10 s."""
        return self._known(node_id).fine.stretch(now=self._clock())

    def coarse(self, node_id: NodeId) -> Stretch:
        """The last day in steps of 2 min."""
        return self._known(node_id).coarse.stretch(now=self._clock())

    def _known(self, node_id: NodeId) -> NodeRings:
        return self._rings.get(node_id) or NodeRings()

    def _rings_of(self, node_id: NodeId) -> NodeRings:
        if node_id not in self._rings and len(self._rings) >= MAX_NODES:
            self._rings.pop(next(iter(self._rings)))
        if node_id not in self._rings:
            self._rings[node_id] = NodeRings()
        return self._rings[node_id]

    async def _all(self, _peer: str, _payload: bytes) -> AsyncIterator[bytes]:
        for node_id in list(self._rings):
            yield encode_history(History(node_id, self.fine(node_id), self.coarse(node_id)))

    async def _ask(self) -> bool:
        """Have one living peer tell all it knows; whether one did."""
        for node in self._cluster.nodes():
            if node.node_id == self._cluster.node_id or node.state != "alive":
                continue
            try:
                return await self._ask_one(node.node_id)
            except (PinodeError, OSError, TimeoutError, MalformedRings) as error:
                logger.debug("no rings from a peer node=%s reason=%r", node.name, error)
        return False

    async def _ask_one(self, node_id: NodeId) -> bool:
        told = False
        async for chunk in self._cluster.peers.stream(node_id, METHOD, b"", timeout_seconds=CHUNK_SECONDS):
            history = decode_history(chunk)
            rings = self._rings_of(history.node_id)
            now = self._clock()
            rings.fine.fill(history.fine, now=now)
            rings.coarse.fill(history.coarse, now=now)
            told = True
        return told


def _values(row: NodeRow) -> Row:
    values = []
    for name in FIELDS:
        value = getattr(row, name) if name in ("dynos", "builds") else getattr(row.stats, name)
        values.append(math.nan if value is None else float(value))
    return values
