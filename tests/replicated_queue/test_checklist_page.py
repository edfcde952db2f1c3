"""The pages of the checklists name tests that exist, and the bugs that are planted."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.mutants.run import lists

ROOT = Path(__file__).parent.parent.parent
ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
PAGES = pytest.mark.parametrize(("page", "lines"), [("consensus", 46), ("queue", 20)])


def rows(page: str) -> list[tuple[str, str, str, str]]:
    return ROW.findall((ROOT / f"docs/checklist_{page}.md").read_text())


@PAGES
def test_every_line_of_the_checklist_names_tests_that_exist(page: str, lines: int) -> None:
    folders = (ROOT / "tests" / name for name in ("replicated_queue", "simulation", "pinode", "gossip"))
    files = [file for folder in folders for file in folder.glob("test_*.py")]
    written = {name for file in files for name in re.findall(r"def test_(\w+)", file.read_text())}

    named = {int(line): set(re.findall(r"`(\w+)`", tests)) for line, _, tests, _ in rows(page)}

    assert sorted(named) == list(range(1, lines + 1))
    assert all(named.values())
    assert set().union(*named.values()) - written == set()


@PAGES
def test_every_line_of_the_checklist_has_its_planted_bugs_or_says_why_not(page: str, lines: int) -> None:
    planted = Counter(mutant.line for mutants in lists().values() for mutant in mutants)
    planted = Counter({line: bugs for line, bugs in planted.items() if line.startswith(f"{page} ")})

    said = {f"{page} {line}": bugs for line, _, _, bugs in rows(page)}

    assert {line: int(bugs) for line, bugs in said.items() if bugs.isdigit()} == planted
    assert all(len(bugs) > 20 for bugs in said.values() if not bugs.isdigit())
