"""The interpreters of this node that slugs may need, and the Python a slug was built for, as a dyno must see
it.
"""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from pinode.sandbox.spec import Bind, SandboxError

INTERPRETER = re.compile(r"python3\.\d+")
PYTHON_PLACES = ("usr/bin", "usr/local/bin", "opt/*/bin")  # below the root
NODEJS_PLACES = ("/usr/bin", "/usr/local/bin")
ANY_PYTHON = "/usr/bin/python3"  # a slug with this link runs on whatever Python a node has


def interpreters_here(*, managed: Path) -> tuple[str, ...]:
    """Paths of the Pythons that a slug may be built for and run on here, our own first; then of Node.js."""
    own = str(Path(sys.executable).resolve())
    found = {path.resolve() for path in _pythons(managed)}
    pythons = {str(path) for path in found if path.is_file() and _root_of(path, managed) is not None}
    nodejs = [
        f"{place}/node"
        for place in NODEJS_PLACES
        if all(Path(place, name).exists() for name in ("node", "npm"))
    ]
    return (own, *sorted(pythons - {own}), *nodejs)


def _pythons(managed: Path) -> Iterator[Path]:
    folders = [folder for place in PYTHON_PLACES for folder in sorted(Path("/").glob(place))]
    for folder in (*folders, *sorted(managed.glob("*/bin"))):
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        yield from (
            folder / name
            for name in names
            if INTERPRETER.fullmatch(name) and os.access(folder / name, os.X_OK)
        )


def settle_interpreter(app_directory: Path) -> None:
    """Where the slug takes any Python, give it ours. Called when it was just laid out, before it ever ran."""
    folder = app_directory / ".venv" / "bin"
    if folder.is_symlink() or folder.parent.is_symlink():
        return  # no virtual environment of ours: nothing is written where a link leads
    for name in ("python", "python3"):
        link = folder / name
        if link.is_symlink() and os.readlink(link) == ANY_PYTHON:
            link.unlink()
            link.symlink_to(Path(sys.executable).resolve())


def interpreter_binds(app_directory: Path, *, managed: Path) -> tuple[Bind, ...]:
    """What to show besides the system, for the `.venv/bin/python` of an unpacked slug to run; nothing without
    one.

    The link was made where strangers' code ran. So it counts only when it leads to where interpreters are
    looked for: under /usr or /opt, in the folder `managed`, or to the one this node itself runs on. Raises
    `SandboxError` when that interpreter is not here.
    """
    link = app_directory / ".venv" / "bin" / "python"
    if not link.is_symlink():
        return ()
    target = Path(os.readlink(link))
    if not target.is_absolute():
        return ()  # the slug brings its own, and whoever unpacked it made sure that no link leads out of it
    if not target.is_file() or not INTERPRETER.fullmatch(target.name):
        raise SandboxError(
            f"the app was built for {target}, which this node does not have.",
            hint="Install that Python here, or deploy again while this node builds.",
        )
    root = _root_of(target, managed)
    if root is None:
        raise SandboxError(
            f"the app was built for {target}, which is no Python that apps may use.", hint="Deploy it again."
        )
    return () if root.is_relative_to("/usr") else (Bind(str(root), str(root)),)


def _root_of(target: Path, managed: Path) -> Path | None:
    """The installation that a Python belongs to; None where apps may not use it."""
    if target == Path(sys.executable).resolve():
        return Path(sys.base_prefix)
    is_known = target.is_relative_to("/usr") or any(
        _is_installation(target, place) for place in (Path("/opt"), managed)
    )
    return target.parent.parent if is_known else None


def _is_installation(target: Path, place: Path) -> bool:
    """Is it `<place>/<any>/bin/python3.N`, without a way out of it?"""
    parts = target.parts
    return target.parent.parent.parent == place and target.parent.name == "bin" and ".." not in parts
