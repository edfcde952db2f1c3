"""How long deploys and rollbacks take, and whether a request fails meanwhile: three nodes, a small Flask app.

    python -m benchmarks.deploys [--deploys 20] [--rollbacks 20] [--rate 200] [--piku piku.py]

Real nodes on loopback, each with its router. First, on a quiet cluster: from asking for the build to the first answer
of the new release, cold (packages are installed for the first time on these nodes) and with changed code alone; and a
rollback. Then deploys and rollbacks under load: requests at a fixed rate through the routers of all three nodes, half
of them on connections that are kept. A request fails that is not answered with 200 within ten seconds.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.deploys_piku import Piku
from pinode.cli.demo_source import served
from pinode.cli.target import app_path
from tests.multi_host.three_nodes import FLASK_APP, Nodes, make_repository, running_nodes
from tests.waiting import until

APP = "blog"
ANSWER_SECONDS = 10.0
KEPT_CONNECTIONS = 8
MOST_UNDER_WAY = 500


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deploys")
    parser.add_argument("--deploys", type=int, default=20)
    parser.add_argument("--rollbacks", type=int, default=20)
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second")
    parser.add_argument("--repeats", type=int, default=5, help="of what is timed on the quiet cluster")
    parser.add_argument("--piku", type=Path, help="its piku.py: time deploys by it, too, on the same machine")
    parser.add_argument("--load", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.load:
        return asyncio.run(_put_under_load(asked.load, asked.rate))
    with tempfile.TemporaryDirectory(prefix="pinode-bench-") as folder, served(Path(folder)) as base:
        repository = make_repository(Path(folder) / "flask", FLASK_APP)
        if asked.piku:
            with Piku(Path(folder) / "piku", asked.piku).running() as piku:
                print(f"piku: cold deploy    {piku.deploy():6.2f} s")
                _print_seconds("piku: code-only", [piku.deploy() for _ in range(asked.repeats)])
        with running_nodes() as nodes:
            stage = Stage(nodes, repository, f"{base}/flask")
            stage.time_quiet(asked.repeats)
            failed = stage.under_load(asked.deploys, asked.rollbacks, asked.rate)
    return 1 if failed else 0


@dataclass(slots=True)
class Stage:
    """The cluster, and the app's repository that changes before each deploy."""

    nodes: Nodes
    repository: Path
    url: str
    changes: int = 0

    def time_quiet(self, repeats: int) -> None:
        """Print seconds from the request to the first answer of the new release."""
        self.nodes.create(APP, self.url)
        print(f"cold deploy          {self.deploy():6.2f} s")
        _print_seconds("code-only deploy", [self.deploy() for _ in range(repeats)])
        _print_seconds("rollback", [self.roll_back() for _ in range(repeats)])

    def under_load(self, deploys: int, rollbacks: int, rate: float) -> int:
        """Print what the load saw; how many requests failed."""
        with self._load(rate) as load:
            _print_seconds("deploy under load", [self.deploy() for _ in range(deploys)])
            _print_seconds("rollback under load", [self.roll_back() for _ in range(rollbacks)])
        seen = load.seen()
        print(
            f"requests             {seen['sent']} at {seen['sent'] / seen['seconds']:.0f}/s, "
            f"{seen['failed']} failed {seen['failures'] or ''}"
        )
        print(
            f"answer time          p50 {seen['p50_ms']:.1f}  p99 {seen['p99_ms']:.1f}  most {seen['most_ms']:.1f} ms"
        )
        return int(seen["failed"])

    def deploy(self) -> float:
        """Change the code, deploy it; seconds to the first answer of the new release."""
        self.changes += 1
        source = self.repository / "app.py"
        source.write_text(f"{FLASK_APP['app.py']}# change {self.changes}\n")
        identity = ["-c", "user.name=bench", "-c", "user.email=bench@pinode.invalid"]
        subprocess.run(["git", *identity, "commit", "-qam", "change"], cwd=self.repository, check=True)
        began = time.perf_counter()
        self.nodes.request_build(APP)
        return self._until_answered(self._newest() + 1, began)

    def roll_back(self) -> float:
        """Go back to what served before; seconds to the first answer of the new release."""
        began = time.perf_counter()
        made = self.nodes.alive[0].client().post(app_path(APP, "releases"), {})
        return self._until_answered(int(made["version"]), began)

    def _newest(self) -> int:
        return int(self.nodes.alive[0].client().get(app_path(APP))["last_version"])

    def _until_answered(self, version: int, began: float) -> float:
        node = self.nodes.alive[0]
        port = self.nodes.port(APP)
        until(
            lambda: self.nodes.get_at(node.host, port)[1].endswith(f" v{version}"),
            within_seconds=120,
            saying=f"v{version} answers",
            describe=lambda: json.dumps(node.client().items(app_path(APP, "releases"))[:2]),
        )
        return time.perf_counter() - began

    @contextlib.contextmanager
    def _load(self, rate: float) -> Iterator["Load"]:
        port = self.nodes.port(APP)
        places = [f"{node.host}:{port}" for node in self.nodes.nodes]
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.deploys", "--rate", str(rate), "--load", *places],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        load = Load(process)
        try:
            yield load
        finally:
            load.end()


