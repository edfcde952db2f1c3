"""Which Pythons are installed, and which of them an app gets. Apart from `find_interpreters`, nothing here
looks.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from builders.errors import NoInterpreter
from builders.poetry_versions import alternatives
from builders.request import Interpreter

PLACES = ("/usr/bin", "/usr/local/bin", "/opt/*/bin")
NAME = re.compile(r"python3\.\d+")
PROBE = "import sys; print('%d.%d.%d' % sys.version_info[:3]); print(sys.base_prefix)"
PROBE_SECONDS = 10
OLDEST = Version("3.8")
NEWEST_MINOR = 30
PINNED = re.compile(r"(?:c?python-?)?(?P<version>\d+(\.\d+){0,2})")


@dataclass(frozen=True, slots=True)
class Wish:
    """Which Python an app asks for: in which file, in its own words, and as versions."""

    file: str
    text: str
    versions: tuple[SpecifierSet, ...]  # one of them has to hold
    exactly: str | None = None  # the patch release it names; any of the same minor version will do

    def allows(self, version: str) -> bool:
        """Does this Python satisfy it?"""
        return any(versions.contains(version) for versions in self.versions)


def find_interpreters(*, managed: Path | None, homes_allowed: bool) -> tuple[Interpreter, ...]:
    """All Pythons that apps may be built for: our own, those of the system, and those in the folder
    `managed`.

    One in somebody's home directory can vanish or change with that person; it is used only when
    `homes_allowed`.
    """
    own = os.path.realpath(sys.executable)
    paths = {os.path.realpath(path) for path in _candidates(managed)} | {own}
    with ThreadPoolExecutor(max_workers=4) as threads:
        found = [item for item in threads.map(_probe, sorted(paths)) if item is not None]
    marked = [
        Interpreter(
            path=path,
            version=version,
            root="/usr" if Path(root).is_relative_to("/usr") else root,
            is_own=path == own,
            in_home=_is_in_home(path),
        )
        for path, version, root in found
        if Version(version) >= OLDEST
    ]
    return tuple(item for item in marked if homes_allowed or not item.in_home)


def _candidates(managed: Path | None) -> Iterable[Path]:
    folders = [folder for place in PLACES for folder in Path("/").glob(place.lstrip("/"))]
    folders += managed.glob("*/bin") if managed is not None else ()
    for folder in folders:
        try:
            yield from (
                path for path in folder.iterdir() if NAME.fullmatch(path.name) and os.access(path, os.X_OK)
            )
        except OSError:
            continue


def _probe(path: str) -> tuple[str, str, str] | None:
    try:
        ended = subprocess.run(
            [path, "-I", "-S", "-c", PROBE],
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            env={},
            check=True,
        )
        version, root = ended.stdout.splitlines()
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return path, version, root


def _is_in_home(path: str) -> bool:
    homes = [Path("/home"), Path("/root"), Path(os.path.expanduser("~"))]
    return any(Path(path).is_relative_to(home) for home in homes if home != Path("/"))


def pinned(file: str, text: str) -> Wish:
    """A wish from `.python-version` or `runtime.txt`: a version, or anything that `requires-python` takes."""
    match = PINNED.fullmatch(text)
    if match is None:
        return required(file, text)
    parts = match["version"].split(".")
    exactly = match["version"] if len(parts) == 3 else None
    return Wish(file, text, (SpecifierSet(f"=={'.'.join(parts[:2])}.*"),), exactly)


def required(file: str, text: str) -> Wish:
    """A wish written as version specifiers, of PEP 440 or of poetry."""
    try:
        return Wish(file, text, tuple(SpecifierSet(part) for part in alternatives(text)))
    except InvalidSpecifier as error:
        raise NoInterpreter(
            f"{file} asks for Python {text[:80]!r}, which names no version",
            hint="Write a version such as 3.11, or >=3.10",
        ) from error


def lowest_wanted(wish: Wish | None) -> str | None:
    """What to ask for where one may be fetched: the patch release that is named, else the lowest minor
    version that satisfies the app.
    """
    if wish is None:
        return "3"
    if wish.exactly is not None:
        return wish.exactly if Version(wish.exactly) >= OLDEST else None
    minors = range(Version(str(OLDEST)).minor, NEWEST_MINOR)
    return next((f"3.{minor}" for minor in minors if wish.allows(f"3.{minor}.99")), None)


def choose(interpreters: Sequence[Interpreter], wish: Wish | None) -> Interpreter:
    """Our own if it satisfies the app, else the lowest that does: a lock of last year may not build on the
    newest.

    Raises `NoInterpreter`, naming the file, its wish and what is installed.
    """
    fitting = [item for item in interpreters if wish is None or wish.allows(item.version)]
    own = [item for item in fitting if item.is_own]
    if fitting:
        return own[0] if own else min(fitting, key=lambda item: Version(item.version))
    installed = ", ".join(sorted({item.version for item in interpreters}, key=Version)) or "none"
    if wish is None:
        raise NoInterpreter("no Python is installed here that apps may use", hint="apt install python3")
    wanted = wish.text.removeprefix("python-")  # as runtime.txt writes it
    raise NoInterpreter(
        f"{wish.file} asks for Python {wanted}, which is not installed (installed: {installed})",
        hint=f"Ask for one of these in {wish.file}, or install Python {wanted} under /usr or /opt",
    )
