"""A part of an app's folder in its packed form, kept for the next build: its packages, compiled.

To compile and pack them takes longer than all else in a build whose packages were here before. The packed
form is kept in the app's own cache, under a name that follows from all that is in the folder. The app's own
code can change what lies there: so it is written only behind the inner walls, and believed only as what goes
into the app's own slug.
"""

import hashlib
import os
import re
import stat
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from builders.archive import Layer
from builders.errors import StepFailed
from builders.request import BuildRequest

KEPT_BYTES = 100 * 1024 * 1024  # a larger one is not kept: it would take the place of all others
READ_BYTES = 1024 * 1024 * 1024
BYTECODE = "__pycache__"  # made of what is beside it
Run = Callable[[str, list[str], Mapping[str, str]], Awaitable[None]]
NAME = re.compile(r"layer-(?P<key>[0-9a-f]{32})-(?P<sha256>[0-9a-f]{64})\.tar\.gz")


@dataclass(frozen=True, slots=True)
class KeptLayer:
    """What is known of a folder before it is packed. Without a `key` nothing is kept of it."""

    folder: str
    key: str
    own_cache: Path
    work: Path
    known: Path | None

    @property
    def packed(self) -> Layer:
        """How `pack` is to treat it."""
        written = None if self.known is not None or not self.key else self.work / "layer.tar.gz"
        return Layer(self.folder, known=self.known, written=written)

    async def keep(self, run: Run, env: Mapping[str, str]) -> None:
        """Have the next build find what `pack` has written, instead of what was found until now."""
        written = self.packed.written
        if written is None or not written.exists() or written.stat().st_size > KEPT_BYTES:
            return
        with written.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        target = self.own_cache / f"layer-{self.key}-{sha256}.tar.gz"
        older = [str(path) for path in _kept(self.own_cache)]
        partial = str(target.with_suffix(".partial"))
        try:
            if older:
                await run("forgetting older packages", ["rm", "-rf", "--", *older], env)
            await run("keeping packages", ["cp", "--", str(written), partial], env)
            await run("keeping packages", ["mv", "-T", "--", partial, str(target)], env)
        except StepFailed:
            pass  # the disk may be full; the next build takes longer


def layer_of(request: BuildRequest, folder: str, *, made_by: str) -> KeptLayer:
    """Look for the packed form of a folder of the app, as `made_by` makes it of these files."""
    own_cache = Path(request.own_cache)
    key = _digest(Path(request.app) / folder, made_by) or ""
    known = next((path for path in _kept(own_cache) if _is_sound(path, key)), None) if key else None
    return KeptLayer(folder, key, own_cache, Path(request.work), known)


def _kept(own_cache: Path) -> list[Path]:
    return (
        sorted(path for path in own_cache.iterdir() if path.name.startswith("layer-"))
        if own_cache.is_dir()
        else []
    )


def _is_sound(path: Path, key: str) -> bool:
    match = NAME.fullmatch(path.name)
    if match is None or match["key"] != key:
        return False
    digest = hashlib.sha256()
    for block in _content(path, KEPT_BYTES):
        digest.update(block)
    return digest.hexdigest() == match["sha256"]


def _digest(folder: Path, made_by: str) -> str | None:
    """Of all files, their places and modes; None where one is neither file nor link, or all are too large."""
    if folder.is_symlink() or not folder.is_dir():
        return None
    digest, left = hashlib.blake2b(made_by.encode(), digest_size=16), READ_BYTES
    for path in _below(folder):
        found = path.lstat()
        left -= found.st_size
        name = os.fsencode(path.relative_to(folder))
        digest.update(b"%d %o %d " % (len(name), found.st_mode, found.st_size) + name)
        if stat.S_ISLNK(found.st_mode):
            digest.update(os.fsencode(os.readlink(path)))
        elif stat.S_ISREG(found.st_mode) and left >= 0:
            for block in _content(path, found.st_size):
                digest.update(block)
        elif not stat.S_ISDIR(found.st_mode):
            return None
    return digest.hexdigest()


def _below(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != BYTECODE)
        yield from (Path(here, name) for name in sorted([*folders, *files]))


def _content(path: Path, most_bytes: int) -> Iterator[bytes]:
    """Of a plain file; nothing of any other."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return
    with open(descriptor, "rb") as file:
        while most_bytes > 0 and (block := file.read(min(most_bytes, 1024 * 1024))):
            most_bytes -= len(block)
            yield block