class Load:
    """The process that asks; it goes on until its stdin closes."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._out = b""

    def end(self) -> None:
        """Have it stop and say what it saw."""
        self._out, _ = self._process.communicate(timeout=60)

    def seen(self) -> dict[str, float | dict[str, int]]:
        """What it saw."""
        document: dict[str, float | dict[str, int]] = json.loads(self._out)
        return document


@dataclass(slots=True)
class Seen:
    """What came of the requests."""

    milliseconds: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    under_way: int = 0


async def _put_under_load(places: list[str], rate: float) -> int:
    seen, turn = Seen(), 0
    kept: asyncio.Queue[_Connection] = asyncio.Queue()
    for number in range(KEPT_CONNECTIONS * len(places)):
        kept.put_nowait(_Connection(places[number % len(places)]))
    loop = asyncio.get_running_loop()
    stopped = loop.run_in_executor(None, sys.stdin.buffer.read)
    began = loop.time()
    async with asyncio.TaskGroup() as tasks:
        while not stopped.done():
            due = began + turn / rate
            if due > loop.time():
                await asyncio.wait({stopped}, timeout=due - loop.time())
            turn += 1
            if seen.under_way >= MOST_UNDER_WAY:
                seen.failures["not sent: too many are under way, the machine is too slow for this rate"] += 1
                continue
            tasks.create_task(_one(seen, kept, places[turn % len(places)], is_kept=turn % 2 == 0))
    seconds = loop.time() - began
    times = sorted(seen.milliseconds)
    print(
        json.dumps(
            {
                "sent": turn,
                "seconds": seconds,
                "failed": sum(seen.failures.values()),
                "failures": dict(seen.failures),
                "p50_ms": times[len(times) // 2],
                "p99_ms": times[int(len(times) * 0.99)],
                "most_ms": times[-1],
            }
        )
    )
    return 0


async def _one(seen: Seen, kept: "asyncio.Queue[_Connection]", place: str, *, is_kept: bool) -> None:
    seen.under_way += 1
    connection = await kept.get() if is_kept else _Connection(place)
    began = time.perf_counter()
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            status = await connection.ask(keep=is_kept)
        if status != 200:
            seen.failures[f"status {status}"] += 1
    except (OSError, TimeoutError, EOFError, ValueError) as error:
        seen.failures[type(error).__name__] += 1
        connection.close()
    finally:
        seen.under_way -= 1
        seen.milliseconds.append((time.perf_counter() - began) * 1000)
        if is_kept:
            kept.put_nowait(connection)
        else:
            connection.close()


class _Connection:
    """To one router. One that the router closed while nothing was asked is opened again, as browsers do."""

    def __init__(self, place: str) -> None:
        self._host, _, port = place.rpartition(":")
        self._port = int(port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, *, keep: bool) -> int:
        """The status of an answer that came whole."""
        if self._streams is None or self._streams[0].at_eof():
            self.close()
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        connection = b"keep-alive" if keep else b"close"
        writer.write(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: " + connection + b"\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        length = head.partition("content-length:")[2].partition("\r\n")[0].strip()
        await reader.readexactly(int(length or 0))
        if not keep or "connection: close" in head:
            self.close()
        return status

    def close(self) -> None:
        """Let go of it."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _print_seconds(name: str, seconds: list[float]) -> None:
    if seconds:
        print(
            f"{name:<20} {statistics.median(seconds):6.2f} s  (median of {len(seconds)}, "
            f"{min(seconds):.2f} to {max(seconds):.2f})",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
