"""`pinode demo`, as `make run` starts it: an app answers on every node, and nothing is left when it ends."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.waiting import until

pytestmark = pytest.mark.multi_host


def processes_naming(folder: Path) -> list[str]:
    """Command lines of processes that name the folder, or that run as a dyno of an app of this demo."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (entry / "environ").read_bytes()
        except (OSError, NotADirectoryError):
            continue
        if entry.name != str(os.getpid()) and (str(folder) in command or DEMO_MARK in environment):
            found.append(command)
    return found


DEMO_MARK = b"PINODE_APP=hello\0"


# With one killed everything is there that a quiet end has, and more.
@pytest.mark.parametrize("killed", [pytest.param(False, marks=pytest.mark.soak), True])
def test_the_demo_answers_on_three_nodes_and_ctrl_c_leaves_no_process(tmp_path: Path, killed: bool) -> None:
    words = [sys.executable, "-P", "-m", "pinode", "demo", "--dir", str(tmp_path / "demo")]
    (tmp_path / "pinode").mkdir()  # as where somebody cloned the repository; it is not the program
    before = set(processes_naming(tmp_path))
    with (tmp_path / "talk").open("wb") as talk:
        process = subprocess.Popen(
            words,
            stdout=talk,
            stderr=talk,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd=tmp_path,
        )
    try:
        said = until(
            lambda: (
                "Ctrl-C stops everything" in (tmp_path / "talk").read_text()
                and (tmp_path / "talk").read_text()
            ),
            within_seconds=90,
            saying="the demo is up",
            describe=lambda: (tmp_path / "talk").read_text(),
        )
        urls = re.findall(r"app (http://\S+)", said)
        answers = [urllib.request.build_opener().open(url, timeout=10).read() for url in urls]
        assert len(answers) == 3
        assert all(b"Hello" in answer for answer in answers)
        if killed:  # its dyno and its router go on without it, and must be found at the end
            for line in Path("/proc").iterdir():
                command = line / "cmdline"
                if line.name.isdigit() and command.exists():
                    text = command.read_bytes()
                    if b"\0start\0" in text and str(tmp_path / "demo" / "n1").encode() in text:
                        os.kill(int(line.name), signal.SIGKILL)
            until(
                lambda: "n1 ended" in (tmp_path / "talk").read_text(),
                within_seconds=10,
                saying="the demo says that n1 ended",
            )
            again = [sys.executable, "-P", "-m", "pinode", "start", "--config"]
            subprocess.Popen(
                [*again, str(tmp_path / "demo" / "n1" / "cluster.toml")],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=tmp_path,
            )
            until(
                lambda: "n1 is back" in (tmp_path / "talk").read_text(),
                within_seconds=30,
                saying="the demo says that n1 is back",
                describe=lambda: (tmp_path / "talk").read_text(),
            )
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)

    until(
        lambda: set(processes_naming(tmp_path)) <= before,
        within_seconds=5,
        saying=f"nothing is left of {before}",
    )
