"""Which Python an app asks for, and in which of its files."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builders.interpreters import PINNED, Wish, pinned, required
from builders.lock_files import read_toml

READ_CHARACTERS = 4_096
WISHES = (">", "<", "=", "~", "!", "pypy", "graalpy", "jython")
SETUP_REQUIRES = re.compile(r"""python_requires\s*=\s*["']?([<>=!~0-9.,* ]+)""")


def python_wish(app: Path, project: Mapping[str, Any]) -> Wish | None:
    """`.python-version`, `runtime.txt`, Pipfile, `requires-python`, poetry's `python`, setup.py's
    `python_requires`: the first of them that names one.
    """
    for name in (".python-version", "runtime.txt"):
        for line in _text(app / name)[:READ_CHARACTERS].splitlines():
            # pyenv also keeps names of environments in its file; they say nothing of a version.
            is_wish = PINNED.fullmatch(line.strip()) or line.strip().startswith(WISHES)
            if is_wish or (name == "runtime.txt" and line.strip() and not line.startswith("#")):
                return pinned(name, line.strip())
    pipfile = _table(read_toml("Pipfile", _text(app / "Pipfile")), "requires")
    for key in ("python_full_version", "python_version"):
        if isinstance(pipfile.get(key), str) and pipfile[key] != "*":
            return pinned("Pipfile", pipfile[key])
    wanted = _table(project, "project").get("requires-python")
    if not isinstance(wanted, str):
        wanted = _table(_table(_table(project, "tool"), "poetry"), "dependencies").get("python")
    if isinstance(wanted, str):
        return pinned("pyproject.toml", wanted)  # poetry's may be a plain version
    for name in ("setup.py", "setup.cfg"):
        if found := SETUP_REQUIRES.search(_text(app / name)):
            return required(name, found[1].strip())
    return None


def _text(path: Path) -> str:
    if not path.is_file() or path.stat().st_size > 64 * READ_CHARACTERS:
        return ""
    return path.read_text(encoding="utf-8", errors="replace")


def _table(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = of.get(name)
    return found if isinstance(found, dict) else {}
