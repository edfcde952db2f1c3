"""What builds and intakes need of the other nodes: copies of what is new, and what is not here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Copies(Protocol):
    """Who brings a new slug, or a new source, to other nodes."""

    async def spread(self, digest: str) -> Sequence[str]:
        """Have another node keep it too; the ids of those that now do, none when no other node could."""
        ...


class Sources(Protocol):
    """Who has what was pushed or uploaded."""

    async def copy_to(self, digest: str, target: Path) -> None:
        """Write the source to the file `target`, wherever it has to be fetched from."""
        ...
