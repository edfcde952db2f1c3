"""Waiting for a state of real processes: never a sleep that hopes, always a condition with a deadline."""

import asyncio
import http.client
import inspect
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pinode.cli.invocation import Failure

T = TypeVar("T")
POLL_SECONDS = 0.02


async def eventually(
    condition: Callable[[], T | Awaitable[T]], *, within_seconds: float = 5, saying: str = ""
) -> T:
    """Return the first true answer of `condition`; fail when none came in time.

    An exception of `condition` counts as "not yet"; the last one is the cause of the failure.
    """
    deadline = time.monotonic() + within_seconds
    tick = asyncio.Event()
    last: BaseException | None = None
    answer: object = None
    while True:
        try:
            found = condition()
            answer = await found if inspect.isawaitable(found) else found
            if answer:
                return answer  # type: ignore[return-value]
            last = None
        except (OSError, AssertionError, LookupError, ValueError, RuntimeError) as error:
            last = error
        if time.monotonic() >= deadline:
            raise AssertionError(
                f"not within {within_seconds} s: {saying or getattr(condition, '__name__', condition)} "
                f"(last answer {answer!r}, last error {last!r})"
            ) from last
        try:
            await asyncio.wait_for(tick.wait(), POLL_SECONDS)
        except TimeoutError:
            pass


def until(
    condition: Callable[[], T], *, within_seconds: float, saying: str, describe: Callable[[], str] = str
) -> T:
    """Like `eventually`, for tests of whole processes that have no event loop; `describe` adds what is known."""
    deadline = time.monotonic() + within_seconds
    pause = threading.Event()
    reason: object = None
    while True:
        try:
            answer = condition()
            if answer:
                return answer
            reason = answer
        except (Failure, OSError, LookupError, http.client.HTTPException, subprocess.TimeoutExpired) as error:
            reason = error
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {within_seconds} s: {saying} ({reason!r})\n{describe()}")
        pause.wait(POLL_SECONDS)
