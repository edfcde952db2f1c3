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
                    archive.add(path, arcname=name, recursive=False)
                    count += 1
    except OSError as error:
        raise Failure(f"cannot read {error.filename or folder} ({error.strerror or error})") from error
    if not count:
        raise Failure(f"{folder} has no files to deploy", hint="are they in .gitignore?", code=ExitCode.USAGE)
    return count


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


def _git_files(folder: Path) -> list[str] | None:
    """Tracked files and new ones that are not ignored; None where there is no repository."""
    words = ["git", "-C", str(folder), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        done = subprocess.run(words, capture_output=True, timeout=GIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    return sorted({os.fsdecode(name) for name in done.stdout.split(b"\0") if name})
