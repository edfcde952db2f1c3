"""What every test may rely on, however the tests were started."""

import os
import signal

from hypothesis import HealthCheck, settings


def pytest_configure() -> None:
    """Make files as the node does, for itself alone, so that what others must read is seen to be given them.

    And let Ctrl-C reach what tests start: a shell's background job ignores it, and its children inherit that.
    """
    os.umask(0o077)
    # No example fails for being slow on a busy machine, and each run tries the same ones.
    settings.register_profile(
        "pinode", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("pinode")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
