"""The page of the checklist names tests that exist, and the bugs that are planted."""

import re
from collections import Counter
from pathlib import Path

from tests.mutants.consensus import MUTANTS

ROOT = Path(__file__).parent.parent.parent
LINES = 46
ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)


def rows() -> list[tuple[str, str, str, str]]:
    return ROW.findall((ROOT / "docs/checklist_consensus.md").read_text())


def test_every_line_of_the_checklist_names_tests_that_exist_or_says_that_it_is_not_built() -> None:
    folders = (ROOT / "tests" / name for name in ("replicated_queue", "pinode", "gossip"))
    files = [file for folder in folders for file in folder.glob("test_*.py")]
    written = {name for file in files for name in re.findall(r"def test_(\w+)", file.read_text())}

    named = {int(line): set(re.findall(r"`(\w+)`", tests)) for line, _, tests, _ in rows()}
    unbuilt = {int(line) for line, _, _, bugs in rows() if bugs.startswith("not built")}

    assert sorted(named) == list(range(1, LINES + 1))
    assert {line for line, tests in named.items() if not tests} <= unbuilt
    assert set().union(*named.values()) - written == set()


def test_every_line_of_the_checklist_has_its_planted_bugs_or_says_why_not() -> None:
    planted = Counter(mutant.line for mutant in MUTANTS)

    said = {f"consensus {line}": bugs for line, _, _, bugs in rows()}

    assert {line: int(bugs) for line, bugs in said.items() if bugs.isdigit()} == planted
    assert all(len(bugs) > 20 for bugs in said.values() if not bugs.isdigit())
