"""Whether this replica's state is the leader's: compared where both have applied the same, in quiet moments.

In a quiet moment the leader hashes its state, in short steps between other work, and its heartbeats tell the
result for that place of the log. A follower that has applied exactly as much hashes its own. Nothing of this
is done while commands come in, nothing is written, and no message is sent for it.
"""

import asyncio
import logging
from collections.abc import Callable, Generator
from typing import Final

from .codec import Checkpoint, Frame
from .interfaces import KIND_BYTES, PeerId, StateMachine
from .replica import Replica
from .settings import ReplicaSettings

logger = logging.getLogger(__name__)

REST: Final = 100  # times as long as a check took until the next one
SHORTEST_REST_SECONDS: Final = 10.0
DIFFERS: Final = (
    "what it knew was not what the leader knew at entry {}, and is replaced by it. If that happens again, "
    "its memory or its power supply is bad, or pinode has a bug: keep its log and report it."
)


class StateCheck:
    """One a replica. `look` is called in turns that apply nothing; heartbeats bear what it returns."""

    def __init__(
        self, state_machine: StateMachine, settings: ReplicaSettings, *, replace: Callable[[PeerId], None]
    ) -> None:
        """`replace`: fetch the whole state from the leader, for ours is another."""
        self._state_machine = state_machine
        self._quiet_seconds = settings.quiet_seconds
        self._replace = replace
        self.differs_at = 0  # index at which the state was another than the leader's; 0: it was not
        self._task: asyncio.Task[None] | None = None
        self._index = 0  # how much was applied at the last look
        self._since = 0.0  # when that was so for the first time
        self._not_before = 0.0
        self._heard: Checkpoint | None = None  # the leader's newest word, not compared yet
        self._told: Checkpoint | None = None  # as leader, of the state as it is

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should hear."""
        return (DIFFERS.format(self.differs_at),) if self.differs_at else ()

    def heard(self, frame: Frame, replica: Replica) -> None:
        """A frame came in, perhaps the leader's word of what its state is."""
        if frame.checkpoint is not None and frame.message.sender == replica.raft.leader:
            self._heard = frame.checkpoint

    def look(self, replica: Replica, now: float) -> Checkpoint | None:
        """Begin a check if this is the moment for one. As leader, what the state is known to be."""
        index = replica.applied_index
        if index != self._index:
            self._index, self._since, self._told = index, now, None
        if now < self._not_before or now - self._since < self._quiet_seconds or self._task is not None:
            return self._told
        if replica.is_leading:
            if self._told is None:
                self._begin(replica, None, now)
        elif self._heard is not None and self._heard.index == index:
            expected, self._heard = self._heard, None
            self._begin(replica, expected, now)
        return self._told

    def stop(self) -> None:
        """No check goes on."""
        if self._task is not None:
            self._task.cancel()

    def _begin(self, replica: Replica, expected: Checkpoint | None, now: float) -> None:
        loop = asyncio.get_running_loop()
        self._not_before = now + SHORTEST_REST_SECONDS
        self._task = loop.create_task(self._check(replica, expected, now), name="state check")
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled():
            task.result()

    async def _check(self, replica: Replica, expected: Checkpoint | None, now: float) -> None:
        index, loop = replica.applied_index, asyncio.get_running_loop()
        began, working = loop.time(), 0.0
        steps = self._state_machine.digest_steps()
        while True:
            before = loop.time()
            digest = next_of(steps)
            working += loop.time() - before
            if digest is not None:
                break
            await asyncio.sleep(0)
            if replica.applied_index != index:
                return  # no moment for it after all
        self._not_before = now + loop.time() - began + max(SHORTEST_REST_SECONDS, REST * working)
        if expected is None:
            self._told = Checkpoint(index, digest)
        elif expected.digest[:KIND_BYTES] == digest[:KIND_BYTES] and expected.digest != digest:
            self.differs_at = index
            logger.error("state differs from the leader's index=%d leader=%016x", index, replica.raft.leader)
            self._replace(replica.raft.leader)


def next_of(steps: Generator[None, None, bytes]) -> bytes | None:
    """Take one step; the digest if it was the last."""
    try:
        next(steps)
    except StopIteration as end:
        digest: bytes = end.value
        return digest
    return None
