"""The shell of the autopilot: while this replica leads, it looks at the group each second and mends it."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from .errors import Busy, NotLeader, OutcomeUnknown
from .interfaces import PeerId
from .raft.autopilot import AutopilotRules, AutopilotWatch, next_change
from .raft.membership import Change, ChangeRefused, Membership
from .raft.progress import Follower

logger = logging.getLogger(__name__)

ROUND_SECONDS: Final = 1.0
CHANGE_SECONDS: Final = 5.0  # until a change must be applied; then look again
Registered = Callable[[], Mapping[PeerId, bool]]  # who should belong, and whether each is alive


class Group(Protocol):
    """What the autopilot needs of its replica (see `service.ReplicaService`)."""

    @property
    def peer_id(self) -> PeerId: ...

    @property
    def is_leading(self) -> bool: ...

    @property
    def term(self) -> int: ...

    @property
    def last_index(self) -> int: ...

    @property
    def membership(self) -> Membership: ...

    def on_leadership(self, callback: Callable[[bool, int], None]) -> None: ...

    def followers(self) -> Sequence[Follower]: ...

    async def change_membership(self, change: Change) -> None: ...

    async def transfer_leadership(self, to: PeerId | None = None) -> None: ...


class Autopilot:
    """One a replica. `registered` is asked only while it leads, with all applied that was agreed before."""

    def __init__(
        self,
        replica: Group,
        registered: Registered,
        *,
        rules: AutopilotRules = AutopilotRules(),  # noqa: B008 (frozen)
        clock: Callable[[], float] = time.monotonic,
        round_seconds: float = ROUND_SECONDS,
    ) -> None:
        self._replica = replica
        self._registered = registered
        self._rules = rules
        self._clock = clock
        self._round_seconds = round_seconds
        self._watch: AutopilotWatch | None = None
        self._watched_term = 0
        self._led = asyncio.Event()  # or perhaps: it is looked whether it still leads
        self._led.set()
        replica.on_leadership(lambda *_: self._led.set())

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._led.wait()
            await asyncio.sleep(self._round_seconds)
            if self._replica.is_leading:
                await self.look()
            else:
                self._led.clear()

    async def look(self) -> None:
        """Do whatever is to be done now, one change after the other."""
        while self._replica.is_leading:
            change = self._next_change()
            if change is None or not await self._do(change):
                return

    def _next_change(self) -> Change | None:
        replica, now = self._replica, self._clock()
        if self._watch is None or self._watched_term != replica.term:
            self._watch, self._watched_term = AutopilotWatch(self._rules, now=now), replica.term
        view = self._watch.look(
            me=replica.peer_id,
            membership=replica.membership,
            registered=self._registered(),
            followers=replica.followers(),
            last_index=replica.last_index,
            now=now,
        )
        return next_change(view, self._rules)

    async def _do(self, change: Change) -> bool:
        """Whether it is done, and this replica may look for the next."""
        replica = self._replica
        name = change.kind.name.lower().replace("_", " ")
        try:
            async with asyncio.timeout(CHANGE_SECONDS):
                if change.node == replica.peer_id:
                    await replica.transfer_leadership()  # whoever leads then takes us out, without a pause
                    if not replica.is_leading:
                        return False
                await replica.change_membership(change)
        except (NotLeader, Busy, ChangeRefused, OutcomeUnknown, TimeoutError) as error:
            logger.info("autopilot change=%r node=%016x failed reason=%s", name, change.node, error)
            return False
        logger.info("autopilot change=%r node=%016x", name, change.node)
        return True
