"""Builds as children of a node: inside their walls, within their bounds, gone when they end (checklists
4.1, 5.9).
"""

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from builders.request import Bounds, BuildFailure, BuildResult, Outcome
from pinode.deploy.build_machine import BuildMachine, find_build_machine
from pinode.deploy.build_process import GRACE_SECONDS, BuildOrder, read_outcome, run_build, slug_path
from pinode.sandbox.leftovers import remove_folder
from pinode.sandbox.sandbox import Isolation, find_isolation
from tests.builders.repositories import hostile_project, make_repository
from tests.waiting import eventually

BOUNDS = Bounds(wall_seconds=60, silence_seconds=30)
# Says on which line it is, so that a test can wait for it; `mark` names its processes on this system.
FORKS = """
import os, signal, sys
for detach in (False, True):
    if os.fork() == 0:
        if detach:
            os.setsid()
        signal.pause()
print('RUNNING', flush=True)
signal.pause()
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> BuildMachine:
    return find_build_machine(
        find_isolation(required=True), data_dir=tmp_path_factory.mktemp("data"), homes_allowed=True
    )


def order(tmp_path: Path, files: dict[str, str | bytes], **fields: object) -> BuildOrder:
    repository = make_repository(tmp_path / "repository", files)
    values: dict[str, object] = {
        "app": "blog",
        "git_url": repository.url,
        "administrator": True,
        "folder": tmp_path / "builds" / "1",
        "shared_cache": tmp_path / "cache" / "shared",
        "own_cache": tmp_path / "cache" / "apps" / "blog",
        "bounds": BOUNDS,
        **fields,
    }
    return BuildOrder(**values)  # type: ignore[arg-type]


async def build(asked: BuildOrder, machine: BuildMachine) -> tuple[Outcome, str]:
    lines: list[str] = []
    outcome = await run_build(asked, machine, on_line=lines.append)
    return outcome, "\n".join(lines)


def processes_of(asked: BuildOrder) -> list[int]:
    """Processes that have this build's mark in their environment, whoever their parent is."""
    mark = f"PINODE_BUILD={asked.folder}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


PYTHON_APP: dict[str, str | bytes] = {
    "requirements.txt": "itsdangerous==2.2.0\n",
    "app.py": "print('hello')\n",
    "Procfile": "web: python app.py\n",
    ".python-version": "{}.{}".format(*sys.version_info[:2]),
}


async def test_the_same_commit_gives_the_same_slug_on_another_node_with_another_umask(
    tmp_path: Path, machine: BuildMachine
) -> None:
    """Other paths, another time, other permissions, a cold cache against a warm one (must show 5 of builds)."""
    first = order(tmp_path, PYTHON_APP)
    second = replace(
        first,
        folder=tmp_path / "another" / "node" / "with a longer path" / "builds" / "2",
        shared_cache=tmp_path / "other" / "shared",
        own_cache=tmp_path / "other" / "own",
    )
    again = replace(first, folder=tmp_path / "builds" / "3")

    one, log = await build(first, machine)
    mask = os.umask(0o027)
    try:
        two, _ = await build(second, machine)
    finally:
        os.umask(mask)
    three, _ = await build(again, machine)

    assert isinstance(one, BuildResult), log
    assert isinstance(two, BuildResult)
    assert isinstance(three, BuildResult)
    assert one.slug_sha256 == two.slug_sha256 == three.slug_sha256
    assert slug_path(first.folder).read_bytes() == slug_path(second.folder).read_bytes()
    remove_folder(first.folder)
    assert not first.folder.exists()


async def test_a_build_sees_nothing_of_the_node(tmp_path: Path, machine: BuildMachine) -> None:
    secret = tmp_path / "cluster.key"
    secret.write_text("secret of the cluster")
    secret.chmod(0o644)
    look = (
        "import os\n"
        f"print('SEEN', os.path.exists({str(secret)!r}), os.path.exists({str(tmp_path / 'cache')!r}),"
        f" os.listdir('/tmp'), len([d for d in os.listdir('/proc') if d.isdigit()]) < 12,"
        f" os.path.exists('/proc/{os.getpid()}/cmdline'), 'PINODE_NODE_DATA_DIR' in os.environ, 'PYTHONPATH' in os.environ)"
    )

    _, log = await build(order(tmp_path, hostile_project(look)), machine)

    seen = next(line for line in log.splitlines() if "SEEN" in line)
    below_tmp = seen[seen.index("[") + 1 : seen.index("]")]
    assert seen.startswith("       SEEN False False")
    assert seen.endswith("True False False False")
    assert tmp_path.name not in below_tmp


