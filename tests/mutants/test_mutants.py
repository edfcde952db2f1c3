"""The lists keep up with the sources; whether the bugs are caught is `make mutants`."""

from pathlib import Path

import pytest

from tests.mutants.mutant import CannotPlant, Mutant
from tests.mutants.run import ROOT, lists, try_one

MUTANTS = [mutant for mutants in lists().values() for mutant in mutants]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.line}: {mutant.what}")
def test_every_mutant_can_still_be_planted_and_its_test_exists(mutant: Mutant) -> None:
    source = (ROOT / mutant.file).read_text()

    assert mutant.planted_in(source) != source
    assert mutant.test_is_written_in(ROOT)


def small_project(folder: Path) -> Path:
    (folder / "adding.py").write_text("def add(a, b):\n    return a + b\n")
    (folder / "test_adding.py").write_text(
        "from adding import add\n\n\ndef test_sum():\n    assert add(2, 3) == 5\n\n\n"
        "def test_zero():\n    assert add(0, 0) == 0\n"
    )
    return folder


def mutant_of_it(*, old: str = "a + b", test: str = "test_sum") -> Mutant:
    return Mutant(
        line="adding 1",
        what="subtracts",
        file="adding.py",
        old=old,
        new="a - b",
        test=f"test_adding.py::{test}",
    )


def test_a_bug_is_caught_by_its_test_and_taken_out_again(tmp_path: Path) -> None:
    root = small_project(tmp_path)
    before = (root / "adding.py").read_text()

    wrong = try_one(mutant_of_it(), root=root)

    assert wrong == ""
    assert (root / "adding.py").read_text() == before


def test_a_bug_that_its_test_does_not_see_is_reported(tmp_path: Path) -> None:
    root = small_project(tmp_path)

    wrong = try_one(mutant_of_it(test="test_zero"), root=root)

    assert "unnoticed" in wrong


def test_a_bug_whose_text_is_gone_or_whose_test_is_missing_is_no_success(tmp_path: Path) -> None:
    root = small_project(tmp_path)

    with pytest.raises(CannotPlant):
        mutant_of_it(old="a * b").planted_in("return a + b")

    assert "not once" in try_one(mutant_of_it(old="a * b"), root=root)
    assert "no verdict" in try_one(mutant_of_it(test="test_gone"), root=root)
