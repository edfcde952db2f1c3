"""When a replica has its next turn: soon, with all that comes in until then, or when the algorithm is due."""

import asyncio
from collections.abc import Callable


class Turns:
    """One callback in the loop and one timer, however much happens."""

    def __init__(self, turn: Callable[[], None]) -> None:
        self._turn = turn
        self._loop: asyncio.AbstractEventLoop | None = None  # until `start`
        self._is_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def start(self) -> None:
        """From now on turns are taken, on the running event loop."""
        self._loop = asyncio.get_running_loop()

    def stop(self) -> None:
        """No timer fires any more."""
        if self._timer is not None:
            self._timer.cancel()

    def soon(self) -> None:
        """Take one turn soon, with everything that arrives until then."""
        if not self._is_due and self._loop is not None:
            self._is_due = True
            self._loop.call_soon(self._take)

    def now(self) -> None:
        """Take one at once, unless one is due soon: for heartbeats, which come alone.

        To answer them is most of an idle node's work, and each turn of the loop costs.
        """
        if not self._is_due and self._loop is not None:
            self._turn()

    def by(self, deadline: float, *, now: float) -> None:
        """Take one at the latest at `deadline`, of the clock that shows `now`; earlier costs an idle turn."""
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        assert self._loop is not None
        self._timer_at = deadline
        self._timer = self._loop.call_later(max(0.0, deadline - now), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._turn()

    def _take(self) -> None:
        self._is_due = False
        self._turn()
