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

DIGEST = re.compile(r"[0-9a-f]{64}")
BLOCK_BYTES = 1024 * 1024
UNPACKED_FACTOR = 8
MOST_BYTES = 500 * 1024 * 1024
PARTIAL = ".partial"
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
        for left_over in directory.glob(f"*{PARTIAL}"):  # of a process that ended in the middle
            left_over.unlink(missing_ok=True)

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
        """By digest, of all that lie here, damaged ones that were set aside too: the file's number.

        It is another one when the slug has been taken in again.
        """
        with os.scandir(self._directory) as entries:
            found = [(*entry.name.partition("."), entry.inode()) for entry in entries]
        return {
            digest: number
            for digest, _, kind, number in found
            if DIGEST.fullmatch(digest) and f".{kind}" in (self._suffix, DAMAGED)
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

    def begin(self, digest: str, *, slug_bytes: int) -> "Download":
        """Receive a slug piece by piece from another node; the caller closes the download."""
        if slug_bytes > self._most_bytes:
            raise self._too_large(slug_bytes)
        self._path(digest)  # checks the digest
        partial = self._directory / f"{digest}-{secrets.token_hex(4)}{PARTIAL}"
        return Download(self, partial, digest, slug_bytes)

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
        partial = self._directory / f"{secrets.token_hex(8)}{PARTIAL}"
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
            self.keep(partial, found)
        finally:
            partial.unlink(missing_ok=True)
        return StoredSlug(digest=found, slug_bytes=written)

    def keep(self, partial: Path, digest: str) -> None:
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


class Download:
    """A slug that arrives in pieces, in order; it becomes visible whole or not at all."""

    def __init__(self, store: SlugStore, partial: Path, digest: str, slug_bytes: int) -> None:
        self._store = store
        self._partial = partial
        self._digest = digest
        self._slug_bytes = slug_bytes
        self._hashed = hashlib.sha256()
        self._written = 0
        self._file = partial.open("wb")

    async def append(self, piece: bytes) -> None:
        """The next bytes. Raises `DamagedSlug` when there are more of them than were announced."""
        if self._written + len(piece) > self._slug_bytes:
            raise DamagedSlug(
                f"{self._store.kind} {self._digest[:12]} is longer than "
                f"the {self._slug_bytes} bytes announced."
            )
        await asyncio.to_thread(self._write, piece)

    async def commit(self) -> StoredSlug:
        """All has arrived: check it and keep it. Raises `DamagedSlug` when it is not the slug that was
        promised.
        """
        if self._written != self._slug_bytes or self._hashed.hexdigest() != self._digest:
            self.close()
            raise DamagedSlug(f"what arrived for {self._store.kind} {self._digest[:12]} is something else.")
        await asyncio.to_thread(self._keep)
        return StoredSlug(digest=self._digest, slug_bytes=self._written)

    def close(self) -> None:
        """Forget what has not been committed; harmless afterwards."""
        self._file.close()
        self._partial.unlink(missing_ok=True)

    def _write(self, piece: bytes) -> None:
        self._file.write(piece)
        self._hashed.update(piece)
        self._written += len(piece)

    def _keep(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._store.keep(self._partial, self._digest)
