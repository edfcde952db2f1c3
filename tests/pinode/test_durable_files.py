"""Files that are whole after a power cut."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pinode.peers.durable_files import write_durably
from pinode.peers.founding_store import write_to_the_end
from tests.waiting import eventually


async def test_who_is_cancelled_while_writing_leaves_only_when_the_file_is_written(tmp_path: Path) -> None:
    file = tmp_path / "promise"
    begun, go_on = threading.Event(), threading.Event()

    def write_slowly(content: bytes) -> None:
        begun.set()
        assert go_on.wait(20)
        write_durably(file, content)

    caller = asyncio.create_task(write_to_the_end(write_slowly, b"older"))
    await eventually(begun.is_set)
    caller.cancel()
    await asyncio.wait((caller,), timeout=0.05)
    left_early = caller.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller

    assert not left_early
    assert file.read_bytes() == b"older"


def test_a_durable_write_leaves_no_draft_and_keeps_to_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "secret"

    write_durably(file, b"first")
    write_durably(file, b"second", mode=0o640)

    assert file.read_bytes() == b"second"
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]
    assert file.stat().st_mode & 0o777 == 0o640
    with pytest.raises(FileExistsError):
        write_durably(file, b"third", replace=False)


def test_a_write_for_which_there_is_no_room_leaves_the_old_content_and_no_draft(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    write_durably(file, b"first")
    program = (
        "import pathlib, sys\nfrom pinode.peers.durable_files import write_durably\n"
        "write_durably(pathlib.Path(sys.argv[1]), b'second')"
    )

    ended = subprocess.run(
        ["sh", "-c", 'ulimit -f 0; exec "$0" -B -c "$1" "$2"', sys.executable, program, str(file)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert "OSError: [Errno 27] File too large" in ended.stderr
    assert file.read_bytes() == b"first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]
