"""Plant every bug of the lists in a copy of the sources and see its test turn red: `python -m tests.mutants.run`.

    python -m tests.mutants.run                 all lists
    python -m tests.mutants.run gossip          one list
    python -m tests.mutants.run gossip "gossip 7"   of one line of the checklist

The tree itself is never changed. Ends with 1 if a bug went unnoticed, or if a test is red without one.
"""

import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import tests.mutants
from tests.mutants.mutant import CannotPlant, Mutant

ROOT = Path(__file__).resolve().parent.parent.parent
COPIED = ("gossip", "replicated_queue", "builders", "pinode", "tests", "benchmarks", "docs", "examples")
FILES = ("pyproject.toml", "cluster.toml")
TEST_SECONDS = 120.0
SECONDS_A_TEST = 10.0  # of all that are run together first, on a machine that has other things to do
GREEN, RED = 0, 1  # what pytest ends with; anything else is no verdict


def lists() -> dict[str, tuple[Mutant, ...]]:
    """All lists by name: the modules of this folder that have `MUTANTS`."""
    names = [module.name for module in pkgutil.iter_modules(tests.mutants.__path__)]
    found = {}
    for name in names:
        if name in ("run", "mutant") or name.startswith("test_"):
            continue
        found[name] = importlib.import_module(f"tests.mutants.{name}").MUTANTS
    return found


def copy_sources(into: Path) -> None:
    """What the tests need of the repository."""
    leave_out = shutil.ignore_patterns("__pycache__", ".hypothesis")
    for folder in COPIED:
        if (ROOT / folder).exists():
            shutil.copytree(ROOT / folder, into / folder, ignore=leave_out)
    for file in FILES:
        shutil.copy(ROOT / file, into / file)


def run_tests(
    tests_: Sequence[str], *, root: Path, seconds: float = TEST_SECONDS, tells: bool = False
) -> int:
    """What pytest ended with; a test that hangs is red. `tells`: print what a red one says."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests_]
    # Without byte code: a bug of the same size planted in the same second would be taken for the original.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        if tells:
            print(f"not done after {seconds:.0f} s")
        return RED
    if done.returncode not in (GREEN, RED) or (tells and done.returncode == RED):
        print(done.stdout.decode(errors="replace")[-2000:])
    return done.returncode


def try_one(mutant: Mutant, *, root: Path) -> str:
    """Plant one bug, run its test, take the bug out again; "" if it was noticed, else what is wrong."""
    file = root / mutant.file
    source = file.read_text()
    try:
        file.write_text(mutant.planted_in(source))
        outcome = run_tests(mutant.test.split(), root=root)
    except CannotPlant as error:
        return str(error)
    finally:
        file.write_text(source)
    if outcome == GREEN:
        return f"went unnoticed by {mutant.test}"
    return "" if outcome == RED else f"no verdict: pytest ended with {outcome}"


def main(arguments: Sequence[str]) -> int:
    wanted_list, wanted_line = [*arguments, "", ""][:2]
    chosen = [
        mutant
        for name, mutants in lists().items()
        for mutant in mutants
        if wanted_list in ("", name) and wanted_line in ("", mutant.line)
    ]
    if not chosen:
        print(f"no such mutants; the lists are {', '.join(lists())}")
        return 2
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        root = Path(folder)
        copy_sources(root)
        every_test = sorted({test for mutant in chosen for test in mutant.test.split()})
        seconds = max(TEST_SECONDS, SECONDS_A_TEST * len(every_test))
        if run_tests(every_test, root=root, seconds=seconds, tells=True) != GREEN:
            print("a test is red without any bug: nothing can be judged")
            return 1
        unnoticed = 0
        for mutant in chosen:
            began = time.monotonic()
            wrong = try_one(mutant, root=root)
            unnoticed += bool(wrong)
            verdict = wrong or "caught"
            print(f"{mutant.line:12} {time.monotonic() - began:5.1f} s  {mutant.what}: {verdict}", flush=True)
    print(f"{len(chosen)} planted, {len(chosen) - unnoticed} caught")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
