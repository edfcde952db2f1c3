"""What this node builds with: its isolation, its Pythons, its package index. Looked for once, in a thread."""

import logging
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builders.request import Interpreter
from pinode.sandbox.sandbox import Isolation, try_inside
from pinode.sandbox.spec import Bind

if TYPE_CHECKING:
    from builders.package_index import IndexSettings

PIP_FILES = ("/etc/xdg/pip/pip.conf", "/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")
UV_SETTINGS = "/etc/uv"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildMachine:
    """All builds of this node share it. `binds` is what a build sees besides the system and its own
    folders.
    """

    isolation: Isolation
    interpreters: Sequence[Interpreter]
    index: "IndexSettings"
    uv: str
    python: str  # runs `python -m builders`
    python_path: str  # where the package `builders` is found
    binds: tuple[Bind, ...]
    python_downloads: bool = False  # uv may fetch an interpreter that is missing
    inner_bwrap: str = (
        ""  # makes walls within the walls; empty: this system allows none, so no cache is shared
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildersProgram:
    """The package `builders` as a program, without what only builds need."""

    python: str
    python_path: str
    binds: tuple[Bind, ...]


def find_builders_program(data_dir: Path) -> BuildersProgram:
    """Where it is on this system."""
    import builders

    package = Path(builders.__path__[0])
    seen = [sys.prefix, sys.base_prefix, str(package)]
    binds = tuple(Bind(path, path) for path in _outermost(seen, data_dir))
    return BuildersProgram(python=sys.executable, python_path=str(package.parent), binds=binds)


def find_build_machine(
    isolation: Isolation, *, data_dir: Path, homes_allowed: bool, python_downloads: bool = False
) -> BuildMachine:
    """Look at this system. `homes_allowed`: a Python in a home directory may be used; only a demo says so.

    What only this needs is imported here: a node that builds nothing should not carry it.
    """
    import uv

    import builders
    from builders.interpreters import find_interpreters
    from builders.package_index import index_settings

    interpreters = find_interpreters(managed=data_dir / "python", homes_allowed=homes_allowed)
    index = index_settings(os.environ, _pip_files())
    program = uv.find_uv_bin()
    package = Path(builders.__path__[0])
    seen = [sys.prefix, sys.base_prefix, program, str(package), UV_SETTINGS, *index.paths]
    seen += [item.root for item in interpreters]
    return BuildMachine(
        isolation=isolation,
        interpreters=interpreters,
        index=index,
        uv=program,
        python=sys.executable,
        python_path=str(package.parent),
        python_downloads=python_downloads,
        inner_bwrap=_inner_bwrap(isolation),
        binds=tuple(Bind(path, path) for path in _outermost(seen, data_dir)),
    )


def _inner_bwrap(isolation: Isolation) -> str:
    """Some systems let nobody make walls inside walls; builds do without them there."""
    from builders.walls import walled

    bwrap = isolation.tools.bwrap
    if not isolation.available:
        return ""
    said = try_inside(isolation, tuple(walled(["/bin/true"], bwrap=bwrap, hidden=("/tmp",))))
    if said:
        logger.warning("builds share no cache here, inner walls are not possible reason=%s", said)
    return "" if said else bwrap


def _outermost(paths: Iterable[str], data_dir: Path) -> list[str]:
    """Those that exist and are in no other; never the root, nor what holds the node's data."""
    found = {os.path.normpath(path) for path in paths if path.startswith("/") and os.path.exists(path)}
    found = {path for path in found if path != "/" and not data_dir.is_relative_to(path)}
    outer = [path for path in found if not any(Path(path).is_relative_to(other) for other in found - {path})]
    return sorted(path for path in outer if not Path(path).is_relative_to("/usr"))


def _pip_files() -> list[str]:
    named = [*PIP_FILES, f"{sys.prefix}/pip.conf", os.environ.get("PIP_CONFIG_FILE", "")]
    texts = []
    for name in named:
        try:
            texts.append(Path(name).expanduser().read_text(errors="replace") if name else "")
        except OSError:
            continue
    return texts
