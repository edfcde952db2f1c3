"""Python apps: an interpreter that satisfies them, a virtual environment beside them, and their packages in
it.

The environment is relocatable: the slug runs at /app, and where there is no sandbox, wherever it is unpacked.
"""

import os
import re
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import Version

from builders.builder import SYSTEM_PATH, BuildContext, Built
from builders.errors import BuildError, StepFailed
from builders.interpreters import Wish, choose, pinned, required
from builders.request import Interpreter
from builders.web_process import infer_web_process, is_django

ENVIRONMENT = ".venv"
REQUIREMENTS, PROJECT, UV_LOCK = "requirements.txt", "pyproject.toml", "uv.lock"
# `python -m venv` gives setuptools, and so pkg_resources, up to 3.11; later setuptools have no pkg_resources.
LAST_WITH_SETUPTOOLS = Version("3.12")
SETUPTOOLS = "setuptools<81"
OWN_NAMES = ("PATH", "HOME", "VIRTUAL_ENV", "TMPDIR", "PORT")
READ_BYTES = 512 * 1024


class PythonBuilder:
    """uv.lock, else requirements.txt, else pyproject.toml or setup.py; installed by uv."""

    name = "python"
    wants = f"{UV_LOCK}, {REQUIREMENTS}, {PROJECT} or setup.py"

    def detects(self, app: Path) -> bool:
        return any((app / name).is_file() for name in (REQUIREMENTS, PROJECT, "setup.py"))

    async def build(self, context: BuildContext) -> Built:
        project = _read_project(context.app)
        wish = _wish(context.app, project)
        interpreter = choose(context.request.interpreters, wish)
        notes = _say_interpreter(context, interpreter, wish)
        if (context.app / ENVIRONMENT).exists():
            raise BuildError(
                f"the repository holds a {ENVIRONMENT} of its own", hint="Remove it, add it to .gitignore"
            )
        environment = _Environment(context, interpreter)
        await environment.make()
        await environment.install(project)
        web = None if context.procfile else infer_web_process(context.app)
        if web is not None:
            await environment.have(web.server)
        if is_django(context.app):
            await environment.collect_static()
        await environment.compile_app()
        notes += _storage_notes(context.app)
        return Built(
            process_types={"web": web.command} if web else {},
            python=interpreter.version,
            interpreter=interpreter.path,
            inferred=f"{web.because}, so web runs `{web.command}`" if web else None,
            notes=tuple(notes),
        )


@dataclass(frozen=True, slots=True)
class _Environment:
    """The app's virtual environment and what is put into it."""

    context: BuildContext
    interpreter: Interpreter

    @property
    def _bin(self) -> Path:
        return self.context.app / ENVIRONMENT / "bin"

    def _env(self) -> Mapping[str, str]:
        """What commands of the build see: the machine's index settings, the app's config vars, and what we
        need.
        """
        request = self.context.request
        own = {
            "PATH": f"{self._bin}:{SYSTEM_PATH}",
            "HOME": f"{request.work}/home",
            "TMPDIR": f"{request.work}/tmp",
            "VIRTUAL_ENV": str(self._bin.parent),
            "UV_PROJECT_ENVIRONMENT": str(self._bin.parent),
            "UV_CACHE_DIR": f"{request.cache}/uv",
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_LINK_MODE": "copy",  # a link would let an app change the cache
            "UV_NO_PROGRESS": "1",
            "NO_COLOR": "1",
            "PYC_INVALIDATION_MODE": "UNCHECKED_HASH",  # the same files, whenever it is built
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "LANG": "C.UTF-8",
        }
        config = {name: value for name, value in request.config_vars.items() if name not in OWN_NAMES}
        return {**os.environ, **config, **own}

    async def _uv(self, step: str, *words: str) -> None:
        await self.context.run(step, [self.context.request.uv, *words], self._env())

    async def make(self) -> None:
        """The empty environment, with what `python -m venv` would have put into it."""
        words = ["venv", "--quiet", "--relocatable", "--no-project", "--python", self.interpreter.path]
        await self._uv("making the virtual environment", *words, str(self._bin.parent))
        if Version(self.interpreter.version) < LAST_WITH_SETUPTOOLS:
            bundled = _bundled_setuptools(self.interpreter)
            alone = ["--no-deps", "--no-index"] if bundled else []
            await self._install("installing setuptools", *alone, str(bundled or SETUPTOOLS), compiled=False)

    async def install(self, project: Mapping[str, Any]) -> None:
        """What the app's own files ask for; lock files go first."""
        app = self.context.app
        if (app / UV_LOCK).is_file():
            self.context.log.step(f"Installing what {UV_LOCK} names")
            words = ["sync", "--frozen", "--no-dev", "--no-editable", "--inexact", "--compile-bytecode"]
            await self._uv(f"installing {UV_LOCK}", *words, "--python", str(self._bin / "python"))
        elif (app / REQUIREMENTS).is_file():
            self.context.log.step(f"Installing what {REQUIREMENTS} names")
            await self._install(f"installing {REQUIREMENTS}", "--requirements", REQUIREMENTS)
        elif "project" in project and "build-system" not in project:
            self.context.log.step(f"Installing the dependencies in {PROJECT}")
            await self._install(f"installing {PROJECT}", "--requirements", PROJECT)
        else:
            self.context.log.step("Installing the project and its dependencies")
            await self._install("installing the project", ".")

    async def have(self, server: str) -> None:
        """The package that serves the app, if nothing else has brought it."""
        if (self._bin / server).exists():
            return
        self.context.log.step(
            f"Installing {server}: nothing in the app names it, and it is needed to serve it"
        )
        await self._install(f"installing {server}", server)

    async def collect_static(self) -> None:
        """Django's static files, when its settings say where they go."""
        config = self.context.request.config_vars
        if config.get("DISABLE_COLLECTSTATIC", "") not in ("", "0") or not _collects_static(self.context.app):
            return
        self.context.log.step("python manage.py collectstatic --noinput")
        try:
            words = [str(self._bin / "python"), "manage.py", "collectstatic", "--noinput"]
            await self.context.run("collectstatic", words, self._env())
        except StepFailed as error:
            raise StepFailed(
                error.message, hint="Mend it, set the config vars it needs, or set DISABLE_COLLECTSTATIC=1"
            ) from error

    async def compile_app(self) -> None:
        """Bytecode of the app's own modules, so that its first start is quick; a file that does not
        compile stays.
        """
        words = [
            str(self._bin / "python"),
            "-m",
            "compileall",
            "-q",
            "-q",
            "--invalidation-mode",
            "checked-hash",
        ]
        skip = ["-x", rf"^\./{re.escape(ENVIRONMENT)}/", "."]
        try:
            await self.context.run("compiling", [*words, *skip], self._env())
        except StepFailed:
            self.context.log.line("some files are not of this Python's language; left as they are")
        for stamped in self._bin.parent.glob("lib/*/site-packages/_distutils_hack/__pycache__"):
            # Every start of the interpreter imports it; what it wrote while we built bears the time of the
            # build.
            shutil.rmtree(stamped)

    async def _install(self, step: str, *words: str, compiled: bool = True) -> None:
        # Bytecode makes first starts quick; of setuptools few apps need any.
        options = ["--compile-bytecode"] if compiled else ["--quiet"]
        await self._uv(step, "pip", "install", *options, "--python", str(self._bin / "python"), *words)


