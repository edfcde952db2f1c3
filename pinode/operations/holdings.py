"""What a node that the system starts holds on this machine, and its end. All of it blocks."""

import errno
import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pinode.card.lock import LOCK, lock_data_dir
from pinode.errors import Conflict, PinodeError, SettingsError
from pinode.host import default_node_name
from pinode.operations.disk_trouble import reason, what_to_do
from pinode.operations.system_unit import StartFlags, SystemUnit
from pinode.peers.cluster_key import left_key
from pinode.settings import load_system_settings
from pinode.settings.loading import SYSTEM_FILE

SHOWN = 3  # of what could not be deleted


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """A node's own: its name, its folder, and the files beside it that it is configured by."""

    name: str
    data_dir: Path
    files: Sequence[Path]
    flags: StartFlags  # by which a command means this node

    @property
    def command(self) -> str:
        """How a command begins that means this node, with a unit or without."""
        return shlex.join(("sudo", "pinode", *self.flags.words))

    def there(self) -> list[Path]:
        """Those that are there, links too. A file within the folder is not named."""
        beside = [file for file in self.files if not file.is_relative_to(self.data_dir)]
        return [path for path in (self.data_dir, *beside) if os.path.lexists(path)]

    def check(self) -> None:
        """Raises `Conflict` where the folder is none that a node has worked with."""
        if self.data_dir.is_symlink() and not self.data_dir.exists():
            raise Conflict(
                f"{self.data_dir} is a link to {os.readlink(self.data_dir)}, which is not there; "
                "nothing was deleted",
                hint="Mount its disk, then try again. Without --purge it is uninstalled all the same.",
            )
        if self.data_dir.exists() and not (self.data_dir / LOCK).is_file():
            raise Conflict(
                f"{self.data_dir} holds no node; nothing was deleted",
                hint="Is its disk mounted? Else look at it, delete it by hand, uninstall without --purge.",
            )


def holdings_of(flags: StartFlags) -> Holdings:
    """What a node holds that is started so. Raises `SettingsError`."""
    overrides = {"node.data_dir": str(flags.data_dir)} if flags.data_dir else {}
    settings = load_system_settings(flags.config, overrides)
    config = flags.config or (SYSTEM_FILE if os.path.lexists(SYSTEM_FILE) else None)
    key_file = settings.cluster.key_file
    return Holdings(
        name=settings.node.name or default_node_name(),
        data_dir=settings.node.data_dir,
        files=(*([config] if config else []), key_file, left_key(key_file)),
        flags=flags,
    )


def holdings_of_unit(unit: SystemUnit, asked: StartFlags) -> Holdings:
    """What the unit's node holds, by the unit's own flags.

    Raises `Conflict` where those `asked` for mean another node, and where the settings have come to name
    another folder than the unit was written for; `SettingsError` where there are none any more.
    """
    for flag, path, own in (
        ("--config", asked.config, unit.flags.config or SYSTEM_FILE),
        ("--data-dir", asked.data_dir, unit.data_dir),
    ):
        if path is not None and path.resolve() != own.resolve():
            raise Conflict(
                f"the unit that is installed runs a node with {own}, not with {path}; nothing was changed",
                hint=f"Leave {flag} out for that node. Another one's data is deleted by hand.",
            )
    by_hand = f"uninstall it without --purge, and delete {unit.data_dir} by hand."
    try:
        held = holdings_of(unit.flags)
    except SettingsError as error:
        raise SettingsError(
            f"the settings of the unit that is installed cannot be read: {error.message}",
            hint=f"Nothing was changed. Mend that; or {by_hand}",
        ) from error
    if held.data_dir != unit.data_dir:
        raise Conflict(
            f"the unit was installed for a node in {unit.data_dir}, its settings say {held.data_dir} now; "
            "nothing was changed",
            hint=f"For the latter: {held.command} install. For the former: {by_hand}",
        )
    return held


