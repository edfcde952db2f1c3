"""How a process ended, for people."""

SIGNALS = {6: "SIGABRT", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM", 31: "SIGSYS"}
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
