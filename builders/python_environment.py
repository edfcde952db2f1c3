"""An app's virtual environment: made, filled by uv, compiled.

First our own tools install what comes as wheels, from the cache that all apps share, and run nothing of it.
What has to be built, or needs the app's config vars to be fetched, comes after, behind the inner walls, from
a cache of the app's own.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from builders.builder import SYSTEM_PATH, BuildContext
from builders.errors import StepFailed
from builders.layer import KeptLayer, layer_of
from builders.python_packages import Packages
from builders.request import Interpreter

ENVIRONMENT = ".venv"
OWN_PYTHON = ".python"  # an interpreter that the slug brings along
# `python -m venv` gives setuptools, and so pkg_resources, up to 3.11; later setuptools have no pkg_resources.
LAST_WITH_SETUPTOOLS = Version("3.12")
SETUPTOOLS = "setuptools<81"
OWN_NAMES = ("PATH", "HOME", "VIRTUAL_ENV", "TMPDIR", "PORT")
COMPILERS = 2  # a fixed number: which file is compiled after which must not depend on the machine
SELDOM_RUN = (
    r"/site-packages/(setuptools|_distutils_hack|pip)/"  # to compile it would take longer than it saves
)
UNBUILT = re.compile(r"[Ff]ailed to (build|download and build) `(?P<package>[^`]{1,200})`")
UNKNOWN = re.compile(
    r"\S+ (was not found in the package registry|has no version \S+)|there is no version of \S+"
)
PKG_RESOURCES = re.compile(rb"^(from|import) pkg_resources\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Environment:
    """The app's virtual environment and what is put into it."""

    context: BuildContext
    interpreter: Interpreter

    @property
    def bin(self) -> Path:
        """Where its programs are."""
        return self.context.app / ENVIRONMENT / "bin"

    @property
    def _packages(self) -> Path:
        minor = ".".join(self.interpreter.version.split(".")[:2])
        return self.bin.parent / "lib" / f"python{minor}" / "site-packages"

    async def make(self) -> None:
        """The empty environment, with what `python -m venv` would have put into it."""
        words = ["venv", "--quiet", "--relocatable", "--no-project", "--python", self.interpreter.path]
        await self._tool("making the virtual environment", *words, str(self.bin.parent))
        if self.interpreter.path.startswith(f"{self.context.app}/"):
            self._link_own_python()
        if Version(self.interpreter.version) < LAST_WITH_SETUPTOOLS:
            bundled = _bundled_setuptools(self.interpreter)
            alone = ["--no-deps", "--no-index"] if bundled else ["--no-build"]
            words = [*self._install_words(), "--quiet", *alone, str(bundled or SETUPTOOLS)]
            await self._tool("installing setuptools", *words)

    def _link_own_python(self) -> None:
        for link in sorted(self.bin.glob("python*")):
            if link.is_symlink() and os.readlink(link).startswith("/"):
                target = os.path.relpath(self.interpreter.path, self.bin)
                link.unlink()
                link.symlink_to(target)

    async def install(self, packages: Packages) -> None:
        """Fill it. Raises `StepFailed`, `BoundHit`."""
        self.context.log.step(f"Installing what {packages.file} names")
        if packages.is_uv_lock:
            await self._sync(packages)
            return
        words = list(packages.source)
        if packages.asked is not None:
            words = self._written(packages.asked.requirements, packages.asked.constraints)
            words += ["--no-deps"] if packages.asked.is_whole else []
        if words and not await self._attempt(packages.file, *self._install_words(), "--no-build", *words):
            self.context.log.line("not all of it comes as wheels; what does not is built here")
            await self._own(f"installing {packages.file}", *self._install_words(), *words)
        if packages.has_project:
            alone = ["--no-deps"] if packages.asked is not None else []
            await self._own("installing the project", *self._install_words(), *alone, ".")

    async def _sync(self, packages: Packages) -> None:
        words = ["sync", "--frozen", "--no-dev", "--no-editable", "--inexact"]
        words += ["--python", str(self.bin / "python")]
        wheels = await self._attempt(packages.file, *words, "--no-build", "--no-install-local")
        if not wheels:
            self.context.log.line("not all of it comes as wheels; what does not is built here")
        await self._own(f"installing {packages.file}", *words)

    def _written(self, requirements: tuple[str, ...], constraints: tuple[str, ...]) -> list[str]:
        """The lines as files that uv reads. Relative paths in them are the app's."""
        words: list[str] = []
        for option, lines in (("--requirements", requirements), ("--constraints", constraints)):
            if lines:
                path = Path(self.context.request.work) / f"{option.strip('-')}.txt"
                path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
                words += [option, str(path)]
        return words

    async def have(self, server: str, *more: str) -> None:
        """The package that serves the app, if nothing else has brought it."""
        if (self.bin / server).exists():
            return
        self.context.log.step(
            f"Installing {server}: nothing in the app names it, and it is needed to serve it"
        )
        await self._own(f"installing {server}", *self._install_words(), server, *more)

    async def have_pkg_resources(self) -> None:
        """setuptools, where a package imports pkg_resources and nothing has brought it, as old ones do."""
        if (self._packages / "pkg_resources").exists():
            return
        wanting = next(
            (
                path.relative_to(self._packages).parts[0]
                for pattern in ("*.py", "*/*.py")
                for path in sorted(self._packages.glob(pattern))
                if path.is_file() and PKG_RESOURCES.search(path.read_bytes())
            ),
            None,
        )
        if wanting is not None:
            self.context.log.step(f"Installing setuptools: {wanting} imports pkg_resources")
            await self._own("installing setuptools", *self._install_words(), SETUPTOOLS)

    async def run_python(self, step: str, *words: str) -> None:
        """The app's own code, with its config vars."""
        await self.context.run(step, [str(self.bin / "python"), *words], self._env(own=True))

    async def compile(self) -> KeptLayer:
        """Bytecode, so that first starts are quick; a file that does not compile stays as it is. The same
        files give the same bytes: they bear a hash of their source, not its time. What was compiled and
        packed before, the layer that is returned, is not compiled again.
        """
        base = [self.interpreter.path, "-I", "-S", "-W", "ignore", "-m", "compileall", "-q", "-q"]
        base += ["-s", str(self.context.app), "-p", "/app"]
        packages = ["-j", str(COMPILERS), "--invalidation-mode", "unchecked-hash", "-x", SELDOM_RUN]
        # Not where it is built: the same files elsewhere give the same.
        made_by = " ".join([self.interpreter.version, *packages])
        layer = layer_of(self.context.request, ENVIRONMENT, made_by=made_by)
        if layer.known is None:
            await self._compile(*base, *packages, str(self._packages))
        # What an app may write to at run time is looked at again when it runs.
        others = rf"^\./({re.escape(ENVIRONMENT)}|{re.escape(OWN_PYTHON)})/"
        await self._compile(*base, "--invalidation-mode", "checked-hash", "-x", others, ".")
        return layer

    async def _compile(self, *words: str) -> None:
        try:
            await self.context.run("compiling", list(words), self._env(own=True))
        except StepFailed:
            self.context.log.line("some files are not of this Python's language; left as they are")

    def _install_words(self) -> list[str]:
        return ["pip", "install", "--python", str(self.bin / "python")]

    async def _tool(self, step: str, *words: str) -> None:
        await self.context.run_tool(step, [self.context.request.uv, *words], self._env(own=False))

    async def _own(self, step: str, *words: str) -> None:
        try:
            await self.context.run(step, [self.context.request.uv, *words], self._env(own=True))
        except StepFailed as error:
            raise self._explained(step, error) from error

    def _explained(self, step: str, error: StepFailed) -> StepFailed:
        """uv's many lines in one that names the package."""
        for line in error.said:
            if match := UNBUILT.search(line):
                lacks = f"{match['package']} has no wheel for Python {self.interpreter.version} here"
                return StepFailed(
                    f"{step} failed: {lacks}, and could not be built",
                    hint="The lines above say why; another version of it, or another Python, may have one",
                    said=error.said,
                )
            if match := UNKNOWN.search(line):
                return StepFailed(
                    f"{step} failed: {match[0]}", hint="Check its name and version", said=error.said
                )
        return error

    async def _attempt(self, file: str, *words: str) -> bool:
        if any(name.startswith(("UV_", "PIP_")) for name in self.context.request.config_vars):
            return False  # the app says where its packages come from; that is for its own cache
        return await self.context.attempt(
            f"installing {file}", [self.context.request.uv, *words], self._env(own=False)
        )

    def _env(self, *, own: bool) -> Mapping[str, str]:
        """What commands see: the machine's index settings and what we need; with `own` the app's config vars
        and programs too.
        """
        request = self.context.request
        fixed = {
            "PATH": f"{self.bin}:{SYSTEM_PATH}" if own else SYSTEM_PATH,
            "HOME": f"{request.work}/home",
            "TMPDIR": f"{request.work}/tmp",
            "VIRTUAL_ENV": str(self.bin.parent),
            "UV_PROJECT_ENVIRONMENT": str(self.bin.parent),
            "UV_CACHE_DIR": f"{request.own_cache if own else request.cache}/uv",
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_KEYRING_PROVIDER": "disabled",
            "UV_LINK_MODE": "copy",  # a link would let an app change the cache
            "UV_NO_PROGRESS": "1",
            "NO_COLOR": "1",
            "PYTHONHASHSEED": "0",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "LANG": "C.UTF-8",
        }
        config = request.config_vars if own else {}
        return {
            **os.environ,
            **{name: value for name, value in config.items() if name not in OWN_NAMES},
            **fixed,
        }


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
