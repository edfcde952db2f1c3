"""What every test may rely on, however the tests were started."""

import signal


def pytest_configure() -> None:
    """Let Ctrl-C reach what tests start: a shell's background job ignores it, and its children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
