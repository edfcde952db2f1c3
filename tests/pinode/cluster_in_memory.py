"""A `Cluster` of one replica in memory: what is executed is agreed at once, unless nobody leads."""

import asyncio
from collections.abc import Sequence
from typing import Any

from pinode.apps.observed import DynoReport, NodeView
from pinode.cluster_state import AgreedCommand, ClusterState
from pinode.errors import NoLeader
from pinode.settings import Settings
from replicated_queue.sessions import SingleShot
from tests.pinode.observed_world import ObservedWorld


class ClusterInMemory:
    """The parts of `pinode.cluster.Cluster` that scheduler and build requests use."""

    def __init__(self, world: ObservedWorld) -> None:
        self.world = world
        self.settings = Settings()
        self.is_leader = True
        self.term = 1
        self.revision = 0
        self.executed: list[Any] = []
        self.waits: list[float] = []
        self.refusing: Exception | None = None
        self._changed = asyncio.Event()

    @property
    def state(self) -> ClusterState:
        return self.world.agreed.state

    @property
    def now_ms(self) -> int:
        return self.world.agreed.now

    def nodes(self) -> Sequence[NodeView]:
        return list(self.world.nodes.values())

    def node(self, node_id: str) -> NodeView | None:
        return self.world.nodes.get(node_id)

    def reports(self) -> Sequence[DynoReport]:
        return list(self.world.reports.values())

    async def execute(
        self,
        command: AgreedCommand,
        *,
        once: SingleShot | None = None,
        timeout_seconds: float = 10.0,
    ) -> Any:
        self.executed.append(command)
        if self.refusing is not None:
            raise self.refusing
        if not self.is_leader:
            raise NoLeader("nobody leads.")
        result = self.world.agreed.do(command)
        self.note_change()
        return result

    def note_change(self) -> None:
        self.revision += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self, since: int, *, timeout_seconds: float = 30.0) -> int:
        self.waits.append(timeout_seconds)
        if self.revision <= since:
            await self._changed.wait()
        return self.revision

    def seal(self, value: str) -> bytes:
        return b"sealed:" + value.encode()[::-1]

    def reveal(self, sealed: bytes) -> str:
        return sealed.removeprefix(b"sealed:").decode()[::-1]
