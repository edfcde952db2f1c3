"""What idle nodes cost: memory, CPU, bytes sent and bytes written, per node, on a network of their own.

    python -m benchmarks.idle [--seconds 300] [--nodes 3] [--reserves 50]

With `--reserves` so many workers wait for jobs all the time, spread over the nodes. Five of them vote at the most and hear the leader four times a second, the others once. The last node is the
one that is asked who leads, so it alone has loaded its web. Root only (network namespaces). Prints the file
system under the data directories and what one fdatasync takes there; refuses tmpfs, where nothing would be written.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.multi_host.network import Host, Network
from tests.waiting import until

SETTLE_SECONDS = 60.0  # what the founding asked for is given back: connections, memory
SOURCES = Path(__file__).parent.parent  # the pinode measured is the one beside this file, installed or not
PYTHON = ("env", f"PYTHONPATH={SOURCES}", sys.executable, "-m")
PINODE = (*PYTHON, "pinode")


@dataclass(frozen=True, slots=True)
class Usage:
    """Totals since the start of one host's processes."""

    cpu_seconds: float
    written_bytes: int
    sent_bytes: int


def file_system(path: Path) -> str:
    """Type of the file system that holds a path."""
    return subprocess.run(
        ["stat", "-f", "-c", "%T", str(path)], capture_output=True, text=True, check=True
    ).stdout.strip()


def fdatasync_seconds(folder: Path) -> float:
    """Median time of a small overwrite with fdatasync."""
    with tempfile.TemporaryFile(dir=folder) as file:
        os.pwrite(file.fileno(), bytes(1 << 20), 0)
        os.fsync(file.fileno())
        taken = []
        for place in range(200):
            started = time.perf_counter()
            os.pwrite(file.fileno(), b"x" * 300, place * 300)
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def processes_of(host: Host) -> dict[str, list[int]]:
    """Pids of the host's pinode processes as seen from here: `node`, `router`."""
    found: dict[str, list[int]] = {"node": [], "router": []}
    space = os.readlink(f"/proc/{host.init_pid}/ns/pid")
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "ns/pid") == space:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"pinode.router" in words:
                    found["router"].append(int(entry.name))
                elif b"pinode" in words and b"start" in words:
                    found["node"].append(int(entry.name))
        except OSError:
            continue
    return found


def usage(host: Host) -> Usage:
    """CPU and writes of the pinode processes, bytes that left the host's network card."""
    cpu, written = 0.0, 0
    for pids in processes_of(host).values():
        for pid in pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            cpu += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            lines = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
            written += int(lines["write_bytes"])
    return Usage(cpu, written, sent_bytes(host))


def sent_bytes(host: Host) -> int:
    """Left by the host's network card; /proc knows the host's own network, /sys the one it was mounted in."""
    cards = Path(f"/proc/{host.init_pid}/net/dev").read_text()
    return int(next(line for line in cards.splitlines() if "eth0:" in line).split(":")[1].split()[8])


def memory(pid: int) -> tuple[float, float]:
    """RSS and PSS in MB."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kibibytes = {  # whatever the kernel calls them
        line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines() if line.endswith("kB")
    }
    return kibibytes["Rss"] * 1024 / 1e6, kibibytes["Pss"] * 1024 / 1e6


def leader_of(host: Host, folder: Path) -> str:
    """Who leads, as this host sees it; empty while nobody does."""
    done = host.run([*PINODE, "status", "--json"], cwd=folder)
    return json.loads(done.stdout)["cluster"]["leader"] or "" if done.returncode == 0 else ""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--reserves", type=int, default=0)
    arguments = parser.parse_args()
    seconds, count = arguments.seconds, arguments.nodes
    with Network(count) as network, tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        kind = file_system(network.folder)
        if kind == "tmpfs":
            sys.exit(f"{network.folder} is on tmpfs, where writing costs nothing: set TMPDIR to a disk")
        print(
            f"file system {kind}, fdatasync {fdatasync_seconds(network.folder) * 1e6:.0f} µs, {os.cpu_count()} CPUs"
        )
        join = [word for host in network.hosts.values() for word in ("--join", host.ip)]
        network[1].run([*PINODE, "init", "--expect", str(count), *join], cwd=folder)
        hosts = list(network.hosts.values())
        for host in hosts:
            with (host.outside / "node.log").open("ab") as log:
                host.start([*PINODE, "start"], cwd=folder, stdout=log, stderr=log)
        asked = hosts[-1]
        leader = until(
            lambda: leader_of(asked, Path(folder)), within_seconds=60 + 10 * count, saying="a leader"
        )
        workers = []
        for place, host in enumerate(hosts):
            share = arguments.reserves // count + (place < arguments.reserves % count)
            if share:
                words = [*PYTHON, "benchmarks.waiting_reserves", str(host.data), str(share)]
                workers.append(host.start(words))
        threading.Event().wait(SETTLE_SECONDS)
        before = {host.name: usage(host) for host in hosts}
        threading.Event().wait(seconds)
        waiting = f"{arguments.reserves} reserves waiting; " if arguments.reserves else ""
        assert all(worker.poll() is None for worker in workers), "a worker does not wait any more"
        print(f"over {seconds:.0f} s, after {SETTLE_SECONDS:.0f} s to settle; {waiting}leader {leader}")
        print("node    node RSS  router RSS  both PSS  CPU      sent       written")
        for host in hosts:
            now, start, pids = usage(host), before[host.name], processes_of(host)
            node, router = (
                memory(pids[part][0]) if pids[part] else (0.0, 0.0) for part in ("node", "router")
            )
            print(
                f"{host.name:<6} {node[0]:6.1f} MB {router[0]:8.1f} MB {node[1] + router[1]:6.1f} MB "
                f"{(now.cpu_seconds - start.cpu_seconds) / seconds * 100:6.2f} % "
                f"{(now.sent_bytes - start.sent_bytes) / seconds / 1000:6.2f} kB/s "
                f"{now.written_bytes - start.written_bytes:8d} B"
            )


if __name__ == "__main__":
    main()