@dataclass(slots=True)
class Purged:
    """What became of a node's holdings."""

    deleted: list[str] = field(default_factory=list)
    emptied: list[Path] = field(default_factory=list)  # where a disk is mounted
    left: dict[Path, OSError] = field(default_factory=dict)
    by_hand: list[Path] = field(default_factory=list)  # the roots of what is left

    def check(self) -> None:
        """Raises `PinodeError` for what is left."""
        if not self.left:
            return
        shown = [f"{path} ({reason(error)})" for path, error in [*self.left.items()][:SHOWN]]
        if len(self.left) > SHOWN:
            shown.append(f"{len(self.left) - SHOWN} more")
        rest = shlex.join(map(str, self.by_hand))
        raise PinodeError(
            f"could not be deleted: {', '.join(shown)}",
            hint=f"{what_to_do(next(iter(self.left.values())))} Then: sudo rm -rf {rest}",
        )


def purge(held: Holdings) -> Purged:
    """Delete all that a stopped node holds, whatever of it can be.

    Raises `Conflict`, with nothing deleted, for a node that runs and for a folder that holds none.
    """
    held.check()
    there, done = held.there(), Purged()
    if held.data_dir in there:
        _delete_folder(held, done)
    for file in (path for path in there if path != held.data_dir):
        _delete_file(file, done)
    return done


def _delete_file(file: Path, done: Purged) -> None:
    """A link's target is whoever's made the link."""
    said = f"{file} (a link; {file.resolve()} stays)" if file.is_symlink() else str(file)
    try:
        file.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        done.left[file] = error
        done.by_hand.append(file)
    else:
        done.deleted.append(said)


def _delete_folder(held: Holdings, done: Purged) -> None:
    """A folder of its own, one that a disk is mounted on, or a link to either."""
    folder, is_link = held.data_dir.resolve(), held.data_dir.is_symlink()
    try:
        lock = _lock(held, folder)
        try:
            _empty(folder, done)
        finally:
            os.close(lock)
        if not done.left:
            _rmdir(folder, done)
            if is_link:
                held.data_dir.unlink()
    except OSError as error:
        done.left[Path(error.filename or folder)] = error
    if done.left:
        done.by_hand.append(folder)
        return
    done.deleted.append(f"all in {folder}" if folder.exists() else str(folder))
    if is_link:
        done.deleted.append(f"the link {held.data_dir}")


def _lock(held: Holdings, folder: Path) -> int:
    try:
        return lock_data_dir(folder)
    except Conflict as error:
        raise Conflict(
            f"a node runs with {folder}; nothing was deleted",
            hint=f"End it: {held.command} stop. Then: {held.command} uninstall --purge",
        ) from error


def _empty(folder: Path, done: Purged) -> None:
    """The lock goes last: a folder that still has something is still known as a node's."""

    def failed(function: Any, path: str, found: Any) -> None:
        error = found[1]
        if function is os.rmdir and error.errno == errno.EBUSY:
            done.emptied.append(Path(path))
        elif not (isinstance(error, FileNotFoundError) or _follows(error, Path(path), done)):
            done.left[Path(path)] = error

    for name in sorted(os.listdir(folder), key=lambda name: (name == LOCK, name)):
        entry = folder / name
        if name == LOCK and done.left:
            return
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, onerror=failed)  # follows no link, though apps may make some meanwhile
            continue
        try:
            entry.unlink(missing_ok=True)
        except OSError as error:
            done.left[entry] = error


def _follows(error: OSError, path: Path, done: Purged) -> bool:
    """Whether the folder stays only because something in it does, which is said already."""
    return error.errno == errno.ENOTEMPTY and any(
        stays.is_relative_to(path) for stays in (*done.emptied, *done.left)
    )


def _rmdir(folder: Path, done: Purged) -> None:
    """A mount point stays, empty, and so does what one is in."""
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno == errno.EBUSY:
            done.emptied.append(folder)
        elif not _follows(error, folder, done):
            raise
