"""A cluster whose writes are done once, however often the request they belong to is sent under its key."""

from typing import Any

from pinode.cluster import Cluster
from pinode.cluster_state import QUEUE, AgreedCommand
from replicated_queue.broker import Broker
from replicated_queue.operations import QueueOperations
from replicated_queue.queue.codec import result_of
from replicated_queue.queue.commands import Command, Reserve, ReserveJob, Result
from replicated_queue.queue.job import Job
from replicated_queue.queue.limits import check_command
from replicated_queue.requests import ExtendLease, Question
from replicated_queue.sessions import EXPIRED, SingleShot


class WriteKey:
    """The key of one request. What it asks of the cluster is counted from 1, its own answer is number 0."""

    def __init__(self, name: bytes, fingerprint: int, *, owner: bytes = b"") -> None:
        """`name`: the client's key, bound to its `owner`. `fingerprint`: 64 bits of what is asked for."""
        self._name = name
        self._owner = owner
        self.fingerprint = fingerprint
        self.asked = 0

    def __repr__(self) -> str:
        return f"WriteKey(asked={self.asked})"

    def next(self) -> SingleShot:
        """What the request asks of the cluster next."""
        self.asked += 1
        return self._shot(self.asked)

    @property
    def answer(self) -> SingleShot:
        """The answer to it."""
        return self._shot(0)

    @property
    def first(self) -> SingleShot:
        """What it asks of the cluster first."""
        return self._shot(1)

    def _shot(self, sequence: int) -> SingleShot:
        return SingleShot(self._name, sequence, self.fingerprint, self._owner)


class ClusterUnderKey:
    """See `pinode.cluster.Cluster`: all of it, but what changes something goes under the key."""

    def __init__(self, cluster: Cluster, key: WriteKey) -> None:
        self._cluster = cluster
        self._key = key
        self.queue = QueueUnderKey(cluster, key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    async def execute(self, command: AgreedCommand, *, timeout_seconds: float = 10.0) -> Any:
        """Have the command agreed once, or hear what was said to it the first time."""
        return await self._cluster.execute(command, once=self._key.next(), timeout_seconds=timeout_seconds)


class QueueUnderKey(QueueOperations):
    """The broker's verbs of members. A lease is begun anew each time: that enters no log."""

    def __init__(self, cluster: Cluster, key: WriteKey) -> None:
        self._cluster = cluster
        self._queue: Broker = cluster.queue
        self._key = key

    async def submit(self, domain: str, command: Any) -> Any:
        """See `Broker.submit`."""
        return await self._queue.submit(domain, command, once=self._key.next())

    async def _command(self, command: Command) -> Result:
        check_command(command)
        return result_of(await self.submit(QUEUE, command))

    async def _reserve(self, command: Reserve | ReserveJob, *, wait: float) -> list[Job]:
        once = self._key.next()
        is_known = await self._is_known(once)
        jobs = await self._queue.reserve_once(command, once, wait=wait, repeated=is_known)
        # It may have become known meanwhile: agreed by an election, or done for who asks under the key too.
        if not jobs and not is_known and await self._is_known(once):
            jobs = await self._queue.reserve_once(command, once, wait=0, repeated=True)
        return jobs

    async def _is_known(self, once: SingleShot) -> bool:
        await self._queue.be_current()
        return self._cluster.state.sessions.first_answer(once, now=self._cluster.now_ms) is not EXPIRED

    async def _extend(self, request: ExtendLease) -> None:
        await self._queue._extend(request)

    async def _read(self, question: Question) -> bytes:
        return await self._queue._read(question)