def _read_project(app: Path) -> dict[str, Any]:
    path = app / PROJECT
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BuildError(
            f"{PROJECT} cannot be read ({error})", hint="Mend it; it is TOML in UTF-8"
        ) from error


def _wish(app: Path, project: Mapping[str, Any]) -> Wish | None:
    for name in (".python-version", "runtime.txt"):
        path = app / name
        if path.is_file():
            lines = [line.strip() for line in path.read_text(errors="replace")[:4_096].splitlines()]
            words = [line for line in lines if line and not line.startswith("#")]
            if words:
                return pinned(name, words[0])
    wanted = _table(project, "project").get("requires-python")
    if not isinstance(wanted, str):
        poetry = _table(_table(project, "tool"), "poetry")
        wanted = _table(poetry, "dependencies").get("python")
    return required(PROJECT, wanted) if isinstance(wanted, str) else None


def _table(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = of.get(name)
    return found if isinstance(found, dict) else {}


def _say_interpreter(context: BuildContext, chosen: Interpreter, wish: Wish | None) -> list[str]:
    because = f", as {wish.file} asks ({wish.text})" if wish else ""
    home = f", in a home directory: {chosen.path}" if chosen.in_home else ""
    context.log.step(f"Python {chosen.version}{because}{home}")
    if wish is None or wish.exactly in (None, chosen.version):
        return []
    return [f"{wish.file} names {wish.exactly}; {chosen.version} is what is installed of it"]


def _bundled_setuptools(interpreter: Interpreter) -> Path | None:
    """The wheel that `python -m venv` would install, which needs no index."""
    minor = ".".join(interpreter.version.split(".")[:2])
    places = (
        Path(interpreter.root) / f"lib/python{minor}/ensurepip/_bundled",
        Path("/usr/share/python-wheels"),
    )
    for place in places:
        for wheel in sorted(place.glob("setuptools-*-py3-none-any.whl"), reverse=True):
            return wheel
    return None


def _collects_static(app: Path) -> bool:
    return any("STATIC_ROOT" in text and "staticfiles" in text for text in _settings_texts(app))


def _storage_notes(app: Path) -> list[str]:
    if any("django.db.backends.sqlite3" in text for text in _settings_texts(app)):
        return ["the settings name an SQLite database: its file is lost at every start of a dyno"]
    return []


def _settings_texts(app: Path) -> list[str]:
    paths = [
        path
        for pattern in ("*/settings*.py", "*/settings/*.py", "*/*/settings*.py")
        for path in app.glob(pattern)
    ]
    readable = [path for path in paths[:50] if not path.is_symlink() and path.stat().st_size < READ_BYTES]
    return [path.read_text(errors="replace") for path in readable if ENVIRONMENT not in path.parts]
