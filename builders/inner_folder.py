"""A folder of the app that we write into: made part by part, never by way of what a repository put there."""

from pathlib import Path

from builders.errors import BuildError


def make_inner_folder(app: Path, path: str) -> Path:
    """The folder `path` of the app, made where it is missing. Raises `BuildError` where a link or a file is
    in its place or on the way: a link leads wherever the repository wants, even into what all apps share.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise BuildError(f"{path!a} leads out of the app", hint="Name a folder inside of the repository")
    folder = app
    for part in parts:
        folder /= part
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise BuildError(
                f"{str(folder.relative_to(app))!a} in the repository is no folder",
                hint=f"Rename it: {path!a} is filled by the build",
            )
        folder.mkdir(exist_ok=True)
    return folder
