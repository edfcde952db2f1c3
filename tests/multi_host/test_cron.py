"""Real nodes whose clock the test sets: what is due runs once in the cluster, also while its leader dies."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pinode.cli.demo_source import served
from pinode.cli.target import app_path
from tests.multi_host.three_nodes import TINY_APP, Nodes, make_repository

pytestmark = pytest.mark.multi_host

CRON = [
    {"schedule": "30 12 1 6 *", "command": 'echo "noon on $PINODE_NODE"'},
    {"schedule": "0 18 1 6 *", "command": 'echo "evening on $PINODE_NODE"; exit 3'},
]


class Clock:
    """The wall clock of all nodes, ahead of this machine's."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def set_to(self, text: str) -> None:
        moment = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
        draft = self.file.with_suffix(".new")
        draft.write_text(str(moment - time.time()))
        draft.replace(self.file)


class NodesWithOwnClock(Nodes):
    """Their clock is not synchronised until it is set."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.clock = Clock(folder / "clock")

    def start(self) -> None:
        root = Path(__file__).parent.parent.parent
        for node in self.nodes:
            words = ["-m", "tests.multi_host.node_with_own_clock", f"{node.folder}/cluster.toml"]
            with (node.folder / "node.log").open("ab") as log:
                node.process = subprocess.Popen(
                    [sys.executable, *words, str(self.clock.file)],
                    cwd=root,
                    env={name: text for name, text in os.environ.items() if not name.startswith("PINODE_")},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        self.until(self.leader, seconds=60, what="a leader")

    def entries(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.alive[0].client().items(app_path("tiny", "cron"))
        return found

    def ended(self, entry: int) -> dict[str, Any] | None:
        runs = self.entries()[entry]["runs"]
        return runs[0] if runs and runs[0]["state"] == "ended" else None

    def log(self) -> str:
        return "\n".join(self.alive[0].client().lines(app_path("tiny", "logs"), lines=100))


@contextlib.contextmanager
def nodes_with_own_clock() -> Iterator[NodesWithOwnClock]:
    folder = Path(tempfile.mkdtemp(prefix="pinode-test-", dir="/var/tmp"))
    nodes = NodesWithOwnClock(folder)
    try:
        nodes.start()
        nodes.register_admin()
        yield nodes
    finally:
        nodes.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_what_is_due_waits_for_a_clock_and_then_runs_once_also_while_its_leader_dies(tmp_path: Path) -> None:
    files = {**TINY_APP, "app.json": json.dumps({"cron": CRON})}
    make_repository(tmp_path / "tiny", files)
    with served(tmp_path) as base, nodes_with_own_clock() as nodes:
        nodes.deploy("tiny", f"{base}/tiny")
        leader = nodes.leader()

        nodes.until(
            lambda: any("cron waits" in said for said in nodes.status(leader)["warnings"]),
            seconds=40,
            what="the leader says that cron waits",
        )
        assert [entry["state"] for entry in nodes.entries()] == ["waits_for_clock"] * 2

        nodes.clock.set_to("2031-06-01 12:29:58")
        noon = nodes.until(lambda: nodes.ended(0), seconds=40, what="the run at noon ended")
        assert (noon["for_minute"], noon["exit_code"]) == ("2031-06-01T12:30:00Z", 0)
        assert nodes.log().count("noon on") == 1

        nodes.clock.set_to("2031-06-01 17:59:59")
        nodes.kill(leader)
        evening = nodes.until(lambda: nodes.ended(1), seconds=60, what="the run in the evening ended")
        assert (evening["for_minute"], evening["exit_code"]) == ("2031-06-01T18:00:00Z", 3)
        assert [len(entry["runs"]) for entry in nodes.entries()] == [1, 1]
        assert nodes.log().count("evening on") == 1
