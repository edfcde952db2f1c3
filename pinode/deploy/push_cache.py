"""What was pushed to this node before, so that the next push need not send it again.

A cache and nothing more: it may be gone at any time, and then a push sends everything. The truth about what
was pushed are the sources, which lie on two nodes.
"""

import logging
import os
import shutil
import stat
from collections.abc import Collection
from pathlib import Path

logger = logging.getLogger(__name__)

PACKS_AT_MOST = 50  # of an app; then the next push sends everything once more
KNOWN = "known"  # the file that names the commits whose objects are all here
KNOWN_AT_MOST = 8


class PushCache:
    """One folder of git objects an app, named so that the next app of its name has another one. Blocking."""

    def __init__(self, directory: Path, *, most_bytes: int) -> None:
        """An app whose objects take more than `most_bytes` begins anew."""
        self._directory = directory
        self._most_bytes = most_bytes

    def objects(self, app: str) -> Path | None:
        """The folder of objects, for git to read; None when there is none."""
        folder = self._directory / app
        return folder if (folder / KNOWN).is_file() else None

    def known(self, app: str) -> list[str]:
        """Commits that need not be sent again, with all that they contain; the newest first."""
        try:
            names = (self._directory / app / KNOWN).read_text().split()
        except (OSError, UnicodeDecodeError):
            return []
        return [name for name in names if len(name) == 40 and name.isalnum()]

    def add(self, app: str, commit: str, pack: Path | None) -> None:
        """Keep a pack (its index lies beside it) that makes `commit` whole; None: it was whole already.

        The files were written where strangers' bytes were read: they are taken only as plain files.
        """
        folder = self._directory / app
        packs = folder / "pack"
        packs.mkdir(parents=True, exist_ok=True)
        for shown in (folder, packs):  # whatever our umask: the app's next intake, another user, reads them
            shown.chmod(0o755)
        if pack is not None:
            for part in (pack.with_suffix(".idx"), pack):  # git reads a pack when it sees its index
                if not stat.S_ISREG(part.lstat().st_mode):
                    raise OSError(f"{part.name} is no file")
            for part in (pack, pack.with_suffix(".idx")):
                os.replace(part, packs / f"pack-{commit}{part.suffix}")
        known = [commit, *(name for name in self.known(app) if name != commit)][:KNOWN_AT_MOST]
        partial = folder / f"{KNOWN}.partial"
        partial.write_text("\n".join(known) + "\n")
        os.replace(partial, folder / KNOWN)
        self._bound(app)

    def forget(self, app: str) -> None:
        """Let the app's next push send everything."""
        shutil.rmtree(self._directory / app, ignore_errors=True)

    def keep_only(self, apps: Collection[str]) -> None:
        """Forget what other apps left: they are gone."""
        for path in self._directory.iterdir() if self._directory.is_dir() else ():
            if path.name not in apps:
                self.forget(path.name)

    def _bound(self, app: str) -> None:
        packs = list((self._directory / app / "pack").iterdir())
        if len(packs) > 2 * PACKS_AT_MOST or sum(path.stat().st_size for path in packs) > self._most_bytes:
            logger.info("push cache is full, the next push sends everything app=%s", app)
            self.forget(app)
