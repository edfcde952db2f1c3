"""Removing what strangers' code has left behind."""

import contextlib
import os
import shutil
import stat
from pathlib import Path


def remove_folder(folder: Path) -> None:
    """Remove what a build or a dyno has left, also where it took away its own right to do so; blocking."""

    def open_up(_function: object, failed: str, _error: object) -> None:
        with contextlib.suppress(OSError):
            os.chmod(os.path.dirname(failed), stat.S_IRWXU)
            if not os.path.islink(failed):
                os.chmod(failed, stat.S_IRWXU)

    if folder.exists():
        shutil.rmtree(folder, onerror=open_up)
    shutil.rmtree(folder, ignore_errors=True)
