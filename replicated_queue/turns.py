"""When a replica has its next turn: soon, with all that comes in until then, or when the algorithm is due."""

import asyncio
from collections.abc import Callable
from typing import Final

EARLY_SECONDS: Final = 0.0005  # so much too early a timer may fire, for clocks of event loops are coarse


class Turns:
    """One callback in the loop and one timer, however much happens."""

    def __init__(self, turn: Callable[[], None]) -> None:
        self._turn = turn
        self._loop: asyncio.AbstractEventLoop | None = None  # until `start`
        self._is_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0  # of the callers' clock
        self._deadline = 0.0  # what was asked for last, of the loop's clock

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
        """Take one by `deadline`, of the clock that shows `now`, and no more by what was said before."""
        assert self._loop is not None
        wait = max(0.0, deadline - now)
        self._deadline = self._loop.time() + wait
        if self._timer is not None:
            left = self._timer_at - now
            # One that fires early waits on: less than to make a new one each turn. With less than half of the
            # wait left it is replaced, so that a follower in touch with its leader is never woken by it.
            if self._timer_at <= deadline and deadline - self._timer_at <= left:
                return
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_later(wait, self._on_timer)

    def _on_timer(self) -> None:
        assert self._loop is not None
        self._timer = None
        left = self._deadline - self._loop.time()
        if left > EARLY_SECONDS:
            self._timer_at += left
            self._timer = self._loop.call_later(left, self._on_timer)
        else:
            self._turn()

    def _take(self) -> None:
        self._is_due = False
        self._turn()
