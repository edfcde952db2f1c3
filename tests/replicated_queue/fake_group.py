"""A group of nodes whose log always agrees: brokers meet the moments of a cluster one at a time."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from replicated_queue.broker import Broker
from replicated_queue.errors import Busy, NotLeader, OutcomeUnknown, QueueError
from replicated_queue.proposals import Done, Part
from replicated_queue.queue_state import QueueStateMachine

LeadershipCallback = Callable[[bool, int], None]
AppliedCallback = Callable[[int], None]


class FakeLog:
    """One node's view of the log: it leads if the group says so."""

    def __init__(self, group: "FakeGroup", node_id: int) -> None:
        self.machine = QueueStateMachine()
        self.applied_index = 0
        self.has_quorum = True
        self.leadership_callbacks: list[LeadershipCallback] = []
        self.leader_callbacks: list[Callable[[], None]] = []
        self.applied_callbacks: list[AppliedCallback] = []
        self._group = group
        self._id = node_id

    @property
    def is_leader(self) -> bool:
        return self._group.leader == self._id

    @property
    def leader_id(self) -> int | None:
        return self._group.leader

    @property
    def now_ms(self) -> int:
        return self._group.now_ms

    def propose(self, data: bytes, done: Done, *, part: Part | None = None, is_alone: bool = False) -> None:
        if not self.is_leader:
            raise NotLeader(self.leader_id)
        self._group.propose(data, done)

    def confirm(self, done: Callable[[int | QueueError], None]) -> None:
        sure = self.is_leader and self.has_quorum
        asyncio.get_running_loop().call_soon(done, self.applied_index if sure else NotLeader(None))

    def on_leadership(self, callback: LeadershipCallback) -> None:
        self.leadership_callbacks.append(callback)

    def on_leader(self, callback: Callable[[], None]) -> None:
        self.leader_callbacks.append(callback)

    def on_applied(self, callback: AppliedCallback) -> None:
        self.applied_callbacks.append(callback)

    def apply(self, command: bytes, *, index: int, now: int) -> Sequence[Any]:
        result = self.machine.apply(command, index=index, now=now)
        self.applied_index = index
        for callback in self.applied_callbacks:
            callback(index)
        return result


class FakeTransport:
    """Calls from one node; `broken` decides for each call what goes wrong."""

    def __init__(self, group: "FakeGroup") -> None:
        self._group = group
        self.calls = 0
        self.lose_answers = 0  # of how many calls to come
        self.refuse_calls = 0
        self.is_silent = False
        self.answer_bytes: list[int] = []  # of each answer

    async def call(self, peer: int, frame: bytes, *, timeout_seconds: float) -> bytes:
        self.calls += 1
        if self.refuse_calls:
            self.refuse_calls -= 1
            raise ConnectionRefusedError("nobody listens there")
        if self.is_silent:
            await asyncio.Event().wait()
        answer = await self._group.brokers[peer].answer(frame)
        self.answer_bytes.append(len(answer))
        if self.lose_answers:
            self.lose_answers -= 1
            raise ConnectionResetError("the link broke before the answer")
        return answer


class FakeGroup:
    """Nodes 1 to `size`; commits in the next turn of the loop unless `is_held`."""

    def __init__(self, size: int = 3, *, leader: int | None = 1, timeout_seconds: float = 5.0) -> None:
        self.leader: int | None = None
        self.term = 0
        self.entries: list[bytes] = []
        self.behind: set[int] = set()  # nodes that apply nothing until `catch_up`
        self.now_ms = 0
        self.is_held = False
        self.busy = 0  # proposals to come that are refused
        self.open: list[tuple[bytes, Done]] = []
        self.logs = {node_id: FakeLog(self, node_id) for node_id in range(1, size + 1)}
        self.transports = {node_id: FakeTransport(self) for node_id in self.logs}
        self.brokers = {
            node_id: Broker(
                log=log,
                queue=log.machine.queue,
                transport=self.transports[node_id],
                client_id=b"node %011d" % node_id,
                timeout_seconds=timeout_seconds,
            )
            for node_id, log in self.logs.items()
        }
        self._first_leader = leader
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "FakeGroup":
        self._tasks = [asyncio.create_task(broker.run()) for broker in self.brokers.values()]
        await asyncio.sleep(0)
        self.elect(self._first_leader)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def elect(self, leader: int | None, *, lose: bool = False) -> None:
        """Another node leads. Open proposals are committed, or lost; their proposer never hears which."""
        before, self.leader = self.leader, leader
        proposals, self.open = self.open, []
        for data, done in proposals:
            if not lose:
                self._commit(data)
            done(OutcomeUnknown())
        self.term += 1
        for node_id, is_leader in ((before, False), (leader, True)):
            if node_id is not None:
                for callback in self.logs[node_id].leadership_callbacks:
                    callback(is_leader, self.term)
        for log in self.logs.values():
            for told in log.leader_callbacks:
                told()

    def propose(self, data: bytes, done: Done) -> None:
        if self.busy:
            self.busy -= 1
            raise Busy(0.01)
        self.open.append((data, done))
        if not self.is_held:
            asyncio.get_running_loop().call_soon(self.commit)

    def commit(self) -> None:
        """Commit what is proposed and answer it."""
        proposals, self.open = self.open, []
        for data, done in proposals:
            done(self._commit(data))

    def release(self) -> None:
        self.is_held = False
        self.commit()

    def data_of(self, topic: str = "mail") -> Sequence[bytes]:
        """Jobs of a topic, oldest first, as all nodes have them."""
        queues = [log.machine.queue for log in self.logs.values()]
        assert len({queue.digest() for queue in queues}) == 1
        return [job.data for job in queues[0].jobs.values() if job.topic == topic]

    def _commit(self, data: bytes) -> Sequence[Any]:
        assert self.leader is not None or self.open == []
        self.entries.append(data)
        index = len(self.entries)
        up_to_date = [log for node_id, log in self.logs.items() if node_id not in self.behind]
        first, *others = [log.apply(data, index=index, now=self.now_ms) for log in up_to_date]
        assert all(other == first for other in others)
        return first

    def catch_up(self) -> None:
        """Who was behind applies what it lacks."""
        for node_id in self.behind:
            log = self.logs[node_id]
            for index, data in enumerate(self.entries[log.applied_index :], log.applied_index + 1):
                log.apply(data, index=index, now=self.now_ms)
        self.behind = set()
