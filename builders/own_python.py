"""An interpreter that the slug brings along, for apps that no installed Python satisfies.

uv fetches it once for all apps of the machine. Its copy in the slug makes the slug run on every node of the
same CPU, whatever is installed there.
"""

import asyncio
import os
import re
import shutil
from pathlib import Path

from packaging.version import Version

from builders.builder import SYSTEM_PATH, BuildContext
from builders.interpreters import Wish, lowest_wanted
from builders.python_environment import OWN_PYTHON
from builders.request import Interpreter

FOLDER = re.compile(r"cpython-(?P<version>3\.\d+\.\d+)-linux-[a-z0-9_]+-[a-z]+")
NOT_NEEDED = ("include", "share", "lib/python*/test", "lib/python*/idlelib", "lib/python*/turtledemo",
              "lib/python*/tkinter", "lib/python*/config-*", "lib/*.a", "lib/tcl*", "lib/tk*", "lib/itcl*",
              "lib/python*/**/__pycache__", "lib/python*/ensurepip/_bundled/pip*")  # fmt: skip


async def fetch_own_python(context: BuildContext, wish: Wish | None) -> Interpreter | None:
    """The lowest that satisfies the app, in its folder; None where that is not allowed or none can be had."""
    request, wanted = context.request, lowest_wanted(wish)
    if not request.python_downloads or not request.bwrap or wanted is None:
        return None  # without walls there is no /app, where it would have to be at run time
    folder = Path(request.cache) / "python"
    found = _fitting(folder, wish)
    if found is None:
        context.log.step(f"Fetching Python {wanted}: none that is installed here satisfies the app")
        words = [request.uv, "python", "install", "--no-bin", "--install-dir", str(folder), wanted]
        if not await context.attempt(f"fetching Python {wanted}", words, _env(context)):
            return None
        found = _fitting(folder, wish)
    if found is None:
        return None
    target = context.app / OWN_PYTHON
    await asyncio.to_thread(_copy, found, target)
    version = _version(found)
    minor = ".".join(version.split(".")[:2])
    return Interpreter(path=str(target / "bin" / f"python{minor}"), version=version, root=str(target))


def _fitting(folder: Path, wish: Wish | None) -> Path | None:
    there = [
        path for path in folder.glob("cpython-*") if FOLDER.fullmatch(path.name) and not path.is_symlink()
    ]
    fitting = [path for path in there if wish is None or wish.allows(_version(path))]
    return min(fitting, key=lambda path: Version(_version(path)), default=None)


def _version(path: Path) -> str:
    match = FOLDER.fullmatch(path.name)
    assert match is not None, path
    return match["version"]


def _copy(found: Path, target: Path) -> None:
    os.utime(found)  # it was used now
    shutil.copytree(found, target, symlinks=True)
    for path in [path for pattern in NOT_NEEDED for path in target.glob(pattern)]:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _env(context: BuildContext) -> dict[str, str]:
    work = context.request.work
    return {
        **os.environ,
        "PATH": SYSTEM_PATH,
        "HOME": f"{work}/home",
        "TMPDIR": f"{work}/tmp",
        "UV_CACHE_DIR": f"{context.request.cache}/uv",
        "UV_PYTHON_DOWNLOADS": "manual",
        "UV_HTTP_RETRIES": "1",
        "UV_NO_PROGRESS": "1",
        "NO_COLOR": "1",
    }
