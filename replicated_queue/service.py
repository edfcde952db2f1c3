"""The shell of one replica: it persists, sends and applies what the core says, and keeps who waits for an answer."""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from .interfaces import StateMachine, Transport
from .settings import ReplicaSettings

AppliedCallback = Callable[[int, bytes, bytes], None]  # index, command, result
LeadershipCallback = Callable[[bool, int], None]  # is_leader, term


class ReplicaService:
    """One replica of the group, running on an event loop. Hand `Transport` frames of peers to `receive`."""

    def __init__(
        self,
        *,
        peer_id: int,
        voters: Sequence[int],
        state_machine: StateMachine,
        directory: Path,
        transport: Transport,
        random: Random,
        settings: ReplicaSettings = ReplicaSettings(),  # noqa: B008 (frozen)
        clock: Callable[[], float] = time.monotonic,
    ) -> None: ...

    async def run(self) -> None:
        """Run until cancelled. Raises `StorageError` when the disk fails or its log is damaged."""
        ...

    def receive(self, peer: int, frame: bytes) -> None:
        """Take one frame that an authenticated peer sent. Malformed ones are counted and dropped."""
        ...

    def peer_unreachable(self, peer: int) -> None:
        """The link to `peer` was reset: if it led, look for a new leader at once."""
        ...

    def propose(self, data: bytes) -> asyncio.Future[bytes]:
        """Propose one command. The future has the state machine's result once it is committed and applied here.

        Raises `NotLeader` or `Busy` at once, with nothing done. The future fails with `OutcomeUnknown` when
        leadership is lost before the command was committed.
        """
        ...

    @property
    def is_leader(self) -> bool: ...

    @property
    def leader_id(self) -> int | None: ...

    @property
    def term(self) -> int: ...

    @property
    def commit_index(self) -> int: ...

    @property
    def applied_index(self) -> int: ...

    @property
    def last_index(self) -> int: ...

    @property
    def has_quorum(self) -> bool: ...

    @property
    def now_ms(self) -> int:
        """Cluster time as far as this replica knows."""
        ...

    @property
    def seconds_since_leader(self) -> float:
        """How long ago a leader was heard; 0 for the leader itself."""
        ...

    def on_applied(self, callback: AppliedCallback) -> None:
        """Call back for each command applied here, in order, on every replica."""

    def on_leadership(self, callback: LeadershipCallback) -> None:
        """Call back with True once this replica leads and has applied its own term's no-op, False when it ends."""

    async def transfer_leadership(self, to: int | None = None) -> None:
        """Hand leadership to `to` or to the most caught-up voter, and wait (bounded) until that happened."""
