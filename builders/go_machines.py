"""For which machines Go programs are compiled, and how one path starts the right one on each of them."""

import platform
from collections.abc import Collection, Mapping
from pathlib import Path

from builders.inner_folder import make_inner_folder

GO_NAMES: Mapping[str, Mapping[str, str]] = {  # by the machine's name in `uname -m`
    "x86_64": {"GOARCH": "amd64"},
    "aarch64": {"GOARCH": "arm64"},
    "armv7l": {"GOARCH": "arm", "GOARM": "7"},
    "armv6l": {"GOARCH": "arm", "GOARM": "6"},
    "riscv64": {"GOARCH": "riscv64"},
}
LAUNCHER = """#!/bin/sh
exec "${0%/*}/.$(uname -m)/${0##*/}" "$@"
"""


def machines_for(asked: Collection[str]) -> tuple[str, ...]:
    """For which of the machines asked for to compile; this one where none is, or Go knows one of them not."""
    known = tuple(sorted(set(asked)))
    return known if known and all(machine in GO_NAMES for machine in known) else (platform.machine(),)


def folder_of(app: Path, machine: str, machines: Collection[str]) -> Path:
    """Where the programs for one machine go. Raises `BuildError` when the repository has something there."""
    return make_inner_folder(app, "bin" if len(machines) == 1 else f"bin/.{machine}")


def write_launcher(path: Path) -> None:
    """Have the new file `path` start its namesake for the machine it runs on."""
    with path.open("x") as file:
        file.write(LAUNCHER)
    path.chmod(0o755)
