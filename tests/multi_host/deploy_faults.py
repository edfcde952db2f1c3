"""Nodes killed at random moments of deploys, under requests: exactly one release each, and the app never stops.

    python -m tests.multi_host.deploy_faults [--rounds 20] [--victims builder leader holder] [--seed N]

Real processes on loopback. `builder` is the node that builds, `leader` the one that leads, `holder` the one that runs
the app's only dyno and holds its slug. A killed node process leaves its router and dynos running and is started again
as systemd would, so that every request through every router must be answered. Prints a line a round; exit code 1 when something was wrong.
"""

import argparse
import http.client
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from pinode.cli.build_commands import wait_for_release
from pinode.cli.demo_nodes import DemoNode
from pinode.cli.demo_source import served
from pinode.cli.invocation import Failure
from pinode.cli.target import app_path
from tests.multi_host.three_nodes import TINY_APP, Nodes, make_repository, running_nodes

APP = "blog"
VICTIMS = ("builder", "leader", "holder")
SPAN_SECONDS = 3.0  # of a deploy, in which the blow falls
DEPLOY_SECONDS = 180
RESTART_SECONDS = 0.5  # until systemd starts it again
PAUSE_SECONDS = 0.05  # between two requests of the visitor of one node


class Visitors:
    """One for each node, who asks the app there again and again; what was not answered with 200 is noted."""

    def __init__(self, nodes: Nodes) -> None:
        self.failures: Counter[str] = Counter()
        self.answers = 0
        self._port = nodes.port(APP)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._visit, args=(node,)) for node in nodes.nodes]

    @contextmanager
    def asking(self) -> Iterator["Visitors"]:
        """They ask while the block runs."""
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join(30)

    def _visit(self, node: DemoNode) -> None:
        while not self._over.wait(PAUSE_SECONDS):
            connection = http.client.HTTPConnection(node.host, self._port, timeout=30)
            try:
                connection.request("GET", "/")
                status = connection.getresponse().status
                self.answers += 1
                if status != 200:
                    self.failures[f"{status} through {node.name}"] += 1
            except (OSError, http.client.HTTPException) as error:
                self.failures[f"{type(error).__name__} through {node.name}"] += 1
            finally:
                connection.close()


class Faults:
    """The cluster, its app, and what is wrong so far."""

    def __init__(self, nodes: Nodes, repository: Path, random: Random) -> None:
        self.nodes, self.repository, self.random = nodes, repository, random
        self.wrong: list[str] = []
        self._changes = 0

    def round(self, kind: str) -> str:
        """One deploy with one blow; what happened, in a line."""
        before = self._versions()
        with Visitors(self.nodes).asking() as visitors:
            self._change()
            asked_at = time.monotonic()
            build = self.nodes.request_build(APP)
            victim = self._victim(kind, build)
            delay = self.random.uniform(0, SPAN_SECONDS)
            threading.Event().wait(max(0.0, asked_at + delay - time.monotonic()))
            self.nodes.kill(victim)
            struck = time.monotonic() - asked_at
            threading.Event().wait(RESTART_SECONDS)
            victim.start()
            outcome = self._outcome(build, victim)
            took = time.monotonic() - asked_at
            new = [version for version in self._versions(victim) if version not in before]
            self._until_well(victim, max(new, default=0))
        line = (
            f"{kind:<8} {victim.name} killed {struck:4.1f} s into build {build}: {outcome} after {took:5.1f} s, "
            f"releases {new}, {visitors.answers} answers, failures {dict(visitors.failures) or 'none'}"
        )
        if outcome != "live" or len(new) != 1 or visitors.failures:
            self.wrong.append(line)
        return line

    def _other(self, victim: DemoNode | None) -> DemoNode:
        """A node that knows what happened, as one that just started may not."""
        return next(node for node in self.nodes.alive if node is not victim)

    def _versions(self, victim: DemoNode | None = None) -> list[int]:
        found = self._other(victim).client().items(app_path(APP, "releases"))
        return [int(release["version"]) for release in found]

    def _change(self) -> None:
        self._changes += 1
        (self.repository / "app.py").write_text(f"{TINY_APP['app.py']}# {self._changes}\n")
        identity = ["-c", "user.name=test", "-c", "user.email=test@pinode.invalid"]
        subprocess.run(["git", *identity, "commit", "-qam", "change"], cwd=self.repository, check=True)

    def _victim(self, kind: str, build: int) -> DemoNode:
        if kind == "leader":
            return self.nodes.leader()
        if kind == "holder":
            return self.nodes.named(self.nodes.dynos(APP)[0]["node"])
        path = app_path(APP, "builds", str(build))
        name = self.nodes.until(
            lambda: self.nodes.alive[0].client().get(path)["node"], seconds=30, what="somebody builds"
        )
        return self.nodes.named(name)

    def _outcome(self, build: int, victim: DemoNode) -> str:
        try:
            wait_for_release(self._other(victim).client(), APP, build, within_seconds=DEPLOY_SECONDS)
        except Failure as failure:
            return f"FAILED ({failure})"
        return "live"

    def _until_well(self, victim: DemoNode, version: int) -> None:
        """All see all alive, and one dyno of the app is left, of this release."""
        for node in self.nodes.alive:
            self.nodes.until(
                lambda node=node: all(
                    entry["state"] == "alive" for entry in self.nodes.status(node)["nodes"]
                ),
                seconds=60, what=f"{node.name} sees {victim.name} again",
            )  # fmt: skip
            self.nodes.until(
                lambda node=node: [
                    (dyno["version"], dyno["state"]) for dyno in self.nodes.dynos(APP, through=node)
                ] == [(version, "up")],
                seconds=90, what=f"{node.name} knows of one dyno of v{version}",
            )  # fmt: skip


@contextmanager
def prepared(seed: int) -> Iterator[Faults]:
    """Three nodes with the app deployed once."""
    with tempfile.TemporaryDirectory(prefix="pinode-faults-") as folder, served(Path(folder)) as base:
        repository = make_repository(Path(folder) / "tiny", TINY_APP)
        with running_nodes() as nodes:
            nodes.deploy(APP, f"{base}/tiny")
            yield Faults(nodes, repository, Random(seed))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.multi_host.deploy_faults")
    parser.add_argument("--rounds", type=int, default=20, help="for each kind of victim")
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=list(VICTIMS))
    parser.add_argument("--seed", type=int, default=int(time.time()))
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    with prepared(asked.seed) as faults:
        for number in range(asked.rounds):
            for kind in asked.victims:
                print(f"{number + 1:>3} {faults.round(kind)}", flush=True)
    for line in faults.wrong:
        print(f"WRONG {line}")
    return 1 if faults.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
