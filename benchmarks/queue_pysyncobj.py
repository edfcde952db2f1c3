"""PySyncObj with batching and a journal, and a consumer of its own: put, reserve, acknowledge.

    python -m benchmarks.queue_pysyncobj FOLDER PORT OTHER_PORT OTHER_PORT

One process of three. In its favour: the load runs inside the leader's process, so there is no client and no TLS;
and its journal is written through a memory map that is never synced.
Reads one line `WHAT IN_FLIGHT COUNT` at a time from its input and answers by one line of JSON; null from who follows.
"""

import asyncio
import json
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from pysyncobj import SyncObj, SyncObjConf, SyncObjConsumer, replicated

from benchmarks.queue_load import JOB, closed_loop


class Jobs(SyncObjConsumer):
    """A first-in first-out queue with leases that never end."""

    def __init__(self) -> None:
        super().__init__()
        self._last_id = 0
        self._ready: deque[tuple[int, bytes]] = deque()
        self._held: dict[int, bytes] = {}

    @replicated
    def put(self, data: bytes) -> int:
        self._last_id += 1
        self._ready.append((self._last_id, data))
        return self._last_id

    @replicated
    def reserve(self) -> tuple[int, bytes] | None:
        if not self._ready:
            return None
        job, data = self._ready.popleft()
        self._held[job] = data
        return job, data

    @replicated
    def ack(self, job: int) -> bool:
        return self._held.pop(job, None) is not None

    @replicated
    def clear(self) -> None:
        self._ready.clear()
        self._held.clear()


class Node:
    """One process; operations are awaited on an asyncio loop, answered by PySyncObj's own thread."""

    def __init__(self, folder: Path, port: int, others: list[int]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.jobs = Jobs()
        self.sync = SyncObj(
            f"127.0.0.1:{port}",
            [f"127.0.0.1:{other}" for other in others],
            consumers=[self.jobs],
            conf=SyncObjConf(
                journalFile=str(folder / "journal"),
                appendEntriesUseBatch=True,
                commandsWaitLeader=True,
                logCompactionMinEntries=10_000_000,
            ),
        )

    @property
    def is_leader(self) -> bool:
        return bool(self.sync._isLeader())

    def ask(self, operation: Any, *arguments: Any) -> "asyncio.Future[Any]":
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()

        def done(result: Any, error: Any) -> None:
            loop.call_soon_threadsafe(settle, result, error)

        def settle(result: Any, error: Any) -> None:
            if error:
                answer.set_exception(RuntimeError(f"PySyncObj: {error}"))
            else:
                answer.set_result(result)

        operation(*arguments, callback=done)
        return answer

    async def put(self) -> object:
        return await self.ask(self.jobs.put, JOB)

    async def cycle(self) -> object:
        await self.ask(self.jobs.put, JOB)
        job = await self.ask(self.jobs.reserve)
        return await self.ask(self.jobs.ack, job[0])

    async def run(self, what: str, in_flight: int, count: int) -> dict[str, Any]:
        operation = self.put if what == "put" else self.cycle
        began = time.perf_counter()
        taken = await closed_loop(operation, in_flight=in_flight, count=count)
        seconds = time.perf_counter() - began
        await self.ask(self.jobs.clear)
        return {"taken": taken, "seconds": seconds}


def main() -> None:
    """Serve the lines of the input."""
    node = Node(Path(sys.argv[1]), int(sys.argv[2]), [int(port) for port in sys.argv[3:]])
    for line in sys.stdin:
        what, in_flight, count = line.split()
        if not node.is_leader:
            print("null", flush=True)
            continue
        print(json.dumps(asyncio.run(node.run(what, int(in_flight), int(count)))), flush=True)


if __name__ == "__main__":
    main()
