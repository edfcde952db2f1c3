"""An archive as people make it (`tar cz .`), laid out as the app's files: tidied where that is harmless, else
refused.
"""

import tarfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from builders.archive import ArchiveBounds, check_member, lay_out, members_within, opened

LEFT_OUT = ".git"  # history, hooks and settings of whoever made the archive


def lay_out_upload(archive: BinaryIO, into: Path, *, bounds: ArchiveBounds) -> int:
    """Lay the archive out in the empty directory `into`; how many files and links there were.

    A leading `./`, missing entries of folders, and times, owners and modes do not matter; `.git` is left out.
    Raises `ArchiveRefused` for all else that `builders.archive.pack` would not write.
    """
    folders, files = {"."}, 0
    with opened(archive) as tar:
        for member in members_within(tar, bounds):
            _tidy_name(member)
            path = PurePosixPath(member.name)
            if member.name == "." or LEFT_OUT in (part.lower() for part in path.parts):
                continue
            if ".." not in path.parts and not path.is_absolute():
                _make_folders(tar, path.parent, into, folders)
            check_member(member, folders)
            if member.isdir():
                _make_folders(tar, path, into, folders)
            else:
                lay_out(tar, member, into / member.name)
                files += 1
    return files


def _tidy_name(member: tarfile.TarInfo) -> None:
    """`./a//b/` is `a/b`; an absolute name stays one."""
    if not member.name.startswith("/") and "\0" not in member.name:
        member.name = str(PurePosixPath(member.name))


def _make_folders(tar: tarfile.TarFile, path: PurePosixPath, into: Path, folders: set[str]) -> None:
    """Those that the archive has not named, so that no member is ever written through a link of its own."""
    for folder in [*reversed(path.parents), path]:
        if str(folder) not in folders:
            member = tarfile.TarInfo(str(folder))
            member.type = tarfile.DIRTYPE
            check_member(member, folders)
            lay_out(tar, member, into / folder)
            folders.add(str(folder))
