"""What a builder is, and which there are. A new language is one more module and one more line here."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from builders.layer import KeptLayer
from builders.log import BuildLog
from builders.request import BuildRequest

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"

# Runs a command in the app's folder, its output in the log; raises StepFailed with the step's name, or
# BoundHit. An app's own code (whatever it installs, too) runs by `run`, where it sees neither the shared
# cache nor the result; a tool that runs nothing of the app by `run_tool`, and only before the first `run`.
Run = Callable[[str, list[str], Mapping[str, str]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildContext:
    """What a builder works with: the app's files, checked out and its own to change, and how to run
    commands.
    """

    request: BuildRequest
    app: Path
    log: BuildLog
    run: Run
    run_tool: Run
    attempt: Callable[
        [str, list[str], Mapping[str, str]], Awaitable[bool]
    ]  # as run_tool, heard if it ends well
    procfile: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a builder made of the app, in place. `process_types` are those it suggests when a Procfile
    names none.
    """

    process_types: Mapping[str, str] = field(default_factory=dict)
    python: str | None = None
    interpreter: str | None = None  # path of a program of the node without which it does not run
    inferred: str | None = None
    notes: tuple[str, ...] = ()
    machine: str | None = None  # for which it is, as in `uname -m`, or several; None: as its files say
    is_as_sent: bool = False  # nothing was made of it: its machine code was in the repository
    layer: KeptLayer | None = None  # what of it was packed before, or is to be kept packed


class Builder(Protocol):
    """One kind of app. `wants` says what it looks for, for people whose app nothing matched."""

    name: str
    wants: str

    def detects(self, app: Path) -> str | None:
        """The file by which the app is of this kind, or None. Looks at names only."""
        ...

    async def build(self, context: BuildContext) -> Built:
        """Install what the app needs into its folder. Raises `BuildError`."""
        ...


class ProcfileBuilder:
    """An app that brings all it needs: nothing is installed, its Procfile says what runs."""

    name = "procfile"
    wants = "Procfile"

    def detects(self, app: Path) -> str | None:
        return "Procfile" if (app / "Procfile").is_file() else None

    async def build(self, context: BuildContext) -> Built:
        context.log.step("Only a Procfile: nothing to install")
        return Built(is_as_sent=True)
