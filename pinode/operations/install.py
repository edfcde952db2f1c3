"""Starting this machine's node at boot: the unit put in place, and away again. All of it blocks."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pinode.card.lock import lock_data_dir
from pinode.errors import Conflict, NotAllowed, PinodeError, SettingsError
from pinode.local_door import SYSTEM_FOLDER, SYSTEM_GROUP
from pinode.operations.disk_trouble import DiskTrouble, disk_trouble
from pinode.operations.system_unit import UNIT, SystemUnit, is_ours
from pinode.peers.cluster_key import read_cluster_key
from pinode.peers.durable_files import sync_folder, write_durably
from pinode.sandbox.sandbox import find_isolation
from pinode.sandbox.spec import SYSTEM_PATH
from pinode.settings import Settings

SYSTEMCTL_SECONDS = 120.0  # longer than it waits for a node to end


class NoSystemd(PinodeError):
    """Nothing here runs units."""

    def __init__(self) -> None:
        super().__init__(
            "this machine is not run by systemd, so there is nothing to install into",
            hint="Have what starts its programs run `pinode start`: that stays in the foreground, logs to "
            "stderr, ends on SIGTERM and leaves its dynos running.",
        )


class ForeignUnit(Conflict):
    """A unit of that name is there, and it is somebody else's."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} was not written by pinode; nothing was changed",
            hint=f"If it is not needed any more, move it away: sudo mv {path} {path}.old",
        )


class UnitState(StrEnum):
    """What became of the unit's file."""

    WRITTEN = "written"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Systemd:
    """The machine's systemd. `root`: where its files lie; `path`: where its programs are looked for."""

    root: Path = Path("/")
    path: str = SYSTEM_PATH

    @property
    def unit_file(self) -> Path:
        """Where an administrator's units lie."""
        return self.root / "etc/systemd/system" / UNIT

    @property
    def runtime_folder(self) -> Path:
        """Where the unit's node opens its socket."""
        return self.root / SYSTEM_FOLDER.relative_to("/")

    def check(self, command: str) -> None:
        """Raises `NotAllowed` and `NoSystemd` where `pinode COMMAND` cannot do anything."""
        if os.geteuid() != 0:
            raise NotAllowed(f"only root may {command} a system unit", hint=f"try: sudo pinode {command}")
        has_systemctl = shutil.which("systemctl", path=self.path) is not None
        if not (has_systemctl and (self.root / "run/systemd/system").is_dir()):  # as sd_booted(3)
            raise NoSystemd()

    def unit_text(self) -> str | None:
        """The unit of ours that is there. Raises `ForeignUnit` and `DiskTrouble`."""
        try:
            text = self.unit_file.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            if self.unit_file.is_symlink():  # to where nothing is
                raise ForeignUnit(self.unit_file) from None
            return None
        except OSError as error:
            raise DiskTrouble(f"{self.unit_file} cannot be read", error) from error
        if not is_ours(text):
            raise ForeignUnit(self.unit_file)
        return text

    def is_active(self) -> bool:
        """Whether the unit's node runs, or is about to."""
        return self._run("systemctl", "is-active", UNIT).stdout.strip() in (
            "active", "activating", "reloading", "deactivating",
        )  # fmt: skip

    def do(self, *words: str) -> None:
        """Run a program that has to succeed. Raises `PinodeError` with what it said."""
        ended = self._run(*words)
        if ended.returncode != 0:
            said = (ended.stderr or ended.stdout).strip() or f"exit code {ended.returncode}"
            look = f"`systemctl status {UNIT}`" if words[0] == "systemctl" else "what it said"
            raise PinodeError(f"`{' '.join(words)}` failed: {said}", hint=f"Look at {look}, then try again.")

    def _run(self, program: str, *words: str) -> "subprocess.CompletedProcess[str]":
        found = shutil.which(program, path=self.path) or program
        try:
            return subprocess.run(
                [found, *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SYSTEMCTL_SECONDS,
                check=False,
                env={"PATH": self.path, "LC_ALL": "C.UTF-8"},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            command = " ".join((program, *words))
            hint = f"See what it says by hand: sudo {command}"
            raise PinodeError(f"`{command}` failed: {error}", hint=hint) from error


def check_startable(systemd: Systemd, settings: Settings, *, config: Path | None) -> None:
    """Refuse now what would keep the node from starting later.

    `config`: the settings' file, None where there is none. Raises `SettingsError`, `SandboxError`,
    `Conflict` and `DiskTrouble`.
    """
    key_file, data_dir = settings.cluster.key_file, settings.node.data_dir
    has_key = key_file.exists()
    if config is None and not has_key:
        raise SettingsError(
            "there is no /etc/pinode/cluster.toml, and this node has not joined a cluster either",
            hint="On the first Pi: `sudo pinode init --expect 3 --dir /etc/pinode`. On the others: copy both "
            "files from there into /etc/pinode. Or join a cluster: `sudo pinode start --join TOKEN`.",
        )
    if has_key:
        with disk_trouble(f"the cluster key {key_file} cannot be read"):
            read_cluster_key(key_file)
    elif settings.cluster.expect > 1 or settings.cluster.join:
        raise SettingsError(
            f"there is no cluster key {key_file}, and a cluster of several nodes needs the same one on each",
            hint="Copy it to there from the Pi where `pinode init` wrote it.",
        )
    find_isolation(required=settings.sandbox.required, path=systemd.path)
    if data_dir.is_dir() and not systemd.is_active():
        _refuse_second_node(data_dir)


def _refuse_second_node(data_dir: Path) -> None:
    try:
        with disk_trouble(f"a node could not work in {data_dir}"):
            os.close(lock_data_dir(data_dir))
    except Conflict as error:
        raise Conflict(
            f"a node that was started by hand runs with {data_dir}",
            hint="End it, by Ctrl-C where it was started; its dynos go on. Then try again.",
        ) from error


def install(systemd: Systemd, unit: SystemUnit, *, starts: bool) -> UnitState:
    """Have the node start at boot, and now if `starts`. A second time only what differs is changed.

    A node that runs is not started again. Raises `ForeignUnit`, `PinodeError`.
    """
    before, text = systemd.unit_text(), unit.text
    systemd.do("groupadd", "--system", "--force", SYSTEM_GROUP)
    if before != text:
        with disk_trouble(f"{systemd.unit_file} could not be written"):
            write_durably(systemd.unit_file, text.encode(), mode=0o644)
        systemd.do("systemctl", "daemon-reload")
    systemd.do("systemctl", "enable", UNIT)
    if starts:
        systemd.do("systemctl", "start", UNIT)
    if before == text:
        return UnitState.UNCHANGED
    return UnitState.WRITTEN if before is None else UnitState.CHANGED


def uninstall(systemd: Systemd) -> None:
    """End the node's process if it runs, and have nothing start it any more. Raises `PinodeError`."""
    systemd.do("systemctl", "disable", "--now", UNIT)
    with disk_trouble(f"nothing starts the node any more, but {systemd.unit_file} could not be deleted"):
        systemd.unit_file.unlink(missing_ok=True)
        sync_folder(systemd.unit_file.parent)
    systemd.do("systemctl", "daemon-reload")
