"""What nodes tell each other about their dynos: each its own rows, all of them, whenever one changes.

A table is sent as a question whose answer is the table of the one who was asked. So a node that starts, or
comes back, has everybody's rows as soon as everybody has its own.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pinode.apps.observed import DynoReport
from pinode.cluster import Cluster
from pinode.dynos.report_codec import DynoTable, decode_table, encode_table, rows_of
from pinode.errors import PinodeError

logger = logging.getLogger(__name__)

METHOD = "dyno.report"
SEND_SECONDS = 3.0
RETRY_SECONDS = 10.0
CHANGE_SECONDS = 30.0


@dataclass(slots=True)
class _Peer:
    """What another node was told, and in which of its states."""

    acknowledged: int = -1  # version of our table
    incarnation: int = -1
    was_alive: bool = False
    retry_at: float = 0.0
    sending: "asyncio.Task[None] | None" = None


class Reports:
    """Newest dyno rows of all nodes. Knows only what nodes say of their own dynos; never in the log."""

    def __init__(self, cluster: Cluster, *, run_id: str) -> None:
        """`run_id` names this process start."""
        self._cluster = cluster
        self._own = DynoTable(run_id=run_id, version=0)
        self._tables: dict[str, DynoTable] = {}
        self._peers: dict[str, _Peer] = {}
        self._callbacks: list[Callable[[], None]] = []
        self._wake = asyncio.Event()
        self._leader: str | None = None
        cluster.peers.serve(METHOD, self._receive)

    async def run(self) -> None:
        """Tell the others, again where they did not hear, until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_cluster())
            while True:
                self._wake.clear()
                retry_at = self._send_where_needed(tasks, loop.time())
                try:
                    async with asyncio.timeout_at(retry_at):
                        await self._wake.wait()
                except TimeoutError:
                    pass

    def publish(self, rows: Iterable[DynoReport]) -> None:
        """These are this node's rows now (all of them); called by the supervisor."""
        self._own = DynoTable(run_id=self._own.run_id, version=self._own.version + 1, rows=tuple(rows))
        self._wake.set()
        self._notify()

    def all(self) -> tuple[DynoReport, ...]:
        """Newest rows of all nodes, ordered by placement."""
        tables = [self._own, *self._tables.values()]
        return tuple(sorted((row for table in tables for row in table.rows), key=lambda row: row.placement))

    def on_change(self, callback: Callable[[], None]) -> None:
        """Have `callback()` called whenever a row changed."""
        self._callbacks.append(callback)

    async def _follow_cluster(self) -> None:
        revision = self._cluster.revision
        while True:
            revision = await self._cluster.changed(revision, timeout_seconds=CHANGE_SECONDS)
            self._wake.set()

    def _send_where_needed(self, tasks: asyncio.TaskGroup, now: float) -> float | None:
        """Send to all nodes that lack our newest rows; when to look again, if some did not answer."""
        retries = []
        leader = self._cluster.leader_id
        is_new_leader = leader is not None and leader != self._leader
        self._leader = leader
        for node in self._cluster.nodes():
            if node.node_id == self._cluster.node_id:
                continue
            peer = self._peers.setdefault(node.node_id, _Peer())
            is_alive = node.state in ("alive", "suspect")
            is_back = is_alive and (not peer.was_alive or node.incarnation < peer.incarnation)
            if is_back or (is_new_leader and node.node_id == leader):
                peer.acknowledged, peer.retry_at = -1, 0.0
            peer.was_alive, peer.incarnation = is_alive, node.incarnation
            if not is_alive or peer.acknowledged == self._own.version or peer.sending is not None:
                continue
            if now >= peer.retry_at:
                peer.sending = tasks.create_task(self._send(node.node_id, peer))
            else:
                retries.append(peer.retry_at)
        return min(retries, default=None)

    async def _send(self, node_id: str, peer: _Peer) -> None:
        sent = self._own
        try:
            answer = await self._cluster.peers.call(
                node_id, METHOD, encode_table(sent), timeout_seconds=SEND_SECONDS
            )
            self._learn(node_id, decode_table(answer))
            peer.acknowledged, peer.retry_at = sent.version, 0.0
        except (PinodeError, OSError, TimeoutError) as error:
            logger.debug("dyno rows not delivered node=%s reason=%s", node_id, error)
            peer.retry_at = asyncio.get_running_loop().time() + RETRY_SECONDS
        finally:
            peer.sending = None
            self._wake.set()

    async def _receive(self, node_id: str, payload: bytes) -> bytes:
        self._learn(node_id, decode_table(payload))
        return encode_table(self._own)

    def _learn(self, node_id: str, table: DynoTable) -> None:
        """Keep a node's table unless we have a newer one of the same run."""
        known = self._tables.get(node_id)
        if known is not None and known.run_id == table.run_id and known.version >= table.version:
            return
        rows = rows_of(table.rows, node_id)
        self._tables[node_id] = DynoTable(run_id=table.run_id, version=table.version, rows=rows)
        if known is None or known.rows != rows:
            self._notify()

    def _notify(self) -> None:
        for callback in self._callbacks:
            callback()
