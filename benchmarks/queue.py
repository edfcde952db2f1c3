"""How fast the queue is, and how soon it goes on after a failure: three real nodes, and others beside them.

    python -m benchmarks.queue [--runs 5] [--share 1.0] [--only pinode,ceiling,pysyncobj,nats] [--no-failures]

All run in turn on this machine, on one disk, and so share whatever else it does; medians of the runs are printed,
and the ratios that decide. Jobs of 256 bytes. pinode: three `pinode start` with mutual TLS between them and a
`QueueClient` over TLS; ceiling: see `queue_ceiling.py`; the peers are given their advantages (see their files).
Nodes, and the clients of all, run on uvloop where it is installed, as `pip install pinode[bench]` does.
Refuses tmpfs, where a sync costs nothing.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from benchmarks.idle import fdatasync_seconds, file_system
from benchmarks.queue_ceiling import CeilingQueue
from benchmarks.queue_failures import measure_failures
from benchmarks.queue_load import Run, cpu_of, measure, median_of, run_of
from benchmarks.queue_many_jobs import measure_many_jobs
from benchmarks.queue_nodes import PinodeQueue, client_of, start_nodes
from pinode import event_loop

SOURCES = Path(__file__).parent.parent
# (what, in flight, how many); a put run stays far below the queue's bound of 100,000 jobs.
LOADS = (
    ("put", 1, 1_000),
    ("put", 64, 20_000),
    ("put", 256, 30_000),
    ("cycle", 1, 400),
    ("cycle", 64, 8_000),
    ("cycle", 256, 12_000),
)
BARS = {("put", 64): 30_000, ("cycle", 64): 14_000, ("cycle", 256): 20_000}
ALL = ("pinode", "ceiling", "pysyncobj", "nats")
Figures = dict[tuple[str, str, int], list[dict[str, float]]]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as open_sockets:
        doors = [open_sockets.enter_context(socket.socket()) for _ in range(count)]
        for door in doors:
            door.bind(("127.0.0.1", 0))
        return [door.getsockname()[1] for door in doors]


@contextlib.contextmanager
def processes(commands: list[list[str]], **how: Any) -> Iterator[list[subprocess.Popen[Any]]]:
    """Python modules beside this one, ended with the block."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    started = [
        subprocess.Popen([sys.executable, "-m", *words], env=environment, cwd=SOURCES, **how)
        for words in commands
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


@contextlib.asynccontextmanager
async def ceiling(folder: Path) -> AsyncIterator[CeilingQueue]:
    ports = free_ports(3)
    commands = [
        ["benchmarks.queue_ceiling", str(folder / f"c{place}"), str(ports[place])] for place in range(3)
    ]
    commands[0] += [str(port) for port in ports[1:]]
    with processes(commands) as started:
        queue = CeilingQueue([process.pid for process in started], ports[0])
        await queue.connect()
        yield queue


@contextlib.asynccontextmanager
async def nats(folder: Path) -> AsyncIterator[Any]:
    from benchmarks.queue_nats import NatsQueue

    queue = NatsQueue(folder, free_ports(6))
    try:
        await queue.connect()
        yield queue
        await queue.close()
    finally:
        queue.stop()


