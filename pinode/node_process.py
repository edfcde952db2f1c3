"""The process `pinode start`: settings, data directory, signals and exit codes around a `Node`."""

import asyncio
import logging
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from pinode import event_loop
from pinode.card.card import Card
from pinode.card.lock import lock_data_dir
from pinode.card.old_state import OldState, Reason
from pinode.errors import PinodeError
from pinode.local_door import LocalDoor, local_door
from pinode.memory import keep_small, settle
from pinode.node import Node
from pinode.peers.joining import Joining
from pinode.settings import Settings, load_settings
from pinode.wall_clock import WallClock, synchronised_time, trusted_time
from replicated_queue.errors import QueueError
from replicated_queue.raft.log import LogSetBack
from replicated_queue.storage.errors import CorruptLog

logger = logging.getLogger(__name__)

CONTROLS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
REASONS = (PinodeError, QueueError, LogSetBack)  # for which a node ends, and its words are the whole story
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
    *,
    is_moved_on_purpose: bool = False,
    wall_clock: WallClock | None = None,
) -> int:
    """Run this machine's node until it is told to stop; the exit code. Raises `PinodeError`.

    `is_moved_on_purpose`: its card may be in another machine than before. `wall_clock`: by which cron goes,
    else this machine's.
    """
    settings = load_settings(config, environ, overrides)
    output = logging.StreamHandler(sys.stderr)
    output.setFormatter(OneLine(LOG_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[output])
    for noisy in ("aiohttp.access", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    os.umask(0o077)
    keep_small()
    settings.node.data_dir.mkdir(parents=True, exist_ok=True)
    door = local_door(settings.node.data_dir, environ)
    lock = lock_data_dir(settings.node.data_dir)
    try:
        card = Card(settings.node.data_dir)
        card.check(is_moved_on_purpose=is_moved_on_purpose)
        while True:
            try:
                if event_loop.run(_run(settings, joining, wall_clock, door)):
                    card.leave_behind(settings.cluster.key_file)
                return 0
            except OldState as old:
                card.begin_anew(old)
    finally:
        os.close(lock)


async def _run(settings: Settings, joining: Joining, wall_clock: WallClock | None, door: LocalDoor) -> bool:
    """Whether this node has left its cluster."""
    own_clock = trusted_time if settings.node.trust_clock else synchronised_time
    node = Node(settings, joining, wall_clock or own_clock, door)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, node.request_end)
    settle()
    try:
        await node.run()
    except (*REASONS, BaseExceptionGroup) as error:
        # Not `except*`: before Python 3.11.4 what is raised in one arrives as a group.
        reason = _reason(error)
        if reason is None or reason is error:
            raise
        raise reason from error
    return node.has_left


def _reason(error: BaseException) -> Exception | None:
    """What to show: parts fail together, the first reason is the one that counts. None: it is a bug."""
    if isinstance(error, BaseExceptionGroup) and error.split(REASONS)[1] is not None:
        return None
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, PinodeError):
        return error
    if isinstance(error, CorruptLog):
        return OldState(Reason.DAMAGED_LOG, error.reason)
    if isinstance(error, LogSetBack):
        return OldState(Reason.SET_BACK, str(error))
    return PinodeError(str(error), hint="the log above says what the node was doing")
