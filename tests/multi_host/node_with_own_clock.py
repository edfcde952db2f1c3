"""`pinode start` with a wall clock that a test sets: Unix seconds ahead of this machine's, in a file.

python -m tests.multi_host.node_with_own_clock CONFIG FILE
"""

import os
import sys
import time
from pathlib import Path

from pinode.node_process import run_node


def main(config: str, file: str) -> int:
    """Run the node. Without the file, the clock is not to be believed."""

    def wall_clock() -> float | None:
        try:
            return time.time() + float(Path(file).read_text())
        except (OSError, ValueError):
            return None

    return run_node(Path(config), os.environ, {}, wall_clock=wall_clock)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
