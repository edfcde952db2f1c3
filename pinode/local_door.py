"""Where a node lets its administrator in: a socket in its data directory, in `/run` under the system unit."""

import grp
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SOCKET = "pinode.sock"
SYSTEM_FOLDER = Path("/run/pinode")  # which the system unit makes, and where the command line looks
SYSTEM_GROUP = "pinode"  # who is in it administers the node without sudo


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDoor:
    """A socket file and who may open it; root may anyway."""

    path: Path
    mode: int = 0o600
    group: int | None = None
    link: Path | None = None  # leads to `path`, for who knows the data directory alone

    @property
    def is_of_unit(self) -> bool:
        """Whether its node was started by the system unit, which starts it at the next boot too."""
        return self.link is not None


def local_door(
    data_dir: Path, environ: Mapping[str, str], *, system_folder: Path = SYSTEM_FOLDER
) -> LocalDoor:
    """The door of a node that was started with this environment.

    The folder is told by systemd, of the unit that starts this process. Another unit's, as that of a machine
    that runs tests, is none of ours.
    """
    if environ.get("RUNTIME_DIRECTORY") != str(system_folder):
        return LocalDoor(path=data_dir / SOCKET)
    return LocalDoor(
        path=system_folder / SOCKET, mode=0o660, group=_group_id(SYSTEM_GROUP), link=data_dir / SOCKET
    )


def _group_id(name: str) -> int | None:
    """None where there is no such group: then the door is root's alone."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
