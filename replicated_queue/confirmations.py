"""Who waits until it is certain that this replica leads, and has applied what was agreed when they asked.

The algorithm's part is `raft/reads.py`: a round of heartbeats, no entry, no lease (thesis §6.4). One round at
a time serves all who came before it began.
"""

import asyncio
from collections.abc import Callable, Sequence

from .errors import NotLeader, QueueError
from .raft.messages import ReadState
from .replica import Replica

Confirmed = Callable[
    [int | QueueError], None
]  # called once: with an index, applied here, or with `NotLeader`


class Confirmations:
    """Of one replica, over all its leaderships."""

    def __init__(self) -> None:
        self._new: list[Confirmed] = []  # no round began since they asked
        self._asked: list[Confirmed] = []  # wait for the answers to the round
        self._confirmed: list[tuple[int, list[Confirmed]]] = []  # wait for their index to be applied
        self._round = 0
        self._term = 0  # of that round

    def add(self, done: Confirmed) -> None:
        """Let `done` hear that this replica leads now, or that it does not."""
        self._new.append(done)

    @property
    def wants_round(self) -> bool:
        """Whether `ask` would begin one."""
        return bool(self._new) and not self._asked

    def ask(self, replica: Replica) -> None:
        """Begin a round if somebody waits for one and none is under way."""
        raft = replica.raft
        if self._asked and (raft.replication is None or raft.term != self._term):
            self._new, self._asked = self._asked + self._new, []  # lost with that leadership
        if not self._new or self._asked:
            return
        if raft.replication is None:
            self.give_up(raft.leader or None)
            return
        self._new, self._asked = [], self._new
        self._round, self._term = self._round + 1, raft.term
        raft.read(self._round)

    def heard(self, reads: Sequence[ReadState]) -> None:
        """The round was confirmed by a majority."""
        for read in reads:
            if read.read == self._round and self._asked:
                self._confirmed.append((read.index, self._asked))
                self._asked = []

    def answer(self, applied_index: int) -> None:
        """Answer who waited for what is applied by now."""
        while self._confirmed and self._confirmed[0][0] <= applied_index:
            index, waiting = self._confirmed.pop(0)
            for done in waiting:
                done(index)

    def give_up(self, leader: int | None) -> None:
        """This replica does not lead, so it does not know what is agreed."""
        waiting, self._new, self._asked = self._asked + self._new, [], []
        for done in waiting:
            done(NotLeader(leader))

    def close(self) -> None:
        """The replica stops."""
        for _, waiting in self._confirmed:
            self._new += waiting
        self._confirmed = []
        self.give_up(None)


def settle(confirmed: "asyncio.Future[int]", outcome: int | QueueError) -> None:
    """Let whoever awaits it have the outcome."""
    if confirmed.done():
        return  # nobody does any more
    if isinstance(outcome, QueueError):
        confirmed.set_exception(outcome)
    else:
        confirmed.set_result(outcome)
