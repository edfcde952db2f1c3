"""The slugs on this node's disk, each under the sha256 of its bytes; no slug is ever seen that is not whole.

Sources, from which slugs are made, are kept the same way, in a store of their own.
"""

import asyncio
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from builders.archive import ArchiveBounds, unpack
from pinode.errors import InvalidInput, NotFound, PinodeError, TooLarge
from pinode.slugs.partial_slug import PARTIAL, RECORD, PartialSlug, record_of, remove_partial

DIGEST = re.compile(r"[0-9a-f]{64}")
BLOCK_BYTES = 1024 * 1024
UNPACKED_FACTOR = 8
MOST_BYTES = 500 * 1024 * 1024
ADDED = ".added"  # what is being copied in, under a name of chance
MOST_PARTIAL = 4  # fetches that were broken off, to go on with
DAMAGED = ".damaged"
BOUNDS = {"slug": "slug_bytes", "source": "clone_bytes"}  # the settings


class DamagedSlug(PinodeError):
    """The bytes on the disk are not those of the digest; the slug was set aside."""

    code = "damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSlug:
    """A slug on this disk."""

    digest: str
    slug_bytes: int


class SlugStore:
    """A directory of slugs. Blocking work is done in threads; every method may be called from the event
    loop.
    """

    def __init__(self, directory: Path, *, most_bytes: int = MOST_BYTES, kind: str = "slug") -> None:
        """`most_bytes` bounds one slug, packed; unpacked it may be eight times as large. `kind` is what
        messages, files and the other nodes call one: slug or source.
        """
        self.kind = kind
        self._suffix = f".{kind}"
        self._directory = directory
        self._most_bytes = most_bytes
        directory.mkdir(parents=True, exist_ok=True)
        self._fetched: set[Path] = set()  # partial slugs that are open
        for left_over in directory.glob(f"*{ADDED}"):  # of a process that ended in the middle
            left_over.unlink(missing_ok=True)
        self._drop_partial()

    async def add(self, source: Path, *, digest: str | None = None) -> StoredSlug:
        """Copy a finished archive in, durably. With `digest`, refuse it with `DamagedSlug` when it is another
        one.
        """
        return await asyncio.to_thread(self._add, source, digest)

    def path(self, digest: str) -> Path:
        """Where the slug is, unchecked; raises `NotFound`."""
        path = self._path(digest)
        if not path.exists():
            raise NotFound(
                f"{self.kind} {digest[:12]} is not on this node.",
                hint="It is fetched from a node that has it.",
            )
        return path

    def has(self, digest: str) -> bool:
        return self._path(digest).exists()

    def slugs(self) -> Sequence[StoredSlug]:
        """All of them, by digest."""
        found = [path for path in self._directory.glob(f"*{self._suffix}") if DIGEST.fullmatch(path.stem)]
        return [StoredSlug(digest=path.stem, slug_bytes=path.stat().st_size) for path in sorted(found)]

    def files(self) -> Mapping[str, int]:
        """By digest, of all that lie here, damaged and partial ones too: the file's number.

        It is another one when the slug has been taken in again.
        """
        with os.scandir(self._directory) as entries:
            found = [(*entry.name.partition("."), entry.inode()) for entry in entries]
        return {
            digest: number
            for digest, _, kind, number in found
            if DIGEST.fullmatch(digest) and f".{kind}" in (self._suffix, DAMAGED, PARTIAL)
        }

    async def verify(self, digest: str) -> StoredSlug:
        """Read it all and compare; a damaged slug is set aside and raises `DamagedSlug`, an absent one
        `NotFound`.
        """
        return await asyncio.to_thread(self._verify, digest)

    async def remove(self, digest: str) -> bool:
        """Forget it, damaged or not; False when it was not there."""
        return await asyncio.to_thread(self._remove, digest)

    async def unpack(self, digest: str, into: Path, *, owner: int | None = None) -> None:
        """Check it, then lay its files out in the new directory `into`, owned by the user and group `owner`.

        Raises `NotFound`, `DamagedSlug`, `ArchiveRefused`.
        """
        await asyncio.to_thread(self._unpack, digest, into, owner)

    async def copy_to(self, digest: str, target: Path) -> None:
        """Check it and write it to the file `target`, for all to read. Raises `NotFound`, `DamagedSlug`."""
        await asyncio.to_thread(self._copy_to, digest, target)

    async def open_partial(self, digest: str, *, slug_bytes: int) -> PartialSlug:
        """Receive a slug in chunks, or go on with one that was broken off; the caller closes it, here. One
        fetch of a slug at a time.
        """
        if slug_bytes > self._most_bytes:
            raise self._too_large(slug_bytes)
        path = self._path(digest).with_suffix(PARTIAL)
        assert path not in self._fetched, "one fetch of a slug at a time"
        self._fetched.add(path)
        try:
            return await asyncio.to_thread(PartialSlug, path, slug_bytes=slug_bytes)
        except BaseException:  # cancelled too: nobody has it open
            self._fetched.discard(path)
            raise

    async def keep_partial(self, partial: PartialSlug, digest: str) -> bool:
        """All chunks are there: keep it, if it is the slug that was promised."""
        return await asyncio.to_thread(self._keep_partial, partial, digest)

    async def close_partial(self, partial: PartialSlug) -> None:
        """What came of a slug that was not kept stays for the next time."""
        await asyncio.to_thread(partial.close)  # it waits for a chunk that is being written
        self._fetched.discard(partial.path)
        self._drop_partial()

    def _path(self, digest: str) -> Path:
        if not DIGEST.fullmatch(digest):
            raise InvalidInput(f"{digest[:80]!r} is no sha256 in hexadecimal.")
        return self._directory / (digest + self._suffix)

    def _too_large(self, slug_bytes: int) -> TooLarge:
        return TooLarge(
            f"the {self.kind} has {slug_bytes} bytes, more than the {self._most_bytes} allowed.",
            hint=f"Raise [limits] {BOUNDS[self.kind]} on every node.",
        )

    def _add(self, source: Path, digest: str | None) -> StoredSlug:
        hashed, written = hashlib.sha256(), 0
        partial = self._directory / f"{secrets.token_hex(8)}{ADDED}"
        try:
            # What a build leaves is a stranger's: not a link to something of ours.
            with (
                open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW), "rb") as read,
                partial.open("xb") as write,
            ):
                while block := read.read(BLOCK_BYTES):
                    hashed.update(block)
                    written += len(block)
                    if written > self._most_bytes:
                        raise self._too_large(written)
                    write.write(block)
                write.flush()
                os.fsync(write.fileno())
            found = hashed.hexdigest()
            if digest is not None and found != digest:
                raise DamagedSlug(f"the archive is {self.kind} {found[:12]}, not {digest[:12]}.")
            self._keep(partial, found)
        finally:
            partial.unlink(missing_ok=True)
        return StoredSlug(digest=found, slug_bytes=written)

    def _keep_partial(self, partial: PartialSlug, digest: str) -> bool:
        if not partial.has_digest(digest):
            return False
        self._keep(partial.path, digest)
        record_of(partial.path).unlink()
        return True

    def _drop_partial(self) -> None:
        """Those that nobody goes on with, but for the newest."""
        idle = [path for path in self._directory.glob(f"*{PARTIAL}") if path not in self._fetched]
        idle.sort(key=lambda path: path.stat().st_mtime)
        for path in idle[:-MOST_PARTIAL]:
            remove_partial(path)
        for record in self._directory.glob(f"*{RECORD}"):
            if not record.with_suffix("").exists():  # the power failed while it was removed
                record.unlink(missing_ok=True)

    def _keep(self, partial: Path, digest: str) -> None:
        """Give a whole, synced file its name, durably."""
        os.replace(partial, self._path(digest))
        folder = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _verify(self, digest: str) -> StoredSlug:
        with self.path(digest).open("rb") as file:
            return self._verified(file, digest)

    def _verified(self, file: BufferedReader, digest: str) -> StoredSlug:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            os.replace(self._path(digest), self._directory / (digest + DAMAGED))
            raise DamagedSlug(
                f"{self.kind} {digest[:12]} is damaged on this disk.",
                hint="It is fetched again from another node.",
            )
        return StoredSlug(digest=digest, slug_bytes=file.tell())

    def _remove(self, digest: str) -> bool:
        path = self._path(digest)
        path.with_suffix(DAMAGED).unlink(missing_ok=True)
        if (partial := path.with_suffix(PARTIAL)) not in self._fetched:
            remove_partial(partial)
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        return True

    def _unpack(self, digest: str, into: Path, owner: int | None) -> None:
        with self.path(digest).open("rb") as file:
            self._verified(file, digest)
            file.seek(0)
            unpack(
                file, into, bounds=ArchiveBounds(total_bytes=UNPACKED_FACTOR * self._most_bytes), owner=owner
            )

    def _copy_to(self, digest: str, target: Path) -> None:
        with self.path(digest).open("rb") as file:
            self._verified(file, digest)
            file.seek(0)
            with target.open("wb") as copy:
                shutil.copyfileobj(file, copy, BLOCK_BYTES)
        target.chmod(0o644)