@pytest.mark.parametrize(
    ("code", "bounds", "bound"),
    [
        ("import signal; signal.pause()", Bounds(wall_seconds=60, silence_seconds=1.5), "silence"),
        ("while True: print('x', flush=True)", Bounds(wall_seconds=2.5, output_bytes=10**9), "wall"),
        ("while True: print('x' * 900, flush=True)", Bounds(output_bytes=20_000), "output"),
        ("f = open('big', 'wb')\nwhile True: f.write(bytes(1_000_000)); f.flush()",
         Bounds(disk_bytes=300_000_000), "disk"),
        ("import signal\nx = bytearray(400_000_000)\nsignal.pause()", Bounds(memory_bytes=300_000_000), "memory"),
        ("import mmap, signal\nx = mmap.mmap(-1, 400_000_000); x.write(bytes(400_000_000))\nsignal.pause()",
         Bounds(memory_bytes=300_000_000), "memory"),
        ("import os, signal\nwhile True:\n try:\n  if os.fork() == 0: signal.pause()\n except OSError: pass",
         Bounds(processes=60), "processes"),
        ("import os\nfor n in range(10**6):\n if n % 1000 == 0: os.mkdir(f'd{n}'); at = n\n open(f'd{at}/{n}', 'w').close()",
         Bounds(files=5_000), "files"),
        ("import os, signal\nfor n in range(300): open(f'/own/{n}', 'wb').write(bytes(5_000_000))\nsignal.pause()",
         Bounds(disk_bytes=300_000_000), "disk"),
    ],
)  # fmt: skip
async def test_a_build_past_a_bound_is_ended_and_says_which(
    tmp_path: Path, machine: BuildMachine, code: str, bounds: Bounds, bound: str
) -> None:
    asked = order(tmp_path, hostile_project(code), bounds=bounds)

    outcome, log = await build(asked, machine)

    assert isinstance(outcome, BuildFailure), log
    assert outcome.bound == bound, outcome
    assert outcome.hint
    assert not processes_of(asked)


async def test_a_builder_that_does_not_keep_its_bounds_is_ended_by_the_node_a_second_later(
    tmp_path: Path, machine: BuildMachine
) -> None:
    fetching, released = asyncio.Event(), asyncio.Event()

    async def never_answers(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fetching.set()
        await released.wait()
        writer.close()

    async with await asyncio.start_server(never_answers, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        asked = order(tmp_path, {}, git_url=f"http://127.0.0.1:{port}/x", bounds=Bounds(silence_seconds=5))
        outcome, _ = await build(asked, machine)
        released.set()

    assert fetching.is_set()
    assert isinstance(outcome, BuildFailure)
    assert outcome.bound == "silence"
    assert not processes_of(asked)
    # A killed tree ends in milliseconds, so two seconds after the bound it is gone.
    assert GRACE_SECONDS <= 1


@pytest.mark.parametrize("walls", [True, False])
async def test_a_cancelled_build_is_gone_with_all_it_forked_when_that_is_said(
    tmp_path: Path, machine: BuildMachine, walls: bool
) -> None:
    asked = order(tmp_path, hostile_project(FORKS))
    if not walls:
        machine = replace(machine, isolation=without_walls(machine.isolation), inner_bwrap="")
    lines: list[str] = []
    running = asyncio.create_task(run_build(asked, machine, on_line=lines.append))
    await eventually(lambda: any("RUNNING" in line for line in lines), within_seconds=20)
    assert len(processes_of(asked)) >= 4

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert not processes_of(asked)


async def test_without_walls_a_build_gives_a_slug_too(tmp_path: Path, machine: BuildMachine) -> None:
    bare = replace(machine, isolation=without_walls(machine.isolation), inner_bwrap="")

    outcome, log = await build(order(tmp_path, PYTHON_APP), bare)

    assert isinstance(outcome, BuildResult), log


async def test_where_inner_walls_are_not_possible_no_cache_is_shared(
    tmp_path: Path, machine: BuildMachine
) -> None:
    asked = order(tmp_path, hostile_project("open('/cache/planted', 'w')"))

    outcome, log = await build(asked, replace(machine, inner_bwrap=""))

    assert isinstance(outcome, BuildResult), log
    assert (asked.own_cache / "planted").exists()
    assert list(asked.shared_cache.iterdir()) == []


def without_walls(isolation: Isolation) -> Isolation:
    return replace(isolation, available=False, reason="switched off")


@pytest.mark.parametrize("left", ["nothing", "link", "lie", "folder"])
def test_what_a_build_leaves_as_its_result_is_not_believed(tmp_path: Path, left: str) -> None:
    (tmp_path / "secret").write_text('{"ok": true}')
    result = tmp_path / "result.json"
    if left == "link":
        result.symlink_to(tmp_path / "secret")
    elif left == "lie":
        result.write_text('{"ok": true, "commit": "--x"}')
    elif left == "folder":
        result.mkdir()

    outcome = read_outcome(result, 0)

    assert isinstance(outcome, BuildFailure)
    assert "left no result" in outcome.message


async def test_an_apps_own_code_reaches_neither_the_shared_cache_nor_the_result_nor_the_builder(
    tmp_path: Path, machine: BuildMachine
) -> None:
    look = """
import os, subprocess
def tries(do):
    try:
        do()
        return True
    except OSError:
        return False
print('SEEN', tries(lambda: open('/cache/x', 'w')), os.listdir('/cache'), tries(lambda: open('/output/x', 'w')),
      os.listdir('/output'), tries(lambda: open('/own/x', 'w')), tries(lambda: open('/app/x', 'w')),
      tries(lambda: os.mkdir('/proc/1/root/cache/y')),
      subprocess.run(['umount', '/cache'], capture_output=True).returncode == 0,
      len([name for name in os.listdir('/proc') if name.isdigit()]))
"""

    asked = order(tmp_path, hostile_project(look))
    outcome, log = await build(asked, machine)

    seen = next(line for line in log.splitlines() if "SEEN" in line).partition("SEEN ")[2]
    assert seen.startswith("False [] False [] True True False False"), seen
    assert int(seen.rsplit(" ", 1)[1]) <= 3
    assert isinstance(outcome, BuildResult), log
    assert list((asked.shared_cache).iterdir()), "the tools keep something there"
