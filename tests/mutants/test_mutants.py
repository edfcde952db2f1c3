"""The lists keep up with the sources; whether the bugs are caught is `make mutants`."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.mutants.bounded import Bounds, run_bounded
from tests.mutants.mutant import CannotPlant, Mutant
from tests.mutants.run import ROOT, Verdict, lists, run_healthy, try_one, worst_of

MUTANTS = [mutant for mutants in lists().values() for mutant in mutants]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.line}: {mutant.what}")
def test_every_mutant_can_still_be_planted_and_its_test_exists(mutant: Mutant) -> None:
    source = (ROOT / mutant.file).read_text()

    planted = mutant.planted_in(source)

    assert planted != source
    if mutant.file.endswith(".py"):
        compile(planted, mutant.file, "exec")
    assert mutant.test_is_written_in(ROOT)


def small_project(folder: Path) -> Path:
    (folder / "adding.py").write_text("def add(a, b):\n    return a + b\n")
    (folder / "test_adding.py").write_text(
        "import pytest\n"
        "from adding import add\n\n\ndef test_sum():\n    assert add(2, 3) == 5\n\n\n"
        "def test_zero():\n    assert add(0, 0) == 0\n\n\n"
        "def test_red():\n    assert add(0, 0) == 1\n\n\n"
        "def test_skipped():\n    pytest.skip('not here')\n"
    )
    return folder


def verdict_of(root: Path, *, old: str = "a + b", new: str = "a - b", test: str = "test_sum") -> Verdict:
    name = f"test_adding.py::{test}"
    mutant = Mutant(line="adding 1", what="subtracts", file="adding.py", old=old, new=new, test=name)
    return try_one(mutant, root=root, healthy=run_healthy([name], root=root))


def test_a_bug_is_caught_by_its_test_and_taken_out_again(tmp_path: Path) -> None:
    root = small_project(tmp_path)
    before = (root / "adding.py").read_text()

    verdict = verdict_of(root)

    assert verdict.is_caught
    assert (root / "adding.py").read_text() == before


def test_a_bug_that_its_test_does_not_see_is_reported(tmp_path: Path) -> None:
    verdict = verdict_of(small_project(tmp_path), test="test_zero")

    assert not verdict.is_caught
    assert "unnoticed" in verdict.why


@pytest.mark.parametrize(
    ("test", "outcome"), [("test_red", "failed"), ("test_skipped", "skipped"), ("test_gone", "failed")]
)
def test_a_test_that_is_not_green_without_the_bug_catches_none(
    tmp_path: Path, test: str, outcome: str
) -> None:
    verdict = verdict_of(small_project(tmp_path), test=test)

    assert not verdict.is_caught
    assert verdict.why.endswith(outcome)


def test_a_bug_whose_text_is_gone_or_that_does_not_compile_is_no_success(tmp_path: Path) -> None:
    root = small_project(tmp_path)

    with pytest.raises(CannotPlant):
        Mutant(line="", what="", file="", old="a * b", new="", test="").planted_in("return a + b")

    assert "not once" in verdict_of(root, old="a * b").why
    assert "no verdict" in verdict_of(root, new="a ! b").why


def test_a_test_that_was_cut_off_without_the_bug_did_not_pass() -> None:
    setup, call, teardown = ({"when": when, "outcome": "passed"} for when in ("setup", "call", "teardown"))

    assert worst_of([setup, call, teardown]) == "passed"
    assert worst_of([setup]) == worst_of([setup, call]) == worst_of([]) == "failed"


def bounded(code: str, folder: Path, **bounds: float) -> str:
    command = [sys.executable, "-c", code]
    limits = Bounds(**{"seconds": 30.0, **bounds})  # type: ignore[arg-type]
    return run_bounded(command, folder=folder, environment=os.environ, bounds=limits).past


@pytest.mark.parametrize(
    ("code", "bounds", "past"),
    [
        ("import signal; signal.pause()", {"seconds": 1.0}, "1 s"),
        (
            "import os, signal; f = open(os.environ['TMPDIR'] + '/x', 'wb'); f.write(bytes(3_000_000)); f.flush(); "
            "signal.pause()",
            {"disk_bytes": 2_000_000},
            "2000000 bytes of disk",
        ),
        (
            "import os, signal; os.fork(); x = bytearray(b'x') * 60_000_000; signal.pause()",
            {"memory_bytes": 100_000_000},
            "100000000 bytes of memory",
        ),
    ],
)  # fmt: skip
def test_what_hangs_or_fills_the_disk_or_the_memory_is_ended(
    tmp_path: Path, code: str, bounds: dict[str, float], past: str
) -> None:
    assert bounded(code, tmp_path, **bounds) == past


def test_what_a_command_left_behind_is_ended_too(tmp_path: Path) -> None:
    pause = [sys.executable, "-c", "import signal; signal.pause()"]
    leaves_one = (
        f"import subprocess; left = subprocess.Popen({pause!r}, start_new_session=True); "
        f"open({str(tmp_path / 'left')!r}, 'w').write(str(left.pid))"
    )
    # In a process of its own: whoever adopts orphans does so until it ends.
    runs_it = (
        "import os, pathlib; from tests.mutants.bounded import Bounds, adopt_orphans, run_bounded; adopt_orphans(); "
        f"run_bounded({[sys.executable, '-c', leaves_one]!r}, folder=pathlib.Path('/'), environment=os.environ, "
        "bounds=Bounds(seconds=30))"
    )

    subprocess.run([sys.executable, "-c", runs_it], cwd=ROOT, check=True, timeout=60)

    assert not psutil.pid_exists(int((tmp_path / "left").read_text()))
