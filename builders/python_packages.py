"""What a Python app's files ask to have installed: the most exact of them decides."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builders.errors import BuildError
from builders.lock_files import Asked, from_pipfile, from_pipfile_lock, from_poetry

REQUIREMENTS, PROJECT, SETUP = "requirements.txt", "pyproject.toml", "setup.py"
UV_LOCK, POETRY_LOCK, PIPFILE, PIPFILE_LOCK = "uv.lock", "poetry.lock", "Pipfile", "Pipfile.lock"
LOCK_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Packages:
    """What to install. `file` is where it stands; with `is_uv_lock` uv reads it, else the lines of `asked`
    are installed, or `source` as uv understands it. Then the project itself, if `has_project`.
    """

    file: str
    is_uv_lock: bool = False
    asked: Asked | None = None
    source: tuple[str, ...] = ()
    has_project: bool = False


def packages_of(app: Path, project: Mapping[str, Any], *, python: str) -> Packages:
    """Lock files first, then what names packages, then the project alone. Raises `BuildError`."""
    is_built = "build-system" in project
    if (app / UV_LOCK).is_file():
        return Packages(file=UV_LOCK, is_uv_lock=True, has_project=True)
    poetry = _table(_table(project, "tool"), "poetry")
    if (app / POETRY_LOCK).is_file() and project:
        asked = from_poetry(project, _read(app / POETRY_LOCK), python=python)
        return Packages(file=POETRY_LOCK, asked=asked, has_project=is_built and _has_package(app, project))
    if (app / PIPFILE_LOCK).is_file():
        return Packages(file=PIPFILE_LOCK, asked=from_pipfile_lock(_read(app / PIPFILE_LOCK)))
    if (app / PIPFILE).is_file():
        return Packages(file=PIPFILE, asked=from_pipfile(_read(app / PIPFILE)))
    if (app / REQUIREMENTS).is_file():
        return Packages(file=REQUIREMENTS, source=("--requirements", REQUIREMENTS))
    if poetry.get("dependencies") and "project" not in project:
        asked = from_poetry(project, None, python=python)
        return Packages(file=PROJECT, asked=asked, has_project=is_built and _has_package(app, project))
    if "project" in project:
        return Packages(file=PROJECT, source=("--requirements", PROJECT), has_project=is_built)
    return Packages(file=SETUP if (app / SETUP).is_file() else PROJECT, has_project=True)


def _has_package(app: Path, project: Mapping[str, Any]) -> bool:
    """Would poetry find the package that the project names? An app often has none, and does not say so."""
    poetry = _table(_table(project, "tool"), "poetry")
    if poetry.get("package-mode") is False:
        return False
    name = str(poetry.get("name") or _table(project, "project").get("name") or "").replace("-", "_").lower()
    found = bool(name) and any((app / place / name).is_dir() or (app / place / f"{name}.py").is_file()
                               for place in (".", "src"))  # fmt: skip
    return found or bool(poetry.get("packages"))


def _read(path: Path) -> str:
    if path.stat().st_size > LOCK_BYTES:
        raise BuildError(
            f"{path.name} has {path.stat().st_size} bytes", hint=f"At most {LOCK_BYTES} are read"
        )
    return path.read_text(encoding="utf-8", errors="replace")


def _table(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = of.get(name)
    return found if isinstance(found, dict) else {}
