"""What broker, courier and desk need of the replica they stand on."""

from collections.abc import Callable, Sequence
from typing import Protocol

from replicated_queue.errors import QueueError
from replicated_queue.sessions import Answer, Bundle


class ReplicatedLog(Protocol):
    """What the queue needs of its replica (see `service.ReplicaService`)."""

    @property
    def is_leader(self) -> bool: ...

    @property
    def leader_id(self) -> int | None: ...

    @property
    def applied_index(self) -> int: ...

    @property
    def has_quorum(self) -> bool: ...

    @property
    def now_ms(self) -> int: ...

    def propose(
        self,
        data: bytes,
        done: Callable[[Sequence[Answer] | QueueError], None],
        *,
        part: Bundle | None = None,
        is_alone: bool = False,
    ) -> None: ...

    def confirm(self, done: Callable[[int | QueueError], None]) -> None:
        """Make certain that this node leads now, after the call; `done` hears an index, or `NotLeader`."""
        ...

    def on_leadership(self, callback: Callable[[bool, int], None]) -> None: ...

    def on_leader(self, callback: Callable[[], None]) -> None: ...

    def on_applied(self, callback: Callable[[int], None]) -> None: ...
