"""A folder as one archive, the same bytes for the same files; and back, believing nothing the archive says.

The format is tar in gzip. Owners, times and order are fixed, modes are 0644 or 0755. What is unpacked is
checked member by member by ourselves: the filters of older Pythons have holes. Links may not leave the root,
but for one: the `bin/python` of a virtual environment, which points at the interpreter of the system that
runs it.
"""

import gzip
import hashlib
import io
import os
import re
import stat
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from builders.errors import ArchiveRefused, BoundHit

LEVEL = 4  # beyond it, time grows faster than slugs shrink
BLOCK_BYTES = 256 * 1024
HINTS = {  # what to do about an archive that is too large
    "slug": "Leave out what the app does not need at run time, or raise [limits] slug_bytes",
    "source": "Leave out what the app is not built from, or raise [limits] clone_bytes",
}
NAME_BYTES = 1_024
DEPTH = 64
EXTENDED_HEADER_BYTES = 64 * 1024
INTERPRETER_LINK = re.compile(r"\.venv/bin/python(3(\.\d+)?)?")
INTERPRETER_TARGET = re.compile(r"(/[A-Za-z0-9._+-]+)+/python(3(\.\d+)?)?")
PLAIN_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE)
HEADER_TYPES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveBounds:
    """How much may come out of an archive."""

    total_bytes: int
    members: int = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """An archive that was written."""

    sha256: str
    packed_bytes: int


@dataclass(frozen=True, slots=True)
class Layer:
    """A folder that is packed first and for itself: taken from `known`, where it was packed before, or else
    also written to `written`.
    """

    folder: str
    known: Path | None = None
    written: Path | None = None


