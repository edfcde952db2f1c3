"""Who installs the packages of a Node.js app, by its lock file: npm, Yarn or pnpm, of which version."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builders.errors import BuildError

NPM_LOCKS = ("package-lock.json", "npm-shrinkwrap.json")
YARN_LOCK, PNPM_LOCK = "yarn.lock", "pnpm-lock.yaml"
UNREAD_LOCKS = ("bun.lockb", "bun.lock")
HEAD_BYTES = 64 * 1024
NAMED = re.compile(r"(?P<name>npm|yarn|pnpm|bun)@(?P<version>\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?)(\+.*)?")
YARN_FORMAT = re.compile(r"^__metadata:\s*\n\s+version:\s*[\"']?(\d+)", re.MULTILINE)
PNPM_FORMAT = re.compile(r"^lockfileVersion:\s*[\"']?(\d+)\.", re.MULTILINE)
YARN_FORMATS = {4: 2, 5: 3, 6: 3, 7: 4, 8: 4, 9: 4, 10: 4}  # of the lock file -> major version that writes it
PNPM_FORMATS = {5: 7, 6: 8, 9: 9}
OLD_YARN = 1  # before version 2 it is another program: other options, its packages in node_modules
PRUNING_YARN = 4  # from here on it can leave out what only the build needs


@dataclass(frozen=True, slots=True)
class NodePackages:
    """How an app's packages are installed. `needed`: what npm fetches for it first; `lock`: None, without."""

    program: str
    lock: str | None
    needed: str | None
    major: int

    def install(self, *, for_build: bool) -> list[str]:
        """The words after the program: exactly what the lock names; for the build all of it."""
        match self.program:
            case "pnpm":
                return ["install", "--frozen-lockfile", *([] if for_build else ["--prod"])]
            case "yarn" if self.major == OLD_YARN:
                return [
                    "install",
                    "--frozen-lockfile",
                    "--non-interactive",
                    f"--production={_yes(not for_build)}",
                ]
            case "yarn" if self.major >= PRUNING_YARN and not for_build:
                return ["workspaces", "focus", "--all", "--production"]
            case "yarn":
                return ["install", "--immutable"]
        return ["ci" if self.lock else "install", "--include=dev" if for_build else "--omit=dev"]

    def prune(self) -> list[str]:
        """The words that take out what only the build needed; none where the program cannot."""
        match self.program:
            case "pnpm":
                return ["prune", "--prod"]
            case "yarn" if self.major == OLD_YARN:
                return [*self.install(for_build=False), "--ignore-scripts", "--prefer-offline"]
            case "yarn":
                return self.install(for_build=False) if self.major >= PRUNING_YARN else []
        return ["prune", "--omit=dev"]

    def settings(self, cache: str) -> Mapping[str, str]:
        """The environment: its cache, and nothing that asks, reports or leaves node_modules out."""
        return {
            "CI": "true",
            "npm_config_cache": f"{cache}/npm",
            "npm_config_update_notifier": "false",
            "npm_config_fund": "false",
            "npm_config_audit": "false",
            "npm_config_progress": "false",
            "npm_config_store_dir": f"{cache}/pnpm",
            "npm_config_package_import_method": "copy",  # a link into the cache is none of the slug's
            "npm_config_manage_package_manager_versions": "false",
            "YARN_CACHE_FOLDER": f"{cache}/yarn",
            "YARN_GLOBAL_FOLDER": f"{cache}/yarn",
            "YARN_ENABLE_TELEMETRY": "0",
            "YARN_NODE_LINKER": "node-modules",  # `node` alone finds them there
        }


def packages_of(app: Path, package: Mapping[str, Any]) -> NodePackages:
    """By `packageManager` of package.json if it is named there, else by the lock file.

    Raises `BuildError` when that names what cannot be had here.
    """
    named, wanted = _named(package), package.get("packageManager")
    lock = next((name for name in NPM_LOCKS if (app / name).is_file()), None)
    program = named["name"] if named else _by_locks(app, lock)
    if program == "bun" or (wanted is not None and named is None):
        raise BuildError(
            f"package.json asks for the package manager {str(wanted)[:60]!a}; npm, Yarn and pnpm are known",
            hint='Write one of them with its version, as in "packageManager": "pnpm@9.15.9"',
        )
    if program == "npm":
        return NodePackages("npm", lock, None, 0)
    lock = YARN_LOCK if program == "yarn" else PNPM_LOCK
    if not (app / lock).is_file():
        raise BuildError(
            f"package.json names {program} as its package manager and there is no {lock}",
            hint=f"Commit the {lock} that `{program} install` writes",
        )
    major = int(named["version"].partition(".")[0]) if named else _major_of(app / lock)
    name = "@yarnpkg/cli-dist" if program == "yarn" and major > OLD_YARN else program
    return NodePackages(program, lock, f"{name}@{named['version'] if named else major}", major)


def unread_lock(app: Path) -> str | None:
    """A lock file of a program that is not known here."""
    return next((name for name in UNREAD_LOCKS if (app / name).is_file()), None)


def _named(package: Mapping[str, Any]) -> re.Match[str] | None:
    wanted = package.get("packageManager")
    return NAMED.fullmatch(wanted) if isinstance(wanted, str) else None


def _by_locks(app: Path, npm_lock: str | None) -> str:
    others = {YARN_LOCK: "yarn", PNPM_LOCK: "pnpm"}
    found = [program for name, program in others.items() if (app / name).is_file()]
    return found[0] if found and npm_lock is None else "npm"


def _major_of(lock: Path) -> int:
    """The major version that writes such a lock file."""
    with lock.open("rb") as file:
        head = file.read(HEAD_BYTES).decode("utf-8", errors="replace")
    is_yarn = lock.name == YARN_LOCK
    found = (YARN_FORMAT if is_yarn else PNPM_FORMAT).search(head)
    if is_yarn and found is None:
        return OLD_YARN
    major = (YARN_FORMATS if is_yarn else PNPM_FORMATS).get(int(found[1])) if found else None
    if major is None:
        raise BuildError(
            f"{lock.name} is of a format that is not known here ({found[1] if found else 'it names none'})",
            hint='Name the program in package.json, as in "packageManager": "pnpm@9.15.9"',
        )
    return major


def _yes(value: bool) -> str:
    return json.dumps(value)
