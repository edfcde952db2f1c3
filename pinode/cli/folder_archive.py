"""A folder of this machine as an archive to upload: what git would take, or all but what nobody wants."""

import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from pinode.cli.invocation import ExitCode, Failure

GIT_SECONDS = 60
LEFT_OUT = (".git", ".hg", ".venv", "venv", "node_modules", "__pycache__")  # where no .gitignore is heard
LOCAL = (".", "/", "~")  # how a folder of this machine begins


def is_local(directory: str | None) -> bool:
    """Whether `--dir` names a folder of this machine, not one of the repository: `.`, `./web`, `/srv/web`."""
    return directory is not None and directory.startswith(LOCAL)


def archive_folder(folder: Path, target: Path) -> int:
    """Write the folder's files into the archive `target`; how many. Raises `Failure`."""
    if not folder.is_dir():
        raise Failure(f"{folder} is no folder", code=ExitCode.USAGE)
    count = 0
    try:
        with tarfile.open(target, "w:gz", compresslevel=1) as archive:
            for name in _files(folder):
                path = folder / name
                if path.is_symlink() or path.is_file():
                    _add(archive, path, name)
                    count += 1
    except OSError as error:
        raise Failure(f"cannot read {error.filename or folder} ({error.strerror or error})") from error
    if not count:
        raise Failure(f"{folder} has no files to deploy", hint="are they in .gitignore?", code=ExitCode.USAGE)
    return count


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    member = archive.gettarinfo(path, arcname=name)
    if member.islnk():  # the second name of a file: it is sent twice, for nodes take no hard links
        member.type, member.linkname, member.size = tarfile.REGTYPE, "", path.stat().st_size
    if member.isreg():
        with path.open("rb") as content:
            archive.addfile(member, content)
    else:
        archive.addfile(member)


def _files(folder: Path) -> Iterator[str]:
    """Their names, relative to the folder."""
    listed = _git_files(folder)
    if listed is not None:
        yield from listed
        return
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT)
        links = [name for name in folders if os.path.islink(os.path.join(here, name))]
        for name in sorted([*files, *links]):
            yield os.path.relpath(os.path.join(here, name), folder)


def _is_in_repository(folder: Path) -> bool:
    here = folder.absolute()
    return any((place / ".git").exists() for place in (here, *here.parents))


def _git_files(folder: Path) -> list[str] | None:
    """Tracked files and new ones that are not ignored; None where there is no repository.

    Raises `Failure` where there is one that git does not read: what is ignored, say secrets, would be sent.
    """
    words = ["git", "-C", str(folder), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        done = subprocess.run(
            words, capture_output=True, timeout=GIT_SECONDS, env={**os.environ, "LC_ALL": "C"}
        )
        said = os.fsdecode(done.stderr).strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        done, said = None, str(error)
    if done is None or done.returncode != 0:
        if "not a git repository" in said or not _is_in_repository(folder):
            return None
        reason = said.partition("\n")[0].removeprefix("fatal: ")
        raise Failure(
            f"git does not list the files of {folder}: {reason}",
            hint="only git knows what .gitignore keeps out: make `git ls-files` work there",
        )
    return sorted({os.fsdecode(name) for name in done.stdout.split(b"\0") if name})
