"""Python apps: an interpreter that satisfies them, a virtual environment beside them, and their packages in
it.

The environment is relocatable: the slug runs at /app, and where there is no sandbox, wherever it is unpacked.
"""

import os
import platform
from pathlib import Path
from typing import Any

from builders.builder import BuildContext, Built
from builders.errors import BuildError, NoInterpreter, StepFailed
from builders.interpreters import Wish, choose
from builders.lock_files import read_toml
from builders.own_python import fetch_own_python
from builders.python_environment import ENVIRONMENT, OWN_PYTHON, Environment
from builders.python_packages import PIPFILE, PIPFILE_LOCK, PROJECT, REQUIREMENTS, SETUP, UV_LOCK, packages_of
from builders.python_wish import python_wish
from builders.request import Interpreter
from builders.web_process import infer_web_process, is_django

READ_BYTES = 512 * 1024
MARKER = "platform_machine"  # PEP 508: a package that is wanted on some CPUs only
MARKER_CHARACTERS = 8 * 1024 * 1024
LOCKS = (UV_LOCK, "poetry.lock", PIPFILE_LOCK, PIPFILE)


class PythonBuilder:
    """Lock files first: uv's, poetry's, Pipenv's; then requirements.txt, pyproject.toml, setup.py."""

    name = "python"
    wants = f"{UV_LOCK}, poetry.lock, {PIPFILE}, {REQUIREMENTS}, {PROJECT} or {SETUP}"

    def detects(self, app: Path) -> str | None:
        names = (UV_LOCK, "poetry.lock", PIPFILE_LOCK, PIPFILE, REQUIREMENTS, PROJECT, SETUP)
        return next((name for name in names if (app / name).is_file()), None)

    async def build(self, context: BuildContext) -> Built:
        project = _read_project(context.app)
        for name in (ENVIRONMENT, OWN_PYTHON):
            if os.path.lexists(context.app / name):
                raise BuildError(
                    f"the repository holds a {name} of its own", hint="Remove it, add it to .gitignore"
                )
        wish = python_wish(context.app, project)
        interpreter = await _interpreter(context, wish)
        notes = _say_interpreter(context, interpreter, wish)
        packages = packages_of(context.app, project, python=interpreter.version)
        notes += packages.asked.notes if packages.asked else ()
        environment = Environment(context, interpreter)
        await environment.make()
        await environment.install(packages)
        web = None if context.procfile else infer_web_process(context.app)
        if web is not None:
            await environment.have(web.server)
        await environment.have_pkg_resources()
        if is_django(context.app):
            await _collect_static(context, environment)
        layer = await environment.compile()
        return Built(
            process_types={"web": web.command} if web else {},
            python=interpreter.version,
            # One that the slug brings along is no node's.
            interpreter=None if interpreter.path.startswith(f"{context.app}/") else interpreter.path,
            machine=platform.machine() if _differs_by_machine(context.app) else None,
            inferred=f"{web.because}, so web runs `{web.command}`" if web else None,
            notes=tuple(notes),
            layer=layer,
        )


def _read_project(app: Path) -> dict[str, Any]:
    path = app / PROJECT
    return read_toml(PROJECT, path.read_text(encoding="utf-8", errors="replace")) if path.is_file() else {}


async def _interpreter(context: BuildContext, wish: Wish | None) -> Interpreter:
    try:
        return choose(context.request.interpreters, wish)
    except NoInterpreter as missing:
        fetched = await fetch_own_python(context, wish)
        if fetched is not None:
            return fetched
        tried = ", and none could be fetched" if context.request.python_downloads else ""
        raise NoInterpreter(f"{missing.message}{tried}", hint=missing.hint) from missing


def _say_interpreter(context: BuildContext, chosen: Interpreter, wish: Wish | None) -> list[str]:
    because = f", as {wish.file} asks ({wish.text})" if wish else ""
    home = f", in a home directory: {chosen.path}" if chosen.in_home else ""
    context.log.step(f"Python {chosen.version}{because}{home}")
    if wish is None or wish.exactly in (None, chosen.version):
        return []
    return [f"{wish.file} names {wish.exactly}; {chosen.version} is what is installed of it"]


async def _collect_static(context: BuildContext, environment: Environment) -> None:
    """Django's static files, when its settings say where they go."""
    off = context.request.config_vars.get("DISABLE_COLLECTSTATIC", "") not in ("", "0")
    if off or not any("STATIC_ROOT" in text and "staticfiles" in text for text in _settings(context.app)):
        return
    context.log.step("python manage.py collectstatic --noinput")
    try:
        await environment.run_python("collectstatic", "manage.py", "collectstatic", "--noinput")
    except StepFailed as error:
        raise StepFailed(
            error.message, hint="Mend it, set the config vars it needs, or set DISABLE_COLLECTSTATIC=1"
        ) from error


def _differs_by_machine(app: Path) -> bool:
    """Whether what was installed may be other packages on another CPU, be there machine code or not."""
    said = [app / name for name in (*LOCKS, REQUIREMENTS, PROJECT)]
    said += (app / ENVIRONMENT).glob("lib/python*/site-packages/*.dist-info/METADATA")
    return any(path.is_file() and not path.is_symlink() and _names_machine(path) for path in said)


def _names_machine(path: Path) -> bool:
    with path.open(errors="replace") as file:
        return MARKER in file.read(MARKER_CHARACTERS)


def _settings(app: Path) -> list[str]:
    patterns = ("*/settings*.py", "*/settings/*.py", "*/*/settings*.py")
    paths = [path for pattern in patterns for path in app.glob(pattern)]
    readable = [path for path in paths[:50] if not path.is_symlink() and path.stat().st_size < READ_BYTES]
    return [path.read_text(errors="replace") for path in readable if ENVIRONMENT not in path.parts]
