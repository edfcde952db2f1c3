"""How a process ended, for people."""

import re
from collections.abc import Sequence

SIGNALS = {6: "SIGABRT", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM", 31: "SIGSYS"}
# "ModuleNotFoundError: No module named 'x'", "Error: Cannot find module 'x'", "panic: x"
EXCEPTION = re.compile(r"(?:[A-Za-z_][\w.]*)?(?:Error|Exception)(?:: .*)?|panic: .*")
FIRST_SIGNAL_STATUS = 128  # what a shell and bubblewrap add to the number of the signal


def ending(exit_code: int | None) -> str:
    """For example "exited with status 1"; None: nobody knows."""
    if exit_code is None:
        return "ended while nobody watched"
    signal = exit_code - FIRST_SIGNAL_STATUS
    if signal == 9:
        return "was killed (SIGKILL; it may have used too much memory)"
    if signal > 0:
        return f"was ended by {SIGNALS.get(signal, f'signal {signal}')}"
    return f"exited with status {exit_code}"


def telling(lines: Sequence[str]) -> str:
    """Of the last lines a process printed the one that says why it ended: an exception, else the very last.

    Servers such as gunicorn go on talking after the app's exception.
    """
    exceptions = [line for line in lines if EXCEPTION.fullmatch(line)]
    return exceptions[-1] if exceptions else lines[-1] if lines else ""
