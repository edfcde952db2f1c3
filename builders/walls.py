"""Walls within the walls: an app's own code runs in the build, but not where all of the build can be seen.

What only tools of ours write (packages and objects that all apps of this machine share, and the build's
result) is out of its reach. Its processes have a name space of their own, so that they cannot reach ours.
"""

from collections.abc import Sequence

HIDDEN_BYTES = 4_096


def walled(argv: Sequence[str], *, bwrap: str, hidden: Sequence[str]) -> list[str]:
    """The command as bubblewrap runs it with the folders `hidden` empty and closed; without a `bwrap`, as it
    is.
    """
    if not bwrap:
        return list(argv)
    words = [bwrap, "--dev-bind", "/", "/", "--proc", "/proc"]
    for path in hidden:
        words += ["--size", str(HIDDEN_BYTES), "--tmpfs", path, "--remount-ro", path]
    words += ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--die-with-parent"]
    return [*words, "--", *argv]
