"""What a child may see, take and be: everything bubblewrap has to be told, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pinode.errors import PinodeError
from pinode.sandbox.limits import Limits

APP_DIRECTORY = "/app"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# More than these do not fit bubblewrap's own bound of 9,000 arguments.
MOST_VARIABLES = 2_500
MIB = 1024 * 1024


class SandboxError(PinodeError):
    """A child cannot be isolated as it has to be."""

    code = "sandbox"


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or directory of the system, seen by the child at `target`."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Where the programs are that build the walls."""

    bwrap: str = "/usr/bin/bwrap"
    setpriv: str = "/usr/bin/setpriv"
    prlimit: str = "/usr/bin/prlimit"
    nice: str = "/usr/bin/nice"
    unshare: str = "/usr/bin/unshare"


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """One child. `command` is an argument list; a text of a user is given to `/bin/sh -c` by `app_command`
    only.
    """

    command: tuple[str, ...]
    env: Mapping[str, str] = field(
        default_factory=dict, repr=False
    )  # all the child's environment, byte for byte
    cwd: str = APP_DIRECTORY
    binds: tuple[Bind, ...] = ()  # besides the system's own
    uid: int | None = None  # to run as, where the caller is root; None: as the caller
    die_with_parent: bool = False  # builds do; dynos outlive the node
    status_fd: int | None = None  # where bubblewrap tells the child's pid and, at its end, its exit code
    tmp_bytes: int | None = 64 * MIB  # of a private /tmp in memory; None: a bind gives /tmp
    hostname: str = "dyno"
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.command:
            raise SandboxError("the sandbox was given no command.")
        if len(self.env) > MOST_VARIABLES:
            raise SandboxError(
                f"the environment has {len(self.env)} variables.",
                hint=f"At most {MOST_VARIABLES} are possible.",
            )
        for name, value in self.env.items():
            if not name or "=" in name or "\0" in name or "\0" in value:
                raise SandboxError(f"the environment variable {name!r} cannot be handed to a process.")


def app_command(command: str) -> tuple[str, ...]:
    """An app's own command, from its Procfile or `pinode run`: the one text of a user that a shell reads,
    inside.
    """
    return ("/bin/sh", "-c", command)
