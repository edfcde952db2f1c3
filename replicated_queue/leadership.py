"""Telling others who leads: this replica, from the no-op applied to the end of it, or somebody else."""

import asyncio
import logging
from collections.abc import Callable

from .errors import NotLeader
from .raft.messages import Role
from .replica import Replica

logger = logging.getLogger(__name__)

LeadershipCallback = Callable[[bool, int], None]  # is_leader, term


class Leadership:
    """What was told so far, and to whom."""

    def __init__(self) -> None:
        self.callbacks: list[LeadershipCallback] = []
        self.leader_callbacks: list[Callable[[], None]] = []
        self._announced_term = 0  # the term in which we said to lead; 0: we did not
        self._told_leader = 0
        self._handed_over: list[asyncio.Future[None]] = []

    def hand_over(self, replica: Replica, to: int | None) -> "asyncio.Future[None]":
        """Begin to hand over to `to` or the best voter; done as soon as this replica leads no more.

        Done at once if there is no other voter. Raises `NotLeader`.
        """
        replication = replica.raft.replication
        if replication is None:
            raise NotLeader(replica.raft.leader or None)
        handed_over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        successor = to or replication.best_successor()
        if successor:
            replica.raft.transfer_leadership(successor)
            self._handed_over.append(handed_over)
        else:
            handed_over.set_result(None)
        return handed_over

    def announce(self, replica: Replica) -> None:
        """Tell what is different since the last call."""
        raft = replica.raft
        term = raft.term if replica.is_leading else 0
        if self._announced_term and self._announced_term != term:
            self.end()
        if term and not self._announced_term:
            self._announced_term = term
            logger.info("leading term=%d last_index=%d", term, raft.log.last_index)
            for callback in self.callbacks:
                callback(True, term)
        if self._told_leader != raft.leader:
            self._told_leader = raft.leader
            for told in self.leader_callbacks:
                told()
        if raft.role is not Role.LEADER:
            for waiter in self._handed_over:
                if not waiter.done():
                    waiter.set_result(None)
            self._handed_over = []

    def end(self) -> None:
        """This replica leads no more, if it did."""
        term, self._announced_term = self._announced_term, 0
        if not term:
            return
        logger.info("no longer leading term=%d", term)
        for callback in self.callbacks:
            callback(False, term)
