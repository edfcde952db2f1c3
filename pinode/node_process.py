"""The process `pinode start`: settings, data directory, signals and exit codes around a `Node`."""

import asyncio
import fcntl
import gc
import logging
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from pinode.errors import Conflict, PinodeError
from pinode.memory import give_back, keep_small
from pinode.node import Node
from pinode.peers.joining import Joining
from pinode.settings import Settings, load_settings
from replicated_queue.errors import QueueError

logger = logging.getLogger(__name__)

CONTROLS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s %(message)s"


class OneLine(logging.Formatter):
    """A line of the log stays one line: what strangers wrote (a path, a reason) cannot pass for another."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Escape control characters; a traceback is added after this and keeps its lines."""
        record.message = CONTROLS.sub(lambda found: ascii(found[0])[1:-1], record.message)
        return super().formatMessage(record)


def run_node(
    config: Path | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, object],
    joining: Joining = Joining(),  # noqa: B008 (frozen)
) -> int:
    """Run this machine's node until it is told to stop; the exit code. Raises `PinodeError`."""
    settings = load_settings(config, environ, overrides)
    output = logging.StreamHandler(sys.stderr)
    output.setFormatter(OneLine(LOG_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[output])
    for noisy in ("aiohttp.access", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    os.umask(0o077)
    keep_small()
    settings.node.data_dir.mkdir(parents=True, exist_ok=True)
    lock = _lock(settings.node.data_dir)
    try:
        return asyncio.run(_run(settings, joining))
    finally:
        os.close(lock)


def _lock(data_dir: Path) -> int:
    """Hold the data directory for this process: two nodes on one would vote twice with one voice."""
    handle = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise Conflict(
            f"another pinode runs with the data directory {data_dir}",
            hint="`pinode status` talks to it; give this one its own with --data-dir",
        ) from error
    return handle


async def _run(settings: Settings, joining: Joining) -> int:
    node = Node(settings, joining)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, node.request_end)
    # What is loaded by now lives as long as the process; collecting it again and again would stall the loop.
    gc.collect()
    gc.freeze()
    give_back()
    try:
        await node.run()
    except* (PinodeError, QueueError) as group:
        raise _first(group) from group
    return 0


def _first(group: BaseExceptionGroup[PinodeError | QueueError]) -> Exception:
    """The error to show: parts fail together, the first reason is the one that counts."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, PinodeError):
        return error
    return PinodeError(str(error), hint="the log above says what the node was doing")
