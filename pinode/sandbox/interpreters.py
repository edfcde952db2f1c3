"""The Python a slug was built for, as a dyno must see it."""

import os
import re
import sys
from pathlib import Path

from pinode.sandbox.spec import Bind, SandboxError

INTERPRETER = re.compile(r"python3\.\d+")


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
    if target == Path(sys.executable).resolve():
        root = Path(sys.base_prefix)
    elif (
        target.is_relative_to("/usr")
        or _is_installation(target, Path("/opt"))
        or _is_installation(target, managed)
    ):
        root = target.parent.parent
    else:
        raise SandboxError(
            f"the app was built for {target}, which is no Python that apps may use.", hint="Deploy it again."
        )
    return () if root.is_relative_to("/usr") else (Bind(str(root), str(root)),)


def _is_installation(target: Path, place: Path) -> bool:
    """Is it `<place>/<any>/bin/python3.N`, without a way out of it?"""
    parts = target.parts
    return target.parent.parent.parent == place and target.parent.name == "bin" and ".." not in parts
