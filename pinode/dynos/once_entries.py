"""The two entries of a command that runs once: it begins, before its process is made; and how it ended."""

import asyncio
import logging
import os
from collections.abc import Callable
from enum import Enum, auto

from pinode.apps.commands import EndCronRun, EndReleaseCommand, StartCronRun, StartReleaseCommand
from pinode.apps.cron_errors import CronRunStarted
from pinode.apps.errors import Refused, ReleaseCommandStarted
from pinode.cluster import Cluster
from pinode.dynos.dyno_record import Launch
from pinode.errors import PinodeError
from replicated_queue.errors import QueueError
from replicated_queue.sessions import SingleShot

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.5

StartCommand = StartReleaseCommand | StartCronRun
EndCommand = EndReleaseCommand | EndCronRun


class Begun(Enum):
    """What came of asking for the start."""

    AGREED = auto()
    BEFORE = auto()  # somebody asked before, an earlier process of this node at the latest
    NOT_WANTED = auto()  # its placement is gone


async def agree_on_start(cluster: Cluster, launch: Launch, *, is_wanted: Callable[[], bool]) -> Begun:
    """Have the start agreed, however long that takes while it is wanted."""
    number = launch.placement.number
    command = StartCronRun(number=number) if launch.is_cron else StartReleaseCommand(number=number)
    try:
        is_agreed = await _agree(cluster, command, is_wanted)
    except (ReleaseCommandStarted, CronRunStarted):
        return Begun.BEFORE
    except Refused as refused:
        logger.info("not begun dyno=%s placement=%d reason=%s", launch.placement.dyno, number, refused)
        return Begun.NOT_WANTED
    return Begun.AGREED if is_agreed else Begun.NOT_WANTED


async def agree_on_end(
    cluster: Cluster,
    launch: Launch,
    *,
    exit_code: int | None,
    failure: str | None,
    last_lines: tuple[str, ...],
    is_wanted: Callable[[], bool],
) -> None:
    """Have the end agreed, however long that takes while it is wanted."""
    number = launch.placement.number
    command: EndCommand = EndReleaseCommand(number=number, failure=failure, last_lines=last_lines)
    if launch.is_cron:
        command = EndCronRun(number=number, exit_code=exit_code, failure=failure)
    try:
        await _agree(cluster, command, is_wanted)
    except Refused as refused:
        dyno = launch.placement.dyno
        logger.info("ended, nobody waits dyno=%s placement=%d reason=%s", dyno, number, refused)


async def _agree(cluster: Cluster, command: StartCommand | EndCommand, is_wanted: Callable[[], bool]) -> bool:
    """Whether it was agreed; the same request however often it is sent. Raises why it was refused."""
    # Of this process alone: what an earlier one was told must not be taken for the answer to this one.
    key = f"{type(command).__name__} {command.number} {os.urandom(8).hex()}".encode()
    while is_wanted():
        try:
            await cluster.execute(command, once=SingleShot(key))
            return True
        except Refused:
            raise
        except (PinodeError, QueueError, TimeoutError, OSError) as error:
            logger.info("waits for a leader command=%r reason=%s", command, error)
            await asyncio.sleep(RETRY_SECONDS)
    return False