class PySyncObjGroup:
    """Asks all three processes; the one that leads does the work."""

    name = "pysyncobj"

    def __init__(self, started: list[subprocess.Popen[Any]]) -> None:
        self._started = started

    def run(self, what: str, in_flight: int, count: int) -> Run | None:
        pids = [process.pid for process in self._started]
        before = cpu_of(pids)
        for process in self._started:
            assert process.stdin and process.stdout
            process.stdin.write(f"{what} {in_flight} {count}\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            if answer is not None:
                return run_of(answer["taken"], answer["seconds"], nodes=cpu_of(pids) - before, client=0.0)
        return None


@contextlib.asynccontextmanager
async def pysyncobj(folder: Path) -> AsyncIterator[PySyncObjGroup]:
    ports = [str(port) for port in free_ports(3)]
    commands = [
        ["benchmarks.queue_pysyncobj", str(folder / f"p{place}"), ports[place]]
        + [port for port in ports if port != ports[place]]
        for place in range(3)
    ]
    with processes(commands, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        group = PySyncObjGroup(started)
        for _ in range(150):  # until they have elected somebody
            if await asyncio.to_thread(group.run, "put", 1, 1) is not None:
                break
            await asyncio.sleep(0.2)
        yield group


@contextlib.asynccontextmanager
async def pinode(folder: Path) -> AsyncIterator[PinodeQueue]:
    nodes = await asyncio.to_thread(start_nodes, folder / "nodes")
    try:
        leader = await asyncio.to_thread(nodes.leader)
        async with client_of(nodes, leader) as client:
            yield PinodeQueue(nodes, leader, client)
    finally:
        await asyncio.to_thread(nodes.stop)


async def one(queue: Any, what: str, in_flight: int, count: int) -> Run:
    if isinstance(queue, PySyncObjGroup):
        run = await asyncio.to_thread(queue.run, what, in_flight, count)
        assert run is not None, "PySyncObj lost its leader"
        return run
    return await measure(queue, what, in_flight=in_flight, count=count)


async def measure_all(folder: Path, names: list[str], *, runs: int, share: float, failures: bool) -> None:
    figures: Figures = {}
    makers = {"pinode": pinode, "ceiling": ceiling, "pysyncobj": pysyncobj, "nats": nats}
    async with contextlib.AsyncExitStack() as stack:
        queues = [await stack.enter_async_context(makers[name](folder)) for name in names]
        for queue in queues:
            await one(queue, "cycle", 64, 500)  # warm
        for number in range(runs):
            for what, in_flight, full in LOADS:
                for queue in queues:
                    count = max(50, int(full * share))
                    run = await one(queue, what, in_flight, count)
                    figures.setdefault((queue.name, what, in_flight), []).append(run.as_dict())
            print(f"run {number + 1} of {runs} done", file=sys.stderr, flush=True)
        report(figures, names)
        if failures and "pinode" in names:
            await measure_failures(queues[names.index("pinode")])
            await measure_many_jobs(queues[names.index("pinode")])


def report(figures: Figures, names: list[str]) -> None:
    print(f"{'':10}{'load':>12}{'a second':>10}{'p50 ms':>9}{'p99 ms':>9}{'µs CPU nodes':>14}{'client':>8}")
    for what, in_flight, _ in LOADS:
        for name in names:
            runs = figures[name, what, in_flight]
            print(
                f"{name:10}{what + ' @' + str(in_flight):>12}{median_of(runs, 'per_second'):10.0f}"
                f"{median_of(runs, 'p50_ms'):9.2f}{median_of(runs, 'p99_ms'):9.2f}"
                f"{median_of(runs, 'node_cpu_us'):14.0f}{median_of(runs, 'client_cpu_us'):8.0f}"
            )
    if "pinode" not in names:
        return
    for what, in_flight, _ in LOADS:
        own = median_of(figures["pinode", what, in_flight], "per_second")
        ratios = [
            f"{own / median_of(figures[name, what, in_flight], 'per_second'):.2f} × {name}"
            for name in names
            if name != "pinode"
        ]
        bar = BARS.get((what, in_flight))
        against = [f"{own / bar:.2f} of the bar of {bar}"] if bar else []
        print(f"{what} @{in_flight}: " + ", ".join(ratios + against))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--share", type=float, default=1.0, help="of the operations of a run")
    parser.add_argument("--only", default=",".join(ALL))
    parser.add_argument("--no-failures", action="store_true")
    wanted = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="pinode-bench-", dir="/var/tmp"))
    try:
        kind = file_system(folder)
        if kind == "tmpfs":
            sys.exit(f"{folder} is on tmpfs, where a sync costs nothing: make /var/tmp a disk")
        syncs = fdatasync_seconds(folder) * 1e6
        print(
            f"file system {kind}, fdatasync {syncs:.0f} µs, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
        )
        names = [name for name in ALL if name in wanted.only.split(",")]
        event_loop.run(
            measure_all(folder, names, runs=wanted.runs, share=wanted.share, failures=not wanted.no_failures)
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
