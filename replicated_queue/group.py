"""Who belongs to the group, as a program hears of it, and as a leader changes it."""

import asyncio
import logging
from collections.abc import Callable

from .errors import OutcomeUnknown
from .raft.membership import Change, Membership
from .replica import Replica

logger = logging.getLogger(__name__)

MembershipCallback = Callable[[Membership], None]


class Group:
    """What was told so far of who belongs, and who waits for a change of it."""

    def __init__(self, founders: Membership) -> None:
        self.founders = founders
        self.callbacks: list[MembershipCallback] = []
        self._told = founders
        self._waiting: dict[tuple[int, int], asyncio.Future[None]] = {}  # term and index of the change

    async def change(self, replica: Replica, change: Change, *, wake: Callable[[], None]) -> None:
        """Have the leader's log say so, and wait until it is applied here.

        Raises `NotLeader`, `Busy`, `ChangeRefused`, and `OutcomeUnknown` when leadership is lost before.
        """
        index = replica.raft.propose_change([change])
        applied: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[replica.raft.term, index] = applied
        wake()
        await applied

    def announce(self, replica: Replica) -> None:
        """Tell what is different since the last call."""
        if self._waiting:
            self._answer(replica)
        membership = replica.raft.membership
        if membership != self._told:
            self._told = membership
            voters, learners = membership.voters.ids, membership.learners
            logger.info("membership changed voters=%s learners=%s", _shown(voters), _shown(learners))
            for callback in self.callbacks:
                callback(membership)

    def close(self) -> None:
        """The replica stops."""
        for applied in self._waiting.values():
            if not applied.done():
                applied.set_exception(OutcomeUnknown("the change of membership"))
        self._waiting = {}

    def _answer(self, replica: Replica) -> None:
        raft = replica.raft
        for (term, index), applied in list(self._waiting.items()):
            is_applied = replica.applied_index >= index
            if not is_applied and (raft.term, raft.replication is None) == (term, False):
                continue
            del self._waiting[term, index]
            if applied.done():
                continue
            if is_applied and raft.log.term_at(index) == term:
                applied.set_result(None)
            else:
                applied.set_exception(OutcomeUnknown("the change of membership"))


def _shown(ids: tuple[int, ...]) -> str:
    return ",".join(f"{peer:016x}" for peer in ids) or "-"
