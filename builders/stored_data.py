"""Whether an app keeps data in an SQLite file, which is lost at every start of a dyno."""

import os
from collections.abc import Iterator
from pathlib import Path

SIGNS = (
    b"django.db.backends.sqlite3",
    b"sqlite:///",
    b"import sqlite3",
    b"mattn/go-sqlite3",
    b"modernc.org/sqlite",
    b"better-sqlite3",
)
DATABASES = (".sqlite", ".sqlite3")
SOURCES = (".py", ".go", ".mod", ".js", ".mjs", ".cjs", ".ts", ".json", ".toml", ".txt", ".cfg", ".ini")
LEFT_OUT = (".git", ".venv", "node_modules", "vendor", "tests", "test", "docs")
NPM_LOCK = "package-lock.json"  # names what packages could use, too
MOST_FILES = 2_000
READ_BYTES = 256 * 1024


def storage_notes(app: Path) -> tuple[str, ...]:
    """What the build log says of it; nothing where no sign is found in the app's own files."""
    name = next((name for name in _files(app) if _is_sign(app / name)), None)
    if name is None:
        return ()
    what = "is" if name.endswith(DATABASES) else "names"
    return (f"{name} {what} an SQLite database: what an app writes there is lost at every start of a dyno",)


def _files(app: Path) -> Iterator[str]:
    seen = 0
    for here, folders, files in os.walk(app):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT)
        for name in sorted(files):
            seen += 1
            if seen > MOST_FILES:
                return
            yield os.path.relpath(os.path.join(here, name), app)


def _is_sign(path: Path) -> bool:
    suffix = path.suffix.lower()
    if (
        path.is_symlink()
        or not path.is_file()
        or suffix not in (*SOURCES, *DATABASES)
        or path.name == NPM_LOCK
    ):
        return False
    if suffix in DATABASES:
        return True
    try:
        with path.open("rb") as file:
            text = file.read(READ_BYTES)
    except OSError:
        return False
    return any(sign in text for sign in SIGNS)
