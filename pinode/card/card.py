"""The card as a whole: looked at before each start, and left behind when it must not vote any more."""

import contextlib
import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pinode.card.board import HardwareRecord, read_hardware
from pinode.card.hardware import Hardware, Sameness
from pinode.card.log_folder import LOG, finish_recovery, read_log
from pinode.card.old_state import OldState, Reason, may_begin_anew, question
from pinode.card.set_aside import FOLDER, SetAside
from pinode.peers.cluster_key import left_key
from pinode.peers.founding_record import FoundingRecord
from pinode.peers.founding_store import FoundingStore
from pinode.peers.identity import node_id_in
from pinode.peers.kept_generations import generation_of
from pinode.peers.key_store import FILE as KEYS
from pinode.peers.known_members import KnownMembers
from pinode.peers.rejoin import keep_rejoin, read_rejoin
from pinode.settings import Address

logger = logging.getLogger(__name__)

SEGMENTS = "*.wal"


class Card:
    """One data directory; only whoever holds its lock may use it."""

    def __init__(self, data_dir: Path, *, hardware: Hardware | None = None) -> None:
        """`hardware`: the machine, looked at now if it is not given."""
        self._data_dir = data_dir
        self._seen = hardware if hardware is not None else read_hardware()
        self._store = FoundingStore(data_dir)

    def check(self, *, is_moved_on_purpose: bool) -> None:
        """Before a node starts: is this directory still its own, and whole? Else the node begins anew.

        Raises `OnlyVoter` where a person has to decide.
        """
        finish_recovery(self._data_dir)
        if is_moved_on_purpose and self._store.record() is None:
            self._believe_move()
        recorded = HardwareRecord(self._data_dir)
        before = recorded.read()
        if recorded.compare(self._seen) is Sameness.OTHER:
            what = f"its {before}, here {self._seen}"
            if is_moved_on_purpose:
                logger.info("moved to another machine on purpose %s", what)
            elif (self._data_dir / "node.key").exists():
                self.begin_anew(OldState(Reason.OTHER_HARDWARE, what))
        recorded.keep(self._seen)
        if self._store.record() is not None and generation_of(self._data_dir) > 1:
            directory = self._data_dir / LOG
            if not any(directory.glob(SEGMENTS)):
                self.begin_anew(OldState(Reason.LOST_LOG, f"{directory} is missing or empty"))

    def _believe_move(self) -> None:
        """The old machine is off, and nobody let the new node in yet.

        A copy whose original ran since is behind it, and asks once more as a new node. Else the cluster was
        not there, perhaps because all of it has moved: this node goes on as who it was.
        """
        rejoin = read_rejoin(self._data_dir)
        if rejoin is not None and rejoin.refused_name:
            keep_rejoin(self._data_dir, replace(rejoin, refused_name=""))
        else:
            SetAside(self._data_dir).undo(Reason.OTHER_HARDWARE)

    def begin_anew(self, old: OldState) -> None:
        """Set aside what is here, so that the next start comes back as a new node. Raises `OnlyVoter`."""
        record = self._store.record()
        if record is None:  # not founded yet: no promise to anybody but those with whom it was to be
            self._set_aside(old, cluster_id=b"", addresses=self._store.addresses())
            return
        others = self._addresses_of_others(record)
        remains = read_log(self._data_dir, record)
        is_only_voter = remains.is_only_voter if remains is not None else not others
        if not may_begin_anew(old.reason, is_only_voter=is_only_voter):
            raise question(old, cluster_name=record.name, data_dir=self._data_dir)
        self._set_aside(old, cluster_id=record.cluster_id, addresses=others)

    def leave_behind(self, key_file: Path) -> None:
        """After this node has left its cluster: the next start knows nothing of it, not even its key."""
        record = self._store.record()
        what = f"left the cluster {record.name!r}" if record is not None else "left its cluster"
        self._set_aside(OldState(Reason.LEFT, what), cluster_id=b"", addresses=())
        (self._data_dir / "known_members").unlink(missing_ok=True)
        kept_key = left_key(key_file)
        key_file.replace(kept_key)
        with contextlib.suppress(FileNotFoundError):  # there is none before the first rotation
            (self._data_dir / KEYS).replace(self._data_dir / f"{KEYS}.left")
        logger.info("this node has left its cluster; what it held is in %s", self._data_dir / FOLDER)
        logger.info("the next start begins anew; the cluster's key is kept as %s", kept_key)

    def _set_aside(self, old: OldState, *, cluster_id: bytes, addresses: Iterable[Address]) -> None:
        old_id = node_id_in(self._data_dir) or ""
        SetAside(self._data_dir).set_aside(
            old.reason, old.what, cluster_id=cluster_id, old_id=old_id, addresses=addresses
        )

    def _addresses_of_others(self, record: FoundingRecord) -> list[Address]:
        """Where they were seen last, and where they were at the founding."""
        own_id = node_id_in(self._data_dir) or ""
        known = KnownMembers(self._data_dir / "known_members", own_id=own_id).load()
        seen = [Address(*member.address) for member in known]
        founded = [Address(one.host, one.peer_port) for one in record.members if one.node_id != own_id]
        return list(dict.fromkeys((*seen, *founded, *self._store.addresses())))
