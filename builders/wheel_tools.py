"""Toolchains that are published as wheels: where a language is not installed, uv fetches it once for all apps
of the machine, from the same index as their packages.
"""

import asyncio
import errno
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from builders.builder import SYSTEM_PATH, BuildContext


async def fetch_tool(
    context: BuildContext, requirement: str, *, folder: str, force: bool = False
) -> Path | None:
    """The folder in the shared cache in which the wheel's files are; None where it cannot be had.

    `force`: what is there already does not do.
    """
    request = context.request
    target = Path(request.cache) / "tools" / folder
    if target.is_dir() and not force:
        os.utime(target)  # it was used now
        return target
    python = next((item.path for item in request.interpreters), None)
    if python is None:
        return None
    context.log.step(f"Fetching {requirement}: it is not installed here")
    # Beside its place first: another build may be fetching it too, or using what is there.
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{folder}-", dir=target.parent))
    words = [request.uv, "pip", "install", "--no-build", "--no-deps", "--python", python]
    words += ["--target", str(fresh), requirement]
    try:
        if not await context.attempt(f"fetching {requirement}", words, tool_env(context)):
            return None
        await asyncio.to_thread(_put_in_place, fresh, target)
    finally:
        await asyncio.to_thread(shutil.rmtree, fresh, ignore_errors=True)
    return target


def _put_in_place(fresh: Path, target: Path) -> None:
    fresh.chmod(0o755)
    while True:
        try:
            fresh.rename(target)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        outdated = Path(tempfile.mkdtemp(dir=target.parent))
        target.rename(outdated / "old")
        shutil.rmtree(outdated, ignore_errors=True)


def tool_env(context: BuildContext, *, own: bool = False) -> Mapping[str, str]:
    """What tools see; with `own` the app's config vars and cache too, for where its own code runs."""
    request = context.request
    config = request.config_vars if own else {}
    kept = {name: value for name, value in config.items() if name not in ("PATH", "HOME", "TMPDIR", "PORT")}
    return {
        **os.environ,
        **kept,
        "PATH": f"{context.app}/bin:{SYSTEM_PATH}" if own else SYSTEM_PATH,
        "HOME": f"{request.work}/home",
        "TMPDIR": f"{request.work}/tmp",
        "UV_CACHE_DIR": f"{request.own_cache if own else request.cache}/uv",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_LINK_MODE": "copy",
        "UV_NO_PROGRESS": "1",
        "NO_COLOR": "1",
        "LANG": "C.UTF-8",
    }
