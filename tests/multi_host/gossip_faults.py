"""Gossip alone under real faults: `python -m tests.multi_host.gossip_faults [--members 16] [--seconds 60] [--apart 60]`.

Every member is a `python -m gossip` on a little host of its own; all frames pass through `tests.multi_host.air`. What the
members believe is read from what they print. Root only. The tests run the same scenarios with fewer members, for shorter.
"""

import argparse
import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.multi_host.air import Air
from tests.multi_host.network import Host
from tests.waiting import until

SOURCES = Path(__file__).parents[2]
PORT = 7400
ROW = re.compile(r"^(\S+) +(alive|suspect|dead|left) +(\S+) +(\d+\.\d+)")
CHANGE = re.compile(r"member (joined|is alive again|suspected|died|left) name=(\S+)")
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
LOOK_SECONDS = 0.2  # how often a member prints its table

Table = dict[str, tuple[str, str, str]]  # name -> state, address, run and incarnation


@dataclass(slots=True)
class Member:
    """One process, its newest table, and every change it told of, with the time."""

    name: str
    host: Host
    process: subprocess.Popen[bytes]
    table: Table = field(default_factory=dict)
    changes: list[tuple[float, str, str]] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """Of the program itself, seen from here: nsenter's only child."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def listen(self) -> None:
        assert self.process.stdout
        growing: Table = {}
        for raw in self.process.stdout:
            line = raw.decode(errors="replace")
            if change := CHANGE.search(line):
                self.changes.append((time.monotonic(), change[1], change[2]))
            elif line.startswith("member  "):
                growing = {}
            elif row := ROW.match(line):
                growing[row[1]] = (row[2], row[3], row[4])
            elif line.startswith("sent "):
                self.table = growing

    def count(self, what: str, *, since: float = 0.0) -> int:
        return sum(told == what for at, told, _ in self.changes if at >= since)


class Members:
    """All of them, on one channel."""

    def __init__(self, air: Air) -> None:
        self.air = air
        self.clock = air.folder / "clock"
        self.clock.write_text("+0")
        key = air.folder / "key"
        key.write_bytes(base64.b64encode(b"k" * 32))
        seeds = [word for number in (1, 2) for word in ("--join", f"{air[number].ip}:{PORT}")]
        environment = {"PYTHONPATH": str(SOURCES), "PYTHONUNBUFFERED": "1"}
        if Path(FAKETIME).exists():
            environment |= {
                "LD_PRELOAD": FAKETIME,
                "FAKETIME_TIMESTAMP_FILE": str(self.clock),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        self.environment = [f"{name}={value}" for name, value in environment.items()]
        self.all: list[Member] = []
        for host in air.hosts.values():
            words = ["--bind", f"{host.ip}:{PORT}", "--name", host.name, "--key-file", str(key), *seeds]
            words += ["--every", str(LOOK_SECONDS)]
            process = host.start(
                ["env", *self.environment, sys.executable, "-m", "gossip", *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            member = Member(host.name, host, process)
            self.all.append(member)
            threading.Thread(target=member.listen, daemon=True).start()

    def __getitem__(self, number: int) -> Member:
        return self.all[number - 1]

    def are_one(self) -> bool:
        """Everyone holds the same about everyone, and everyone for alive."""
        first = self[1].table
        return (
            len(first) == len(self.all)
            and {row[0] for row in first.values()} == {"alive"}
            and all(member.table == first for member in self.all)
        )

    def settle(self) -> float:
        """Seconds until all tables are equal and all are alive."""
        began = time.monotonic()
        self.wait(self.are_one, 90, "equal tables")
        return time.monotonic() - began

    def wait(self, condition: Callable[[], bool], seconds: float, saying: str) -> None:
        until(condition, within_seconds=seconds, saying=saying, describe=self.describe)

    def describe(self) -> str:
        return "\n".join(f"{one.name}: {one.table}" for one in self.all)

    def deaths(self, since: float) -> int:
        return sum(member.count("died", since=since) for member in self.all)

    def last(self, seconds: float) -> None:
        """Let time pass, until somebody died."""
        began = time.monotonic()
        ended = began + seconds
        self.wait(lambda: time.monotonic() >= ended or self.deaths(began) > 0, seconds + 5, "the end")

    def stop(self) -> None:
        for member in self.all:
            if member.process.poll() is None:
                with contextlib.suppress(ProcessLookupError, IndexError, FileNotFoundError):
                    os.kill(member.pid, signal.SIGKILL)
                member.process.wait()


@contextlib.contextmanager
def members(count: int) -> Iterator[Members]:
    with Air(count) as air:
        made = Members(air)
        try:
            made.settle()
            yield made
        finally:
            made.stop()


def one_way_cut(cluster: Members, seconds: float) -> dict[str, object]:
    began = time.monotonic()
    cluster.air.cut_one_way([1], [2])
    cluster.last(seconds)
    cluster.air.heal()
    return {"deaths": cluster.deaths(began), "equal_again_seconds": round(cluster.settle(), 1)}


def lost_frames(cluster: Members, seconds: float) -> dict[str, object]:
    began = time.monotonic()
    cluster.air.loss = 0.2
    cluster.last(seconds)
    cluster.air.heal()
    return {"deaths": cluster.deaths(began), "equal_again_seconds": round(cluster.settle(), 1)}


def stalled_radio(cluster: Members, seconds: float) -> dict[str, object]:
    """Again and again a host's frames come 300 ms late, all at once."""
    random, began, stalls = Random(1), time.monotonic(), 0
    while time.monotonic() < began + seconds:
        cluster.air.stall(random.randint(1, len(cluster.all)), 0.3)
        stalls += 1
        cluster.last(random.uniform(0.1, 0.5))
    return {
        "stalls": stalls,
        "deaths": cluster.deaths(began),
        "equal_again_seconds": round(cluster.settle(), 1),
    }


