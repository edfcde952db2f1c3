"""What every test may rely on, however the tests were started."""

import os
import signal


def pytest_configure() -> None:
    """Make files as the node does, for itself alone, so that what others must read is seen to be given them.

    And let Ctrl-C reach what tests start: a shell's background job ignores it, and its children inherit that.
    """
    os.umask(0o077)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
