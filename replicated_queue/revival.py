"""A replica as it was when it stopped: its state from the snapshot, its algorithm from all that is kept."""

import asyncio
import gc
from collections.abc import Generator
from random import Random
from typing import TypeVar

from .interfaces import StateMachine
from .raft.log import RaftLog
from .raft.membership import Membership
from .raft.raft import Raft
from .replica import Replica
from .settings import ReplicaSettings, raft_config
from .storage.recovery import Recovered

T = TypeVar("T")


async def step_by_step(steps: Generator[None, None, T]) -> T:
    """Run to the end what is made of short steps, with the event loop's turn between them."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        await asyncio.sleep(0)


async def restore_state(state_machine: StateMachine, recovered: Recovered) -> None:
    """Make the state what the snapshot on the disk says, if there is one.

    The garbage collector rests meanwhile, and leaves alone what was loaded: its full rounds through a large
    state would stall the event loop for longer than any step.
    """
    reader, recovered.reader = recovered.reader, None
    if reader is None:
        return
    recovered.snapshot_bytes = reader.size_bytes
    gc.disable()
    try:
        become = await step_by_step(state_machine.restore(reader.chunks()))
        become()
    finally:
        gc.freeze()
        gc.enable()
    reader.close()


def revived(
    recovered: Recovered,
    *,
    me: int,
    founders: Membership,
    state_machine: StateMachine,
    random: Random,
    settings: ReplicaSettings,
    now: float,
) -> Replica:
    """The replica; who belongs is what the snapshot says, before there is one the `founders`."""
    mark = recovered.mark
    snapshot = mark.snapshot if mark is not None else None
    raft = Raft(
        me=me,
        membership=Membership.of(snapshot.voters, snapshot.learners) if snapshot is not None else founders,
        random=random,
        config=raft_config(settings),
        log=RaftLog(entries=recovered.entries, snapshot=snapshot),
        hard_state=recovered.hard_state,
    )
    return Replica(
        raft=raft,
        state_machine=state_machine,
        tick_seconds=settings.tick_seconds,
        now=now,
        restored_stamp=mark.cluster_time if mark is not None else 0,
    )