def halves_apart(cluster: Members, seconds: float) -> dict[str, object]:
    numbers = list(cluster.air.hosts)
    half = len(numbers) // 2
    ended = time.monotonic() + seconds
    cluster.air.partition(numbers[:half], numbers[half:])

    def are_apart() -> bool:
        return all(
            cluster[a].table[cluster[b].name][0] == cluster[b].table[cluster[a].name][0] == "dead"
            for a in numbers[:half]
            for b in numbers[half:]
        )

    cluster.wait(are_apart, 60, "each half holds the other for dead")
    cluster.wait(lambda: time.monotonic() >= ended, seconds + 5, "the end")
    cluster.air.heal()
    return {"apart_seconds": seconds, "equal_again_seconds": round(cluster.settle(), 1)}


def stopped_process(cluster: Members, number: int) -> dict[str, object]:
    """A process that stands still for five seconds: when it is back in every view, and whom it accused."""
    member, others = cluster[number], [one for one in cluster.all if one is not cluster[number]]
    os.kill(member.pid, signal.SIGSTOP)
    stopped = time.monotonic()
    cluster.wait(lambda: time.monotonic() >= stopped + 5, 10, "five seconds")
    believed_dead = sum(one.table[member.name][0] == "dead" for one in others)
    os.kill(member.pid, signal.SIGCONT)
    os.kill(member.process.pid, signal.SIGCONT)  # nsenter stops when its child is stopped
    began = time.monotonic()
    cluster.wait(lambda: all(one.table[member.name][0] == "alive" for one in others), 30, "it is back")
    back = time.monotonic() - began
    cluster.settle()
    accused = member.count("suspected", since=stopped) + member.count("died", since=stopped)
    return {"believed_dead_by": believed_dead, "back_seconds": round(back, 2), "accused": accused}


def wall_clock(cluster: Members, seconds: float) -> dict[str, object]:
    """The wall clock goes a day ahead, then to 1970, while all run."""
    if not Path(FAKETIME).exists():
        return {"left_out": "Debian's package faketime is not installed"}
    began, tables, seen = time.monotonic(), cluster[1].table, []
    for clock in ("+1d", "@1970-01-02 00:00:00"):
        cluster.clock.write_text(clock)
        ask = ["env", *cluster.environment, sys.executable, "-c", "import time; print(time.time())"]
        seen.append(round((float(cluster[1].host.run(ask).stdout) - time.time()) / 86_400, 1))
        cluster.last(seconds / 2)
    changes = sum(at >= began for one in cluster.all for at, _, _ in one.changes)
    same = cluster[1].table == tables
    noticed = stopped_process(cluster, 2)
    cluster.clock.write_text("+0")
    return {"clock_off_by_days": seen, "changes": changes, "tables_as_before": same, "in_1970": noticed}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each kind of bad network")
    parser.add_argument("--apart", type=float, default=60.0, help="seconds that the halves are apart")
    given = parser.parse_args()
    with members(given.members) as cluster:
        for name, measured in (
            ("one direction cut", lambda: one_way_cut(cluster, given.seconds)),
            ("a fifth of all frames lost", lambda: lost_frames(cluster, given.seconds)),
            ("stalls of 300 ms", lambda: stalled_radio(cluster, given.seconds)),
            ("wall clock +1 day, then 1970", lambda: wall_clock(cluster, given.seconds)),
            ("stopped for 5 s", lambda: stopped_process(cluster, 3)),
            ("stopped for 5 s", lambda: stopped_process(cluster, given.members)),
            ("two halves", lambda: halves_apart(cluster, given.apart)),
        ):
            print(json.dumps({"fault": name, "members": given.members, **measured()}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
