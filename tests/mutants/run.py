"""Plant every bug of the lists in a copy of the sources and see its test turn red: `python -m tests.mutants.run`.

    python -m tests.mutants.run                              all lists
    python -m tests.mutants.run --list gossip                one list; may be given several times
    python -m tests.mutants.run --line "gossip 7"            one line of a checklist
    python -m tests.mutants.run --record mutants.jsonl       go on where an earlier run with this file was stopped

First all tests are run without any bug: one that is red or skipped then can judge nothing, and how long each
takes bounds it later. Verdicts are kept by the text of the bug, of its file and of its test, so that a recorded
one is used again only where nothing has changed. The tree itself is never changed. Ends with 1 if a bug was not
caught.
"""

import argparse
import compileall
import hashlib
import importlib
import json
import os
import pkgutil
import py_compile
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import tests.mutants
from tests.mutants.bounded import Bounds, Ended, adopt_orphans, run_bounded
from tests.mutants.mutant import CannotPlant, Mutant
from tests.mutants.observer import REPORTS

ROOT = Path(__file__).resolve().parent.parent.parent
COPIED = ("gossip", "replicated_queue", "builders", "pinode", "tests", "benchmarks", "docs", "examples")
FILES = ("pyproject.toml", "cluster.toml")
NO_LISTS = ("run", "mutant", "bounded", "observer")
# Of pytest's plugins only those that our tests need: the others take a second to load, as many times as there are bugs.
PLUGINS = ("pytest_asyncio.plugin", "pytest_timeout", "_hypothesis_pytestplugin", "tests.mutants.observer")
SECONDS_TO_START = 20.0
TIMES_AS_LONG = 10.0  # as without the bug; only then a test hangs, on a machine that has other things to do
SECONDS_A_TEST = 120.0  # of all that are run together without a bug
GREEN, RED = 0, 1  # what pytest ends with; anything else is no verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthy:
    """How a test goes without any bug."""

    outcome: str  # "passed", "failed" or "skipped"
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one bug."""

    is_caught: bool
    why: str  # "caught", "caught: past 30 s", "went unnoticed by …": shown as it is
    seconds: float = 0.0


def lists() -> dict[str, tuple[Mutant, ...]]:
    """All lists by name: the modules of this folder that have `MUTANTS`."""
    names = [module.name for module in pkgutil.iter_modules(tests.mutants.__path__)]
    names = [name for name in names if name not in NO_LISTS and not name.startswith("test_")]
    return {name: importlib.import_module(f"tests.mutants.{name}").MUTANTS for name in names}


def copy_sources(into: Path) -> None:
    """What the tests need of the repository, compiled so that a source of other content is never taken for it."""
    leave_out = shutil.ignore_patterns("__pycache__", ".hypothesis")
    for folder in COPIED:
        if (ROOT / folder).exists():
            shutil.copytree(ROOT / folder, into / folder, ignore=leave_out)
    for file in FILES:
        shutil.copy(ROOT / file, into / file)
    compileall.compile_dir(into, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)


def run_tests(
    tests_: Iterable[str], *, root: Path, seconds: float, reports: Path, is_first: bool = False
) -> Ended:
    """Run tests with pytest in `root`; how each went stands in `reports`. `is_first`: all, whatever fails."""
    plugins = [word for plugin in PLUGINS for word in ("-p", plugin)]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugins, *tests_]
    environment = {
        **os.environ,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": f"{root}{os.pathsep}{ROOT}",  # for the processes that tests start elsewhere
        REPORTS: str(reports),
        # What Python compiles by itself it takes for the source's by time and size alone, and a bug may have both.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if not is_first:
        command.insert(4, "-x")
    return run_bounded(command, folder=root, environment=environment, bounds=Bounds(seconds=seconds))


def run_healthy(tests_: Sequence[str], *, root: Path) -> dict[str, Healthy]:
    """How each of the tests goes without any bug; of one with parameters the worst, and all their seconds."""
    if not tests_:
        return {}  # without a name pytest runs all there are
    with tempfile.NamedTemporaryFile(prefix="reports-") as file:
        seconds = SECONDS_TO_START + SECONDS_A_TEST * len(tests_)
        ended = run_tests(tests_, root=root, seconds=seconds, reports=Path(file.name), is_first=True)
        reports = [json.loads(line) for line in Path(file.name).read_text().splitlines()]
    found = {}
    for test in tests_:
        own = [
            report for report in reports if report["test"] == test or report["test"].startswith(f"{test}[")
        ]
        found[test] = Healthy(outcome=worst_of(own), seconds=sum(report["seconds"] for report in own))
    if ended.past or any(healthy.outcome == "failed" for healthy in found.values()):
        print(ended.output[-4000:])
        print(f"without any bug: ended past {ended.past}" if ended.past else "without any bug: tests are red")
    return found


def worst_of(reports: Sequence[Mapping[str, str]]) -> str:
    """The outcome of one test. One that was cut off, or never begun, failed."""
    outcomes = {report["outcome"] for report in reports}
    if "failed" in outcomes or not outcomes:
        return "failed"
    is_whole = reports[-1]["when"] == "teardown"
    return ("skipped" if "skipped" in outcomes else "passed") if is_whole else "failed"


def try_one(mutant: Mutant, *, root: Path, healthy: Mapping[str, Healthy]) -> Verdict:
    """Plant one bug, run its tests, take the bug out again."""
    tests_ = mutant.test.split()
    for test in tests_:
        if healthy[test].outcome != "passed":
            return Verdict(is_caught=False, why=f"without the bug too, {test} {healthy[test].outcome}")
    file = root / mutant.file
    source = file.read_text()
    began = time.monotonic()
    try:
        file.write_text(mutant.planted_in(source))
        seconds = SECONDS_TO_START + TIMES_AS_LONG * sum(healthy[test].seconds for test in tests_)
        ended = run_tests(tests_, root=root, seconds=seconds, reports=Path(os.devnull))
    except CannotPlant as error:
        return Verdict(is_caught=False, why=str(error))
    finally:
        file.write_text(source)
    took = time.monotonic() - began
    if ended.past:
        return Verdict(is_caught=True, why=f"caught: past {ended.past}", seconds=took)
    if ended.code == RED:
        return Verdict(is_caught=True, why="caught", seconds=took)
    if ended.code == GREEN:
        return Verdict(is_caught=False, why=f"went unnoticed by {mutant.test}", seconds=took)
    why = f"no verdict, pytest ended with {ended.code}: {ended.output[-2000:]}"
    return Verdict(is_caught=False, why=why, seconds=took)


def key_of(mutant: Mutant) -> str:
    """Changes with anything that the verdict depends on most: the bug, its file, the files of its tests."""
    files = [mutant.file, *(test.partition("::")[0] for test in mutant.test.split())]
    texts = [*astuple(mutant), *((ROOT / file).read_text() for file in files)]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def recorded(record: Path | None) -> set[str]:
    """The keys of all bugs that earlier runs caught."""
    if record is None or not record.exists():
        return set()
    return {json.loads(line)["key"] for line in record.read_text().splitlines()}


def asked(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.run", description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="append", choices=list(lists()), help="only this list")
    parser.add_argument("--line", help="only the bugs of this line of a checklist")
    parser.add_argument("--record", type=Path, help="skip what is caught by this file, and add to it")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    wanted = asked(arguments)
    chosen = [
        mutant
        for name, mutants in lists().items()
        for mutant in mutants
        if name in (wanted.list or [name]) and wanted.line in (None, mutant.line)
    ]
    if not chosen:
        print("no such bugs")
        return 2
    adopt_orphans()
    began = time.monotonic()
    known = recorded(wanted.record)
    left = [mutant for mutant in chosen if key_of(mutant) not in known]
    escaped, by_a_bound = [], 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        root = Path(folder)
        copy_sources(root)
        healthy = run_healthy(sorted({test for mutant in left for test in mutant.test.split()}), root=root)
        for number, mutant in enumerate(left, 1):
            verdict = try_one(mutant, root=root, healthy=healthy)
            if not verdict.is_caught:
                escaped.append(f"{mutant.line}: {mutant.what}: {verdict.why}")
            by_a_bound += verdict.why.startswith("caught: past")
            if verdict.is_caught and wanted.record is not None:
                with wanted.record.open("a") as file:
                    file.write(
                        json.dumps({"key": key_of(mutant), "line": mutant.line, "what": mutant.what}) + "\n"
                    )
            place = f"{number}/{len(left)}"
            print(
                f"{place:>7} {mutant.line:12} {verdict.seconds:5.1f} s  {mutant.what}: {verdict.why}",
                flush=True,
            )
    print(*escaped, sep="\n")
    seconds = time.monotonic() - began
    print(
        f"{len(chosen)} planted, {len(chosen) - len(escaped)} caught "
        f"({len(chosen) - len(left)} by an earlier run, {by_a_bound} by a bound), "
        f"{len(escaped)} not, in {seconds:.0f} s"
    )
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
