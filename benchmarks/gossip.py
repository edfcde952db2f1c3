"""Sixteen real processes on a network of their own: how soon a kill is known, and what idling costs.

    python -m benchmarks.gossip [--kills 30] [--idle 60] [--kinds gossip,serf,kinship]

Root only (network namespaces). Beside gossip, in the same run: serf (Debian's package, LAN defaults) and the
PyPI package kinship (LAN defaults, sealed); one that is not installed is left out and named. `nothing` is an
event loop without a protocol, for memory. All members are killed with SIGKILL, none is told before.
"""

import argparse
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.multi_host.network import Host, Network

SOURCES = Path(__file__).parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
SETTLE_SECONDS, KNOWN_SECONDS = 60.0, 60.0
SERF_WORDS = {"EventMemberJoin": "joined", "EventMemberFailed": "dead"}


@dataclass(slots=True)
class Member:
    """One process, and when it said what of whom."""

    name: str
    host: Host
    process: subprocess.Popen[bytes]
    said: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        """Of the program itself, seen from here: nsenter's only child."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def listen(self) -> None:
        """Note every `joined` and `dead` line with its time."""
        assert self.process.stdout
        for raw in self.process.stdout:
            words = raw.decode(errors="replace").split()
            for at, word in enumerate(words[:-1]):
                told = SERF_WORDS.get(word.rstrip(":"), word)
                if told in ("joined", "dead"):
                    self.said[told, words[at + 1]] = time.monotonic()


def command_of(kind: str, name: str, ip: str, seed: str, *, serf: str) -> list[str]:
    if kind == "serf":
        joining = [] if ip == seed else [f"-retry-join={seed}"]
        return [serf, "agent", f"-node={name}", f"-bind={ip}:7400", "-rpc-addr=127.0.0.1:7373", *joining]
    path = os.pathsep.join([str(SOURCES), os.environ.get("PYTHONPATH", "")])
    return [
        "env",
        f"PYTHONPATH={path}",
        sys.executable,
        "-m",
        "benchmarks.gossip_member",
        kind,
        name,
        ip,
        seed,
    ]


class Cluster:
    """All members of one kind."""

    def __init__(self, network: Network, kind: str, *, serf: str) -> None:
        self._network, self._kind, self._serf = network, kind, serf
        self.members: dict[int, Member] = {}
        for number in network.hosts:
            self.start(number)

    def start(self, number: int) -> None:
        host = self._network[number]
        seed = self._network[1 if number != 1 or not self.members else 2].ip
        command = command_of(self._kind, host.name, host.ip, seed, serf=self._serf)
        process = host.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        member = self.members[number] = Member(host.name, host, process)
        threading.Thread(target=member.listen, daemon=True).start()

    def settle(self) -> None:
        """Until everyone has seen everyone join."""
        names = {member.name for member in self.members.values()}

        def is_whole() -> bool:
            return all(
                ("joined", name) in member.said
                and member.said["joined", name] > member.said.get(("dead", name), 0)
                for member in self.members.values()
                for name in names - {member.name}
            )

        wait_until(is_whole, seconds=SETTLE_SECONDS)

    def kill(self, number: int) -> float:
        """Seconds until all others said that it is dead."""
        victim = self.members[number]
        others = [member for member in self.members.values() if member is not victim]
        for member in others:
            member.said.pop(("dead", victim.name), None)
        began = time.monotonic()
        os.kill(victim.pid, signal.SIGKILL)
        wait_until(
            lambda: all(("dead", victim.name) in member.said for member in others), seconds=KNOWN_SECONDS
        )
        victim.process.wait()
        return max(member.said["dead", victim.name] for member in others) - began

    def usage(self) -> list[tuple[float, int, int]]:
        """CPU seconds, bytes sent and resident bytes of each member."""
        return [usage_of(member.pid) for member in self.members.values()]

    def stop(self) -> None:
        for member in self.members.values():
            if member.process.poll() is None:
                os.kill(member.pid, signal.SIGKILL)
                member.process.wait()


def usage_of(pid: int) -> tuple[float, int, int]:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu = (int(fields[11]) + int(fields[12])) / TICKS
    sent = next(
        int(line.split(":")[1].split()[8])
        for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines()
        if line.strip().startswith("eth0:")
    )
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return cpu, sent, resident


def wait_until(condition: Callable[[], bool], *, seconds: float) -> None:
    """Look every 5 ms; raises `TimeoutError`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(0.005)


def measure(network: Network, kind: str, *, kills: int, idle: float, serf: str) -> dict[str, object]:
    random = Random(kind)
    cluster = Cluster(network, kind, serf=serf)
    try:
        took = []
        if kind != "nothing":
            cluster.settle()
        time.sleep(5)
        before, began = cluster.usage(), time.monotonic()
        time.sleep(idle)
        after, elapsed = cluster.usage(), time.monotonic() - began
        for _ in range(0 if kind == "nothing" else kills):
            number = random.choice(list(cluster.members))
            took.append(cluster.kill(number))
            cluster.start(number)
            cluster.settle()
            time.sleep(random.uniform(1, 3))
        return result(kind, sorted(took), before, after, elapsed)
    finally:
        cluster.stop()


def result(
    kind: str,
    took: list[float],
    before: list[tuple[float, int, int]],
    after: list[tuple[float, int, int]],
    elapsed: float,
) -> dict[str, object]:
    count = len(after)
    cpu = sum(late[0] - early[0] for early, late in zip(before, after, strict=True)) / count / elapsed
    sent = [(late[1] - early[1]) / elapsed for early, late in zip(before, after, strict=True)]
    known = {}
    if took:
        known = {
            "kills": len(took),
            "kill_known_everywhere_p50_seconds": round(took[len(took) // 2], 2),
            "kill_known_everywhere_p99_seconds": round(took[min(len(took) - 1, int(len(took) * 0.99))], 2),
        }
    return {
        "kind": kind,
        "members": count,
        **known,
        "idle_bytes_sent_per_second": round(sum(sent) / count),
        "idle_cpu_percent_of_a_core": round(cpu * 100, 3),
        "resident_mib": round(sum(late[2] for late in after) / count / (1 << 20), 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--idle", type=float, default=60.0, help="seconds in which nothing happens")
    parser.add_argument("--kinds", default="nothing,gossip,serf,kinship")
    parser.add_argument("--serf", default=shutil.which("serf") or "", help="the program serf")
    given = parser.parse_args()
    for kind in given.kinds.split(","):
        if (kind == "serf" and not given.serf) or (kind == "kinship" and not importlib.util.find_spec(kind)):
            print(json.dumps({"kind": kind, "left_out": "not installed"}), flush=True)
            continue
        with Network(given.members) as network:
            measured = measure(network, kind, kills=given.kills, idle=given.idle, serf=given.serf)
        print(json.dumps(measured), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
