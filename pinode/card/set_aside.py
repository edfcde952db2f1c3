"""Sets aside what a node held: moved into a folder of its own, never deleted, also when the power goes.

A folder `set-aside/0001-damaged-log.moving` with a note in it is made first; then the state moves there,
name by name, and what the node needs to come back is written; then the folder loses its `.moving`. A start
that finds such a folder goes on with it, so that no node ever runs on half of an old state.
"""

import json
import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pinode.card.old_state import Reason
from pinode.errors import Conflict
from pinode.peers.durable_files import sync_folder, write_durably
from pinode.peers.founding_store import FoundingStore
from pinode.peers.rejoin import FILE as REJOIN_FILE
from pinode.peers.rejoin import Rejoin, keep_rejoin
from pinode.settings import Address, parse_address

logger = logging.getLogger(__name__)

FOLDER = "set-aside"
MOVING, RETURNING = ".moving", ".returning"
NOTE = "why.json"
VERSION = 1
MOST = 5  # kept; more of them mean that something is wrong with the card or the machine
PROMISES = (
    "log",
    "node.key",
    "node.crt",
    "cluster.record",
    "joined",
    "founding",
    "founding.addresses",
    "disk.generation",
    "peers.generations",
)  # what makes a node that node; slugs, sources, logs and settings stay
NAME = re.compile(r"(\d{4})-([a-z-]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """One state that was set aside."""

    folder: Path
    reason: Reason
    old_id: str
    what: str

    @property
    def warning(self) -> str:
        """What the node says of it in everybody's `pinode status`; what fits there is short."""
        return f"what it held before is in {FOLDER}/{self.folder.name}; delete that in time"


class SetAside:
    """Those of one data directory. Only whoever holds its lock may use it."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._folder = data_dir / FOLDER

    def all(self) -> list[Aside]:
        """Oldest first."""
        folders = sorted(self._folder.glob("*")) if self._folder.is_dir() else []
        return [_read_note(folder) for folder in folders if NAME.fullmatch(folder.name)]

    def set_aside(
        self,
        reason: Reason,
        what: str,
        *,
        old_id: str,
        cluster_id: bytes = b"",
        addresses: Iterable[Address] = (),
        names: Sequence[str] = PROMISES,
    ) -> Aside:
        """Move what this node holds away, and note which cluster it is to come back to, if it had one (b"").

        Raises `Conflict` when so many are kept already that something must be wrong.
        """
        kept = self.all()
        if len(kept) >= MOST:
            raise Conflict(
                f"this node has set its state aside {len(kept)} times, into {self._folder}; now {what}",
                hint="A worn-out card does that. Look at the reasons there; delete the folders that you need "
                "nothing of, or put in another card.",
            )
        number = max((int(aside.folder.name[:4]) for aside in kept), default=0) + 1
        folder = self._folder / f"{number:04}-{reason}{MOVING}"
        note = {
            "version": VERSION,
            "reason": reason,
            "what": what,
            "old_id": old_id,
            "cluster_id": cluster_id.hex(),
            "addresses": [str(address) for address in addresses],
            "names": list(names),
        }
        write_durably(folder / NOTE, json.dumps(note, indent=1).encode() + b"\n")
        sync_folder(self._folder)
        sync_folder(self._data_dir)
        return self._move(folder)

    def undo(self, reason: Reason) -> bool:
        """Put the newest state back, if it was set aside for this reason; whether it was.

        Only while its successor is of no cluster yet. What that one has is overwritten: it is a key.
        """
        kept = self.all()
        if not kept or kept[-1].reason is not reason:
            return False
        folder = kept[-1].folder
        returning = folder.with_name(folder.name + RETURNING)
        os.rename(folder, returning)
        sync_folder(self._folder)
        self._put_back(returning)
        return True

    def _put_back(self, folder: Path) -> None:
        (self._data_dir / REJOIN_FILE).unlink(missing_ok=True)
        for name in PROMISES:
            if (folder / name).exists():
                os.rename(folder / name, self._data_dir / name)
        sync_folder(self._data_dir)
        (folder / NOTE).unlink(missing_ok=True)
        folder.rmdir()
        logger.warning("state put back folder=%s", folder)

    def finish(self) -> None:
        """Go on with a move that the end of the process, or of the power, has cut short."""
        for folder in sorted(self._folder.glob(f"*{RETURNING}")):
            self._put_back(folder)
        for folder in sorted(self._folder.glob(f"*{MOVING}")):
            if (folder / NOTE).exists():
                self._move(folder)
            else:  # nothing was moved yet
                for draft in folder.iterdir():
                    draft.unlink()
                folder.rmdir()

    def _move(self, folder: Path) -> Aside:
        note = json.loads((folder / NOTE).read_bytes())
        for name in note["names"]:
            if (self._data_dir / name).exists():
                os.rename(self._data_dir / name, folder / name)
        sync_folder(folder)
        if note["addresses"]:
            FoundingStore(self._data_dir).keep_addresses(map(parse_address, note["addresses"]))
        if note["cluster_id"]:
            cluster_id = bytes.fromhex(note["cluster_id"])
            keep_rejoin(
                self._data_dir, Rejoin(cluster_id=cluster_id, old_id=note["old_id"], reason=note["reason"])
            )
        done = folder.with_name(folder.name.removesuffix(MOVING))
        os.rename(folder, done)
        sync_folder(self._folder)
        aside = _read_note(done)
        logger.warning("state set aside reason=%s what=%s folder=%s", aside.reason, aside.what, done)
        return aside


def _read_note(folder: Path) -> Aside:
    try:
        note = json.loads((folder / NOTE).read_bytes())
        reason, old_id, what = Reason(note["reason"]), str(note["old_id"]), str(note["what"])
    except (OSError, ValueError, KeyError, TypeError):  # a person may have tidied up there
        reason, old_id, what = _reason_in(folder.name), "another node", ""
    return Aside(folder=folder, reason=reason, old_id=old_id, what=what)


def _reason_in(name: str) -> Reason:
    word = name[5:]
    return Reason(word) if word in set(Reason) else Reason.DAMAGED_LOG