class _Counted:
    """Writes on, hashes, and stops at the bound."""

    def __init__(self, file: BinaryIO, what: str, most_bytes: int) -> None:
        self._file = file
        self.copy: BinaryIO | None = None  # gets the same
        self._what = what
        self._most_bytes = most_bytes
        self.digest = hashlib.sha256()
        self.written = 0

    def write(self, data: bytes) -> int:
        self.written += len(data)
        if self.written > self._most_bytes:
            raise BoundHit(
                self._what,
                f"the {self._what} is larger than {self._most_bytes // (1024 * 1024)} MiB",
                hint=HINTS[self._what],
            )
        self.digest.update(data)
        if self.copy is not None:
            self.copy.write(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def pack(
    root: Path,
    target: Path,
    *,
    most_bytes: int,
    what: str = "slug",
    level: int = LEVEL,
    layer: Layer | None = None,
) -> Packed:
    """Write the folder `root` to the file `target`: a slug, or a source. Whoever keeps it makes it durable.
    Raises `BoundHit` beyond `most_bytes` packed, `ArchiveRefused`.
    """
    if layer is not None and ((root / layer.folder).is_symlink() or not (root / layer.folder).is_dir()):
        layer = None  # it is not what it was made as
    with target.open("wb") as file:
        counted = _Counted(file, what, most_bytes)
        if layer is not None:
            _pack_layer(root, counted, layer, level)
        with _section(counted, level) as tar:
            for path, name in _files_below(root, without=layer.folder if layer is not None else ""):
                _add(tar, path, name)
            tar.close()  # only here does the archive end
    return Packed(sha256=counted.digest.hexdigest(), packed_bytes=counted.written)


def _pack_layer(root: Path, counted: _Counted, layer: Layer, level: int) -> None:
    if layer.known is not None:
        with layer.known.open("rb") as known:
            while block := known.read(BLOCK_BYTES):
                counted.write(block)
        return
    with ExitStack() as stack:
        if layer.written is not None:
            counted.copy = stack.enter_context(layer.written.open("wb"))
        with _section(counted, level) as tar:
            _add(tar, root / layer.folder, layer.folder)
            for path, name in _files_below(root / layer.folder):
                _add(tar, path, f"{layer.folder}/{name}")
    counted.copy = None


@contextmanager
def _section(out: _Counted, level: int) -> Iterator[tarfile.TarFile]:
    """Members that are packed for themselves; one section after another is one archive."""
    with gzip.GzipFile(filename="", mode="wb", compresslevel=level, fileobj=out, mtime=0) as packed:
        buffered = io.BufferedWriter(cast(io.RawIOBase, packed), BLOCK_BYTES)
        yield tarfile.TarFile(fileobj=buffered, mode="w", format=tarfile.PAX_FORMAT)
        buffered.flush()


def _files_below(root: Path, *, without: str = "") -> Iterator[tuple[Path, str]]:
    for folder, folders, files in os.walk(root):
        if folder == str(root) and without in folders:
            folders.remove(without)
        folders.sort()
        here = Path(folder)
        for name in sorted([*folders, *files]):
            path = here / name
            yield path, path.relative_to(root).as_posix()


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    found = path.lstat()
    member = tarfile.TarInfo(name)
    if stat.S_ISLNK(found.st_mode):
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, os.readlink(path), 0o777
        _check_link(name, member.linkname)
        tar.addfile(member)
    elif stat.S_ISDIR(found.st_mode):
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(member)
    elif stat.S_ISREG(found.st_mode):
        member.size, member.mode = found.st_size, 0o755 if found.st_mode & 0o111 else 0o644
        with path.open("rb") as content:
            tar.addfile(member, content)
    else:
        raise ArchiveRefused(f"{name} is neither a file, a folder nor a link", hint="Remove it from the app")


def _check_link(name: str, target: str) -> None:
    """A link may point at what is inside the root only.

    `..` counts at its beginning alone: the folders above a link are real ones, but what a name in it leads to
    may be another link, and `..` of that anywhere.
    """
    if INTERPRETER_LINK.fullmatch(name) and INTERPRETER_TARGET.fullmatch(target):
        return
    parts = [part for part in target.split("/") if part not in (".", "")]
    ups = len(list(takewhile("..".__eq__, parts)))
    leads_out = ups >= len(PurePosixPath(name).parts) or ".." in parts[ups:]
    if target.startswith("/") or not target or leads_out or "\0" in target:
        raise ArchiveRefused(
            f"the link {name!r} leads out of the app, or may: to {target!r}", hint="Remove the link"
        )


class _CheckedHeader(tarfile.TarInfo):
    """Refuses, while headers are read, what could make reading itself expensive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_CheckedHeader":
        member = super().frombuf(buf, encoding, errors)
        if member.type in HEADER_TYPES:
            if member.size > EXTENDED_HEADER_BYTES:
                raise ArchiveRefused(f"an extended header of the archive has {member.size} bytes")
        elif member.type not in PLAIN_TYPES:
            kind = (
                "is a hard link"
                if member.type == tarfile.LNKTYPE
                else "is neither a file, a folder nor a link"
            )
            raise ArchiveRefused(f"{member.name[:80]!r} in the archive {kind}", hint="Make it a file")
        return member


def unpack(archive: BinaryIO, into: Path, *, bounds: ArchiveBounds, owner: int | None = None) -> None:
    """Lay the archive out in the directory `into`, which is new or empty and whose parent exists; all of it
    belongs to `owner`, if given.

    Raises `ArchiveRefused` at the first member that is not as `pack` writes them, and leaves what came before
    it.
    """
    if not into.is_dir() or any(into.iterdir()):
        into.mkdir(mode=0o755)
    _own(into, owner)
    folders = {"."}
    with opened(archive) as tar:
        for member in members_within(tar, bounds):
            check_member(member, folders)
            lay_out(tar, member, into / member.name, owner)
            if member.isdir():
                folders.add(str(PurePosixPath(member.name)))


@contextmanager
def opened(archive: BinaryIO) -> Iterator[tarfile.TarFile]:
    """The members of a packed archive, in their order. What is damaged raises `ArchiveRefused` here too."""
    try:
        with gzip.GzipFile(fileobj=archive, mode="rb") as plain:
            with tarfile.open(fileobj=plain, mode="r|", tarinfo=_CheckedHeader) as tar:
                yield tar
    except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise ArchiveRefused(f"the archive is damaged ({error})") from error


def members_within(tar: tarfile.TarFile, bounds: ArchiveBounds) -> Iterator[tarfile.TarInfo]:
    """All members, as long as they are few and small enough; then `ArchiveRefused`."""
    remaining = bounds.total_bytes
    for members, member in enumerate(tar, 1):
        remaining -= member.size
        if members > bounds.members or remaining < 0:
            raise ArchiveRefused(
                f"the archive grows past {bounds.total_bytes} bytes or {bounds.members} members"
            )
        yield member


def check_member(member: tarfile.TarInfo, folders: set[str]) -> None:
    """Raises `ArchiveRefused` unless it belongs into one of `folders`, which the archive made before it."""
    name = member.name
    path = PurePosixPath(name)
    wrong = not name or name.startswith("/") or "\0" in name or ".." in path.parts or str(path) != name
    if wrong or len(name.encode("utf-8", "surrogateescape")) > NAME_BYTES or len(path.parts) > DEPTH:
        raise ArchiveRefused(f"the archive has a member named {name[:200]!r}")
    # A folder that the archive itself made is no link; so no member is ever written through a link.
    if str(path.parent) not in folders:
        raise ArchiveRefused(f"{name[:200]!r} in the archive is in no folder of the archive")
    if member.issym():
        _check_link(name, member.linkname)
    if member.issparse():
        raise ArchiveRefused(f"{name[:200]!r} in the archive is a sparse file")


def lay_out(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, owner: int | None = None) -> None:
    """Write one checked member to `path`, where there must be nothing yet."""
    mode = 0o755 if member.isdir() or member.mode & 0o111 else 0o644
    try:
        if member.isdir():
            path.mkdir(mode=mode)
        elif member.issym():
            os.symlink(member.linkname, path)
        else:
            content = tar.extractfile(member)
            assert content is not None, "a plain file has content"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
            with open(descriptor, "wb") as file:
                _copy(content, file, member.size)
    except FileExistsError as error:
        raise ArchiveRefused(f"{member.name[:200]!r} is in the archive twice") from error
    _own(path, owner)


def _copy(content: IO[bytes], file: BinaryIO, size: int) -> None:
    while size > 0:
        block = content.read(min(size, BLOCK_BYTES))
        if not block:
            raise ArchiveRefused("the archive ends in the middle of a file")
        file.write(block)
        size -= len(block)


def _own(path: Path, owner: int | None) -> None:
    if owner is not None:
        os.chown(path, owner, owner, follow_symlinks=False)
