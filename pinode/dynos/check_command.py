"""A health check that is a command: run beside the dyno, with its files, environment and walls, and ended."""

import asyncio
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pinode.apps.checks import one_line
from pinode.apps.health_check import HealthCheck
from pinode.dynos.endings import ending
from pinode.dynos.health import Health
from pinode.dynos.process import DynoProcess, end_leftovers
from pinode.sandbox.sandbox import Isolation
from pinode.sandbox.spec import SandboxSpec

STATUS_NAME = "check-status"
OUTPUT_BYTES = 1024 * 1024  # and so of every file that a check writes
SHOWN_BYTES = 300

SpecMaker = Callable[[int], SandboxSpec]  # from where bubblewrap is to tell how it went


async def ask_command(check: HealthCheck, make_spec: SpecMaker, isolation: Isolation, folder: Path) -> Health:
    """Run it in `folder`'s dyno; it must end with status 0 within the check's timeout. Raises `OSError` and
    `SandboxError`.
    """
    status = folder / STATUS_NAME
    shown = " ".join(check.command)[:80]
    with tempfile.TemporaryFile() as output:
        process = await asyncio.to_thread(_start, check, make_spec, isolation, status, output.fileno())
        ended = asyncio.Event()
        process.watch(ended.set)
        try:
            async with asyncio.timeout(check.timeout_seconds):
                await ended.wait()
        except TimeoutError:
            reason = f"`{shown}` did not end within {check.timeout_seconds} s"
            return Health(False, reason, is_wrong_answer=True)
        finally:
            if not ended.is_set():
                process.kill()
            process.close()
            end_leftovers(status)
        code = process.exit_code()
        if code == 0:
            return Health(True)
        output.seek(-min(SHOWN_BYTES, output.seek(0, os.SEEK_END)), os.SEEK_END)
        said = one_line(output.read().decode(errors="replace"))
    return Health(False, f"`{shown}` {ending(code)}{f': {said}' if said else ''}", is_wrong_answer=True)


def _start(
    check: HealthCheck, make_spec: SpecMaker, isolation: Isolation, status: Path, output: int
) -> DynoProcess:
    status_fd = os.open(status, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        spec = make_spec(status_fd)
        limits = replace(spec.limits, file_bytes=OUTPUT_BYTES)
        spec = replace(spec, command=check.command, die_with_parent=True, limits=limits)
        return DynoProcess.start(spec, isolation, output=output, status=status)
    finally:
        os.close(status_fd)
