"""Hundreds of deploys into a small disk: all green, the disk bounded, the caches still warm.

    python -m tests.multi_host.many_deploys [--deploys 500] [--gib 2]

One real node whose data directory is a file system of its own (a loop mount, so it needs root). Each deploy changes the
code of a Flask app, and is asked for its answer. At the end another app with the same packages is built: it must find
them in the cache. Prints how full the disk is as it goes; exit code 1 when something was wrong.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pinode.cli.build_commands import wait_for_release
from pinode.cli.demo_source import served
from pinode.cli.invocation import Failure
from pinode.cli.target import app_path
from tests.multi_host.three_nodes import FLASK_APP, Nodes, make_repository, running_nodes
from tests.waiting import until

APP, SECOND_APP = "blog", "shop"
GIB = 1 << 30
TOLD_EVERY = 25
FETCHED = " Prepared "  # what uv says of packages that it had to fetch
DEPLOY_SECONDS = 180


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.multi_host.many_deploys")
    parser.add_argument("--deploys", type=int, default=500)
    parser.add_argument("--gib", type=float, default=2.0, help="size of the disk")
    asked = parser.parse_args()
    if os.geteuid():
        parser.error("a file system is mounted: run it as root")
    with (
        tempfile.TemporaryDirectory(prefix="pinode-many-") as folder,
        small_disk(Path(folder), int(asked.gib * GIB)) as disk,
        served(Path(folder) / "git") as base,
    ):
        repository = make_repository(Path(folder) / "git" / "flask", FLASK_APP)
        with running_nodes(1, below=disk) as nodes:
            return 0 if run(nodes, disk, repository, f"{base}/flask", asked.deploys) else 1


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """An empty ext4 of `size` bytes, mounted while the block runs."""
    image, at = folder / "disk.img", folder / "disk"
    at.mkdir()
    with image.open("wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, at], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", at], check=True)


def run(nodes: Nodes, disk: Path, repository: Path, url: str, deploys: int) -> bool:
    """Deploy again and again; whether all was well."""
    nodes.create(APP, url)
    seconds: list[float] = []
    fullest = 0
    for number in range(1, deploys + 1):
        began = time.perf_counter()
        try:
            deploy(nodes, APP, repository, f"# change {number}\n")
        except (AssertionError, Failure) as failed:
            print(f"deploy {number} failed: {failed}")
            return False
        seconds.append(time.perf_counter() - began)
        fullest = max(fullest, shutil.disk_usage(disk).used)
        if number == 1 or number % TOLD_EVERY == 0:
            median = statistics.median(seconds[-TOLD_EVERY:])
            print(
                f"{number:5} deploys  {fullest / GIB:5.2f} GiB used at the most  {median:5.2f} s a deploy",
                flush=True,
            )
    nodes.create(SECOND_APP, url)
    began = time.perf_counter()
    log = deploy(nodes, SECOND_APP, repository, "# another app\n")
    print(
        f"another app with the same packages: {time.perf_counter() - began:.2f} s; the first: {seconds[0]:.2f} s"
    )
    print(log)
    return roll_back(nodes)


def deploy(nodes: Nodes, app: str, repository: Path, change: str) -> str:
    """Change the code and deploy; the build's log. Raises `Failure` or `AssertionError`."""
    (repository / "app.py").write_text(FLASK_APP["app.py"] + change)
    identity = ["-c", "user.name=test", "-c", "user.email=test@pinode.invalid"]
    subprocess.run(["git", *identity, "commit", "-qam", "change"], cwd=repository, check=True)
    client = nodes.alive[0].client()
    build = wait_for_release(client, app, nodes.request_build(app), within_seconds=DEPLOY_SECONDS)
    wanted = f"v{build['version']}"
    until(
        lambda: nodes.get_at(nodes.alive[0].host, nodes.port(app))[1].endswith(wanted),
        within_seconds=20,
        saying=f"{wanted} answers",
    )
    return client.text(app_path(app, f"builds/{build['id']}/log"))


def roll_back(nodes: Nodes) -> bool:
    """Go back as far as is kept; whether that release answers."""
    client = nodes.alive[0].client()
    kept = [row for row in client.items(app_path(APP, "releases")) if row["state"] != "failed"]
    made = client.post(app_path(APP, "releases"), {"rollback_to": kept[-1]["version"]})
    print(f"rollback to v{kept[-1]['version']}, the oldest of {len(kept)} that are kept")
    until(
        lambda: nodes.get_at(nodes.alive[0].host, nodes.port(APP))[1].endswith(f"v{made['version']}"),
        within_seconds=60,
        saying="what was rolled back to answers",
    )
    return True


if __name__ == "__main__":
    sys.exit(main())
