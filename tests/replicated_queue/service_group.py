"""Three replica services on one event loop, with links in memory and logs on the real disk."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgpack

from replicated_queue.errors import QueueError
from replicated_queue.interfaces import CUT, Lane
from replicated_queue.service import ReplicaService
from replicated_queue.settings import ReplicaSettings
from replicated_queue.storage.disk import Disk, RealDisk
from tests.waiting import eventually


class Journal:
    """A state machine that keeps what it was given; its result names the place."""

    def __init__(self) -> None:
        self.commands: list[tuple[int, int, bytes]] = []

    def apply(self, command: bytes, *, index: int, now: int, parts: Sequence[Any] = ()) -> Any:
        self.commands.append((index, now, command))
        return b"%d:%s" % (index, command)

    def digest(self) -> bytes:
        return repr(self.commands).encode()

    def digest_steps(self) -> Generator[None, None, bytes]:
        yield
        return b"journal " + hashlib.sha256(self.digest()).digest()

    def snapshot(self) -> Iterator[bytes]:
        commands = list(self.commands)
        yield CUT
        for start in range(0, len(commands), 100):
            yield msgpack.packb(commands[start : start + 100])

    def restore(self, chunks: Iterable[bytes]) -> Generator[None, None, Callable[[], None]]:
        commands: list[tuple[int, int, bytes]] = []
        for chunk in chunks:
            commands += [(index, now, command) for index, now, command in msgpack.unpackb(chunk)]
            yield
        return lambda: setattr(self, "commands", commands)

    @property
    def data(self) -> list[bytes]:
        return [command for _, _, command in self.commands]


def proposed(service: ReplicaService, data: bytes) -> "asyncio.Future[bytes]":
    """The result of a proposal, to be awaited. Raises at once what `propose` raises."""
    result: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def done(outcome: Any) -> None:
        if isinstance(outcome, QueueError):
            result.set_exception(outcome)
        else:
            result.set_result(outcome)

    service.propose(data, done)
    return result


class Link:
    """The sending side of one node; frames arrive in a later turn of the loop, unless cut."""

    def __init__(self, group: "ServiceGroup", me: int) -> None:
        self._group = group
        self._me = me

    def send(self, peer: int, frame: bytes, *, lane: Lane) -> None:
        self._group.sent += 1
        asyncio.get_running_loop().call_soon(self._group.deliver, self._me, peer, frame)

    async def call(self, peer: int, frame: bytes, *, timeout_seconds: float) -> bytes:
        raise OSError("there is no broker in this group")

    async def fetch(self, peer: int, request: bytes) -> AsyncIterator[bytes]:
        if peer not in self._group.services or {self._me, peer} & self._group.cut_off:
            raise ConnectionRefusedError("nobody is there")
        self._group.is_fetching = True
        await self._group.holds_fetches.wait()
        async for data in self._group.services[peer].serve_snapshot(self._me, request):
            self._group.fetched += len(data)
            if self._group.breaks_after is not None and self._group.fetched > self._group.breaks_after:
                raise ConnectionResetError("the link broke")
            yield data


class ServiceGroup:
    """Services by id, the founders' at first; `start` may add others, as yet unknown to the group.

    `stop` cancels one as a crash would, without a word to its peers.
    """

    def __init__(
        self,
        directory: Path,
        voters: Sequence[int] = (1, 2, 3),
        *,
        learners: Sequence[int] = (),
        open_disk: Callable[[Path], Disk] = RealDisk,
        **settings: float,
    ) -> None:
        self._directory = directory
        self._open_disk = open_disk
        self._settings = ReplicaSettings(**settings)  # type: ignore[arg-type]
        self.voters = tuple(voters)
        self.learners = tuple(learners)
        self.services: dict[int, ReplicaService] = {}
        self.journals: dict[int, Journal] = {}
        self.runs: dict[int, asyncio.Task[None]] = {}
        self.cut_off: set[int] = set()
        self.sent = 0
        self.fetched = 0  # bytes of snapshots
        self.breaks_after: int | None = None  # of those bytes
        self.is_fetching = False
        self.holds_fetches = asyncio.Event()  # while it is not set
        self.holds_fetches.set()

    async def __aenter__(self) -> "ServiceGroup":
        for peer in (*self.voters, *self.learners):
            self.start(peer)
        return self

    async def __aexit__(self, *_: object) -> None:
        for peer in list(self.runs):
            await self.stop(peer)

    def start(self, peer: int) -> ReplicaService:
        service = self.services[peer] = self.service_of(peer)
        self.runs[peer] = asyncio.get_running_loop().create_task(service.run())
        return service

    def service_of(self, peer: int) -> ReplicaService:
        """A service that does not run yet."""
        self.journals[peer] = Journal()
        return ReplicaService(
            peer_id=peer,
            voters=self.voters,
            learners=self.learners,
            state_machine=self.journals[peer],
            directory=self._directory / str(peer),
            transport=Link(self, peer),
            settings=self._settings,
            random=Random(peer),
            open_disk=self._open_disk,
        )

    async def stop(self, peer: int, *, resets_links: bool = False) -> None:
        run = self.runs.pop(peer)
        del self.services[peer]
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        if resets_links:
            for other in self.services.values():
                other.peer_unreachable(peer)

    def deliver(self, sender: int, to: int, frame: bytes) -> None:
        if to in self.services and not {sender, to} & self.cut_off:
            self.services[to].receive(sender, frame)

    @property
    def leader(self) -> ReplicaService | None:
        leaders = [
            service
            for peer, service in self.services.items()
            if service.is_leader and peer not in self.cut_off
        ]
        return leaders[0] if len(leaders) == 1 else None

    async def elected(self, *, within_seconds: float = 10) -> ReplicaService:
        leader = await eventually(lambda: self.leader, within_seconds=within_seconds, saying="a leader")
        assert leader is not None
        return leader

    def id_of(self, service: ReplicaService) -> int:
        return next(peer for peer, other in self.services.items() if other is service)
