"""The same load for every queue that is measured: so many requests in flight, each asked when one is answered."""

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

JOB_BYTES = 256
JOB = b"j" * JOB_BYTES
TICKS = os.sysconf("SC_CLK_TCK")


class MeasuredQueue(Protocol):
    """What a queue must do to be measured. Every call returns when its effect is safe on a majority."""

    async def put(self) -> object:
        """Add one job of `JOB_BYTES`."""
        ...

    async def cycle(self) -> object:
        """Put a job, reserve one, acknowledge it."""
        ...

    async def drain(self) -> None:
        """Remove all jobs; not measured."""
        ...

    def cpu_seconds(self) -> tuple[float, float]:
        """Used so far by all nodes together, and by the client's process."""
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement: operations a second, latency, and CPU an operation."""

    per_second: float
    p50_ms: float
    p99_ms: float
    node_cpu_us: float
    client_cpu_us: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


async def closed_loop(
    operation: Callable[[], Awaitable[object]], *, in_flight: int, count: int
) -> list[float]:
    """Do `count` operations, `in_flight` at a time; the seconds that each took."""
    left = count
    taken: list[float] = []

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            began = time.perf_counter()
            await operation()
            taken.append(time.perf_counter() - began)

    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return taken


async def measure(queue: MeasuredQueue, what: str, *, in_flight: int, count: int) -> Run:
    """Run `put` or `cycle` so often and say what it took."""
    operation = queue.put if what == "put" else queue.cycle
    nodes_before, client_before = queue.cpu_seconds()
    began = time.perf_counter()
    taken = await closed_loop(operation, in_flight=in_flight, count=count)
    seconds = time.perf_counter() - began
    nodes, client = queue.cpu_seconds()
    await queue.drain()
    return run_of(taken, seconds, nodes=nodes - nodes_before, client=client - client_before)


def run_of(taken: list[float], seconds: float, *, nodes: float, client: float) -> Run:
    """The figures of a run from the seconds that each operation took, and CPU seconds used."""
    taken.sort()
    count = len(taken)
    return Run(
        per_second=count / seconds,
        p50_ms=taken[count // 2] * 1000,
        p99_ms=taken[count * 99 // 100] * 1000,
        node_cpu_us=nodes / count * 1e6,
        client_cpu_us=client / count * 1e6,
    )


def cpu_of(pids: Sequence[int]) -> float:
    """CPU seconds that these processes have used."""
    used = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used += int(fields[11]) + int(fields[12])
    return used / TICKS


def median_of(runs: Sequence[dict[str, Any]], name: str) -> float:
    """The median of one figure over runs."""
    return statistics.median(run[name] for run in runs)
