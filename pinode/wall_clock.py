"""The time of day, and whether it can be believed: a Pi has no battery clock and may wake up in last week."""

import ctypes
import time
from collections.abc import Callable

CLOCK_IS_UNSYNCHRONISED = 5  # TIME_ERROR of adjtimex(2)
TIMEX_BYTES = 1_024  # more than `struct timex` has anywhere; all zeroes ask and change nothing

WallClock = Callable[[], float | None]


def synchronised_time() -> float | None:
    """Unix seconds, or None while the kernel does not call its clock synchronised."""
    return time.time() if is_synchronised() else None


def trusted_time() -> float | None:
    """Unix seconds, whatever the kernel says: for machines whose clock is kept by another one."""
    return time.time()


def is_synchronised() -> bool:
    """Whether somebody (systemd-timesyncd, chrony, ntpd) keeps the clock, as the kernel knows it."""
    buffer = ctypes.create_string_buffer(TIMEX_BYTES)
    state = int(ctypes.CDLL(None).adjtimex(buffer))
    return 0 <= state < CLOCK_IS_UNSYNCHRONISED
