"""What was pushed or uploaded, to be built: the app's files in one archive, content-addressed."""

from dataclasses import dataclass
from typing import Literal

# From where a build has its files: fetched from its git URL, after a webhook too; pushed to a node; uploaded.
Origin = Literal["git", "hook", "push", "upload"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An archive that a build of `app` is made from. `holders` are the nodes that said they have it."""

    app: str
    digest: str  # sha256 of the archive, hexadecimal
    source_bytes: int
    commit: str  # that was pushed; of an upload the digest
    holders: tuple[str, ...] = ()  # node ids, sorted
