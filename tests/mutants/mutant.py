"""One planted bug, and how it is put into a copy of the sources."""

from dataclasses import dataclass
from pathlib import Path


class CannotPlant(Exception):
    """The text to be replaced is not there exactly once: the source has moved on without its mutant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A bug somebody could write, and the test that says so."""

    line: str  # of the checklist: "gossip 7"
    what: str  # the bug, as a sentence
    file: str  # from the root of the repository
    old: str  # stands exactly once in the file
    new: str
    test: str  # as pytest names it: "tests/gossip/test_claims.py::test_…"; several are divided by spaces

    def planted_in(self, source: str) -> str:
        """The source with the bug. Raises `CannotPlant`."""
        if source.count(self.old) != 1:
            raise CannotPlant(f"{self.file} has {self.old!r} {source.count(self.old)} times, not once")
        return source.replace(self.old, self.new)

    def test_is_written_in(self, root: Path) -> bool:
        """Whether all its tests exist."""
        for test in self.test.split():
            file, _, name = test.partition("::")
            if f"def {name.partition('[')[0]}(" not in (root / file).read_text():
                return False
        return True
