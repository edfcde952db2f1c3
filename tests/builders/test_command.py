"""Children within bounds, and their whole tree gone at the end (checklist 4.1)."""

import asyncio
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from builders.command import Command, CommandBounds, run
from builders.errors import BoundHit
from tests.waiting import eventually


def command(
    code: str, *, wall: float = 20, silence: float = 20, output: int = 100_000, given: bytes = b""
) -> Command:
    bounds = CommandBounds(wall_seconds=wall, silence_seconds=silence, output_bytes=output)
    return Command(argv=[sys.executable, "-c", code], env={}, cwd="/", bounds=bounds, given=given)


async def run_and_hear(asked: Command) -> tuple[int, list[str]]:
    lines: list[str] = []
    return await run(asked, on_line=lines.append), lines


async def test_lines_arrive_and_the_exit_code_is_told() -> None:
    code, lines = await run_and_hear(
        command("import sys; print('one'); print('two', file=sys.stderr); sys.exit(3)")
    )

    assert code == 3
    assert sorted(lines) == ["one", "two"]


async def test_what_is_given_is_read() -> None:
    code, lines = await run_and_hear(
        command("import sys; print(len(sys.stdin.buffer.read()))", given=bytes(300_000))
    )

    assert (code, lines) == (0, ["300000"])


async def test_a_child_that_reads_nothing_of_what_it_is_given_still_ends() -> None:
    code, _ = await run_and_hear(command("print('no')", given=bytes(300_000)))

    assert code == 0


async def test_colours_progress_and_bytes_that_are_no_text_become_plain_lines() -> None:
    code = (
        r"import sys; sys.stdout.buffer.write(b'\x1b[31mred\x1b[0m\r50%\r100%\na\x07\xffb\n' + b'x' * 5000)"
    )

    _, lines = await run_and_hear(command(code))

    assert lines[:4] == ["red", "50%", "100%", "a\ufffdb"]
    assert "".join(lines[4:]) == "x" * 5000
    assert all(line.isprintable() for line in lines)


async def test_a_child_that_runs_too_long_is_ended() -> None:
    with pytest.raises(BoundHit) as hit:
        await run_and_hear(command("while True: print('.', flush=True)", wall=0.4, output=10**9))

    assert hit.value.bound == "wall"


async def test_a_child_that_says_nothing_is_ended() -> None:
    with pytest.raises(BoundHit) as hit:
        await run_and_hear(command("import signal; print('x', flush=True); signal.pause()", silence=0.4))

    assert hit.value.bound == "silence"


async def test_a_child_that_floods_its_log_is_ended() -> None:
    with pytest.raises(BoundHit) as hit:
        await run_and_hear(command("while True: print('x' * 1000)", output=50_000))

    assert hit.value.bound == "output"


async def test_a_watched_bound_ends_it_too() -> None:
    asked = command("import signal; signal.pause()")
    watched = Command(
        argv=asked.argv,
        env={},
        cwd="/",
        bounds=asked.bounds,
        watch=lambda pid: BoundHit("disk", f"process {pid} wrote too much"),
    )

    with pytest.raises(BoundHit, match="wrote too much"):
        await run_and_hear(watched)


@pytest.mark.parametrize("bound", ["wall", "silence", "output"])
async def test_a_bound_is_kept_while_somebody_still_looks_for_another(bound: str) -> None:
    looked_at_all, may_return = threading.Event(), threading.Event()

    def look(_pid: int) -> None:
        looked_at_all.set()
        may_return.wait()  # as on a slow card with many files

    code = "while True: print('x' * 1000)" if bound == "output" else "import signal; signal.pause()"
    seconds = {bound: 0.5} if bound != "output" else {}
    try:
        with pytest.raises(BoundHit) as hit:
            async with asyncio.timeout(20):
                await run_and_hear(replace(command(code, output=50_000, **seconds), watch=look))  # type: ignore[arg-type]
        assert looked_at_all.is_set()
        assert not may_return.is_set()
    finally:
        may_return.set()

    assert hit.value.bound == bound


FORKS = "import os, signal\nfor _ in range(3): os.fork()\nprint(os.getpid(), flush=True)\nsignal.pause()"


@pytest.mark.parametrize("ended_by", ["bound", "cancellation"])
async def test_everything_it_forked_is_gone_with_it(ended_by: str) -> None:
    lines: list[str] = []
    asked = command(FORKS, wall=1.0 if ended_by == "bound" else 30)
    running = asyncio.create_task(run(asked, on_line=lines.append))
    await eventually(lambda: len(lines) == 8)

    if ended_by == "cancellation":
        running.cancel()
    with pytest.raises((BoundHit, asyncio.CancelledError)):
        await running

    await eventually(lambda: not any(is_alive(int(line)) for line in lines))


async def test_a_daemon_that_a_step_leaves_behind_does_not_keep_it_open(tmp_path: Path) -> None:
    code = (
        "import os, signal\nready, say = os.pipe()\n"
        "if os.fork() == 0:\n    print(os.getpid(), flush=True)\n    os.write(say, b'x')\n    signal.pause()\n"
        "os.read(ready, 1)"
    )

    exit_code, lines = await run_and_hear(command(code))

    assert exit_code == 0
    await eventually(lambda: not is_alive(int(lines[0])))


async def test_a_program_that_is_not_there_is_an_error_of_the_system() -> None:
    bounds = CommandBounds(wall_seconds=1, silence_seconds=1, output_bytes=1)

    with pytest.raises(OSError):
        await run(Command(argv=["/no/such/program"], env={}, cwd="/", bounds=bounds), on_line=print)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_test_itself_sees_who_is_alive() -> None:
    assert is_alive(os.getpid())
    assert not is_alive(2**22 + 1)
