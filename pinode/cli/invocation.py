"""What a command line says before its command: flags, environment, and how it ends."""

import enum
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class ExitCode(enum.IntEnum):
    """Exit codes that scripts rely on."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_ALLOWED = 4
    CONFLICT = 5
    NO_NODE = 6
    NO_LEADER = 7
    TIMED_OUT = 8
    INTERRUPTED = 130


class Failure(Exception):
    """The command did not do what it was asked; said on stderr as `pinode: what` and the hint below it."""

    def __init__(self, what: str, *, hint: str | None = None, code: int = ExitCode.FAILED) -> None:
        super().__init__(what)
        self.hint = hint
        self.code = int(code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """Flags that every command understands."""

    config: Path | None = None
    data_dir: Path | None = None
    servers: tuple[str, ...] = ()
    json: bool = False
    no_input: bool = False
    colour: bool = False
    talks: bool = False  # a person is told on stderr what they should know beside the answer
    environment: Mapping[str, str]

    @staticmethod
    def from_flags(flags: Mapping[str, Any], *, environment: Mapping[str, str]) -> "Invocation":
        """Flags win over the environment."""
        server = flags.get("server") or environment.get("PINODE_SERVER") or ""
        return Invocation(
            config=Path(flags["config"]) if "config" in flags else None,
            data_dir=Path(flags["data_dir"]) if "data_dir" in flags else None,
            servers=tuple(part.strip() for part in server.split(",") if part.strip()),
            json=bool(flags.get("json")),
            no_input=bool(flags.get("no_input")),
            colour=sys.stdout.isatty()
            and not environment.get("NO_COLOR")
            and environment.get("TERM") != "dumb",
            talks=True,
            environment=environment,
        )

    @property
    def overrides(self) -> dict[str, object]:
        """The flags that are settings, as `load_settings` takes them."""
        return {"node.data_dir": str(self.data_dir)} if self.data_dir else {}

    @property
    def may_ask(self) -> bool:
        """Whether somebody sits there who can be asked."""
        return not self.no_input and sys.stdin is not None and sys.stdin.isatty()
