"""This node's view of the cluster: the agreed state it has applied, and what it observes of the others.

The one object that web, deploy, dynos, scheduler and operations are given. Reads are local and never wait;
writes go through `execute` to the leader and come back when they are committed and applied here.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol

from pinode.apps.observed import DynoReport, NodeView
from pinode.cluster_state import AgreedCommand, ClusterState
from pinode.settings import Settings
from replicated_queue.broker import Broker
from replicated_queue.sessions import SingleShot


class PeerCalls(Protocol):
    """Questions to one other node (or to this one: answered without a connection)."""

    async def call(self, node_id: str, method: str, payload: bytes, *, timeout_seconds: float) -> bytes:
        """Raises `PeerUnreachable`, `PeerRefused` or `TimeoutError`."""
        ...

    def stream(
        self, node_id: str, method: str, payload: bytes, *, timeout_seconds: float
    ) -> AsyncIterator[bytes]:
        """Bulk: slug chunks, log lines. `timeout_seconds` bounds each wait for the next chunk."""
        ...

    def serve(self, method: str, handler: Callable[[str, bytes], Awaitable[bytes]]) -> None:
        """Answer `method` when another node asks: handler(node id of the caller, payload)."""
        ...

    def serve_stream(self, method: str, handler: Callable[[str, bytes], AsyncIterator[bytes]]) -> None:
        """Answer `method` with a stream of chunks."""
        ...


class Cluster(Protocol):
    """See the module's docstring. The real one is made in `node.py`."""

    @property
    def settings(self) -> Settings: ...
    @property
    def node_id(self) -> str: ...
    @property
    def node_name(self) -> str: ...
    @property
    def cluster_name(self) -> str: ...
    @property
    def cluster_id(self) -> str: ...

    @property
    def peer_authority_hash(self) -> bytes:
        """SHA-256 of the public key of the peers' authority: what a joiner knows this cluster by."""
        ...

    @property
    def state(self) -> ClusterState:
        """Agreed and applied here: `.queue`, `.registry`, `.people`, `.nodes`.

        Read only; stale at a minority.
        """
        ...

    @property
    def queue(self) -> Broker:
        """put, reserve, extend, ack, ... for this process; see `replicated_queue.broker`."""
        ...

    @property
    def peers(self) -> PeerCalls: ...

    async def execute(
        self,
        command: AgreedCommand,
        *,
        once: SingleShot | None = None,
        timeout_seconds: float = 10.0,
    ) -> Any:
        """Have the command agreed, once, and return its result when it is applied on this node too.

        With `once` it is agreed once for all who ask for it under that key; see `Broker.submit`.
        Raises the typed refusal (`AppExists`, `LeaseLost`, ...), `NoQuorum` when no leader answers in time,
        and `TimedOut` when it is done but not applied here by then.
        """
        ...

    async def changed(self, since: int, *, timeout_seconds: float = 30.0) -> int:
        """Wait until anything agreed or observed changed after revision `since`, or the time is up."""
        ...

    @property
    def revision(self) -> int:
        """Counts changes of what is agreed or observed, on this node, since its start."""
        ...

    @property
    def is_leader(self) -> bool: ...
    @property
    def leader_id(self) -> str | None: ...
    @property
    def term(self) -> int: ...
    @property
    def commit_index(self) -> int: ...
    @property
    def has_quorum(self) -> bool: ...
    @property
    def view_age_seconds(self) -> float:
        """Seconds since this node last was in contact with a leader; 0 on a leader with quorum."""
        ...

    @property
    def now_ms(self) -> int:
        """Cluster time."""
        ...

    def nodes(self) -> Sequence[NodeView]:
        """All registered nodes, by name; the dead ones too."""
        ...

    def node(self, node_id: str) -> NodeView | None: ...

    def reports(self) -> Sequence[DynoReport]:
        """Newest dyno rows of all nodes; those of dead nodes as last heard."""
        ...

    def reveal(self, sealed: bytes) -> str:
        """Open a config value or a credential sealed under the data key."""
        ...

    def seal(self, value: str) -> bytes:
        """Seal a config value or a credential under the data key."""
        ...
