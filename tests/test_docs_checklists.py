"""The pages of the checklists name tests that exist, and say how many bugs are planted for each line."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.mutants.run import lists

ROOT = Path(__file__).parent.parent
ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
LINES = {"consensus": 46, "gossip": 27, "queue": 20, "apps": 15, "hostile": 9}
PAGES = pytest.mark.parametrize("page", LINES)


def rows(page: str) -> list[tuple[str, str, str, str]]:
    return ROW.findall((ROOT / f"docs/checklist_{page}.md").read_text())


def planted_for(page: str) -> Counter[str]:
    lines = [mutant.line for mutants in lists().values() for mutant in mutants]
    return Counter(line for line in lines if line.startswith(f"{page} "))


@PAGES
def test_every_line_of_a_checklist_names_tests_that_exist(page: str) -> None:
    files = (ROOT / "tests").glob("*/test_*.py")
    written = {name for file in files for name in re.findall(r"def test_(\w+)", file.read_text())}

    named = {int(line): set(re.findall(r"`(\w+)`", tests)) for line, _, tests, _ in rows(page)}

    assert sorted(named) == list(range(1, LINES[page] + 1))
    assert all(named.values())
    assert set().union(*named.values()) - written == set()


@PAGES
def test_every_line_of_a_checklist_has_its_planted_bugs_or_says_why_not(page: str) -> None:
    said = {f"{page} {line}": bugs for line, _, _, bugs in rows(page)}

    assert {line: int(bugs) for line, bugs in said.items() if bugs.isdigit()} == planted_for(page)
    assert all(bugs.startswith("none") and len(bugs) > 20 for bugs in said.values() if not bugs.isdigit())


@PAGES
def test_the_test_that_notices_a_planted_bug_stands_on_its_line(page: str) -> None:
    named = {f"{page} {line}": set(re.findall(r"`(\w+)`", tests)) for line, _, tests, _ in rows(page)}

    missing = [
        (mutant.line, test)
        for mutants in lists().values()
        for mutant in mutants
        for test in mutant.test.split()
        if mutant.line in named and test.rpartition("::test_")[2].partition("[")[0] not in named[mutant.line]
    ]

    assert missing == []


def test_a_planted_bug_that_names_a_page_names_a_line_of_it() -> None:
    """Others name a rule of ours that stands on no page: "departure", "slugs 2"."""
    known = {f"{page} {line}" for page, lines in LINES.items() for line in range(1, lines + 1)}

    planted = {mutant.line for mutants in lists().values() for mutant in mutants}

    assert {line for line in planted - known if line.split()[0] in LINES} == set()
