"""The page of the checklist names tests that exist, and the bugs that are planted."""

import re
from collections import Counter
from pathlib import Path

from tests.mutants.gossip import MUTANTS

ROOT = Path(__file__).parent.parent.parent
LINES = 27
ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)


def rows() -> list[tuple[str, str, str, str]]:
    return ROW.findall((ROOT / "docs/checklist_gossip.md").read_text())


def test_every_line_of_the_checklist_names_tests_that_exist() -> None:
    files = [*(ROOT / "tests/gossip").glob("test_*.py"), ROOT / "tests/pinode/test_datagrams.py"]
    written = {name for file in files for name in re.findall(r"def test_(\w+)", file.read_text())}

    named = {int(line): set(re.findall(r"`(\w+)`", tests)) for line, _, tests, _ in rows()}

    assert sorted(named) == list(range(1, LINES + 1))
    assert all(named.values())
    assert set().union(*named.values()) <= written


def test_every_line_of_the_checklist_has_its_planted_bugs_or_says_why_not() -> None:
    planted = Counter(mutant.line for mutant in MUTANTS)

    said = {f"gossip {line}": bugs for line, _, _, bugs in rows()}

    assert {line: int(bugs) for line, bugs in said.items() if bugs.isdigit()} == planted
    assert all(len(bugs) > 20 for bugs in said.values() if not bugs.isdigit())
