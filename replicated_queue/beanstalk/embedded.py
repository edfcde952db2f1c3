"""A queue of one node for the program `python -m replicated_queue.beanstalk`."""

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from replicated_queue.beanstalk.door import BeanstalkDoor
from replicated_queue.beanstalk.hall import Hall
from replicated_queue.broker import Broker
from replicated_queue.errors import QueueError
from replicated_queue.interfaces import Lane, StateMachine
from replicated_queue.proposals import Done, Part
from replicated_queue.queue.job import LEASED, Job
from replicated_queue.queue_state import QueueStateMachine

if TYPE_CHECKING:
    from replicated_queue.service import ReplicaService

AppliedCallback = Callable[[int], None]
LeadershipCallback = Callable[[bool, int], None]


class MemoryLog:
    """A `ReplicatedLog` of one node that forgets: what is proposed is applied at once."""

    def __init__(self, machine: StateMachine) -> None:
        self._index = 0
        self._machine = machine
        self._began = time.monotonic()
        self._applied: list[AppliedCallback] = []
        self._leadership: list[LeadershipCallback] = []

    @property
    def is_leader(self) -> bool:
        return True

    @property
    def has_quorum(self) -> bool:
        return True

    @property
    def leader_id(self) -> int | None:
        return 1

    @property
    def now_ms(self) -> int:
        return int((time.monotonic() - self._began) * 1000)

    @property
    def applied_index(self) -> int:
        return self._index

    def propose(self, data: bytes, done: Done, *, part: Part | None = None, is_alone: bool = False) -> None:
        self._index += 1
        parts = () if part is None else (part,)
        results = self._machine.apply(data, index=self._index, now=self.now_ms, parts=parts)
        # Not before this returns: who proposes writes down what it proposed first.
        asyncio.get_running_loop().call_soon(done, results)
        for callback in self._applied:
            callback(self._index)

    def confirm(self, done: Callable[[int | QueueError], None]) -> None:
        asyncio.get_running_loop().call_soon(done, self._index)

    def on_leadership(self, callback: LeadershipCallback) -> None:
        self._leadership.append(callback)

    def on_applied(self, callback: AppliedCallback) -> None:
        self._applied.append(callback)

    def on_leader(self, callback: Callable[[], None]) -> None:
        """It never changes."""

    async def run(self) -> None:
        """Lead until cancelled."""
        for callback in self._leadership:
            callback(True, 1)
        await asyncio.get_running_loop().create_future()


class NoPeers:
    """The `Transport` of a node that is alone."""

    def send(self, peer: int, frame: bytes, *, lane: Lane) -> None:
        raise AssertionError("a node that is alone sends nothing")

    async def call(self, peer: int, frame: bytes, *, timeout_seconds: float) -> bytes:
        raise ConnectionRefusedError("there is no other node")

    async def fetch(self, peer: int, request: bytes) -> AsyncIterator[bytes]:
        raise ConnectionRefusedError("there is no other node")
        yield b""


async def serve(listener: socket.socket, directory: Path | None) -> None:
    """Run queue and door until a signal ends the program. With a directory the queue is kept there."""
    machine = QueueStateMachine()
    log = MemoryLog(machine) if directory is None else _log_on_disk(machine, directory)
    broker = Broker(log=log, queue=machine.queue, transport=NoPeers())
    hall = Hall(broker, machine.queue, now_ms=lambda: log.now_ms)
    leads = asyncio.Event()
    log.on_leadership(lambda is_leader, _: leads.set())
    parts = asyncio.ensure_future(_run_parts(log, broker, BeanstalkDoor(hall), listener, leads, machine))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, parts.cancel)
    loop.add_signal_handler(signal.SIGUSR1, setattr, hall, "is_draining", True)  # beanstalkd's drain mode
    await asyncio.wait([parts])
    if not parts.cancelled():
        parts.result()


def _log_on_disk(machine: StateMachine, directory: Path) -> "ReplicaService":
    from random import SystemRandom

    from replicated_queue.service import ReplicaService

    directory.mkdir(parents=True, exist_ok=True)
    return ReplicaService(
        peer_id=1,
        voters=(1,),
        state_machine=machine,
        directory=directory,
        transport=NoPeers(),
        random=SystemRandom(),
    )


async def _run_parts(
    log: "MemoryLog | ReplicaService",
    broker: Broker,
    door: BeanstalkDoor,
    listener: socket.socket,
    leads: asyncio.Event,
    machine: QueueStateMachine,
) -> None:
    async with asyncio.TaskGroup() as parts:
        parts.create_task(log.run(), name="log")
        parts.create_task(broker.run(), name="broker")
        await leads.wait()
        await _release_all(broker, machine)
        parts.create_task(door.run([listener]), name="door")


async def _release_all(broker: Broker, machine: QueueStateMachine) -> None:
    """Connections of an earlier process are closed, so nobody holds a job."""
    held = [job for job in machine.queue.jobs.touched() if job.state == LEASED]
    if held:
        await broker.give_back(
            [Job(job.id, job.topic, b"", job.priority, job.attempts, job.token, 0) for job in held]
        )
