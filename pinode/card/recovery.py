"""A majority is lost for good: what one node holds becomes the whole cluster, in a new epoch.

Only a person can know that the others are gone. Whoever of them comes back after all finds a later epoch,
sets aside what it held, and joins as a new node. Nothing is deleted: the log as it was is set aside too.

The order lets a power cut at any moment do no harm: the new log is whole before the epoch rises, the epoch
has risen before the old log moves, and a start finishes what was begun.
"""

import asyncio
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from pinode.card.board import HardwareRecord, read_hardware
from pinode.card.log_folder import LOG, WHOLE, finish_recovery, read_log
from pinode.card.old_state import Reason
from pinode.card.set_aside import SetAside
from pinode.errors import Conflict, NotFound
from pinode.nodes.codec import encode_command as encode_node_command
from pinode.nodes.commands import AdoptKey, NodeCommand, RemoveNode
from pinode.peers.derived_keys import derived
from pinode.peers.durable_files import sync_folder
from pinode.peers.errors import MalformedFrame, PeerUnreachable
from pinode.peers.founding_record import FoundingRecord
from pinode.peers.founding_store import FoundingStore
from pinode.peers.held_keys import HeldKeys
from pinode.peers.identity import node_id_in
from pinode.peers.key_door import who_answers
from pinode.peers.known_members import KnownMembers
from pinode.peers.standing import next_epoch
from pinode.settings import Address
from replicated_queue.raft.messages import EntryId
from replicated_queue.request_codec import encode_bundle
from replicated_queue.sessions import single
from replicated_queue.settings import ReplicaSettings
from replicated_queue.storage.disk import RealDisk
from replicated_queue.storage.errors import StorageError
from replicated_queue.storage.remains import Remains
from replicated_queue.storage.survivor import write_survivor

DRAFT = "log.recovering"
NODES_DOMAIN, BY = "nodes", "pinode recover"


@dataclass(frozen=True, slots=True, kw_only=True)
class Voter:
    """Another node whose vote the cluster needs."""

    node_id: str
    name: str
    answers: bool  # as that node, now


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a recovery would go on with."""

    record: FoundingRecord
    node_id: str
    remains: Remains
    voters: tuple[Voter, ...]  # the others
    others: frozenset[str]  # node ids of all others that this node knows to be members

    @property
    def has_majority(self) -> bool:
        """Whether so many voters are there, this one included if it is whole, that nothing is lost."""
        there = sum(voter.answers for voter in self.voters)
        is_whole_voter = self.remains.me in self.remains.membership.voters and not self.remains.damage
        return bool(self.voters) and there + is_whole_voter >= self.remains.membership.voters.quorum


async def look_ahead(data_dir: Path) -> Outlook:
    """Read what this node holds, and see which of the other voters answer. Changes nothing.

    Raises `NotFound` where there is nothing to go on with. The caller holds the directory's lock.
    """
    record, node_id = FoundingStore(data_dir).record(), node_id_in(data_dir)
    remains = read_log(data_dir, record) if record is not None else None
    if record is None or node_id is None or remains is None or remains.last == EntryId(0, 0):
        raise NotFound(
            f"{data_dir} holds nothing of a cluster that could be gone on with",
            hint="Is this the right --data-dir? Another node, or a copy of one, may hold more.",
        )
    known = _known_nodes(data_dir, record, node_id)
    ids = [f"{voter:016x}" for voter in remains.other_voters]
    voters = await asyncio.gather(*(_look_at(one, known) for one in ids))
    others = {*known, *(f"{member:016x}" for member in remains.membership.ids)} - {node_id}
    return Outlook(
        record=record, node_id=node_id, remains=remains, voters=tuple(voters), others=frozenset(others)
    )


def _commands(outlook: Outlook, keys: HeldKeys | None) -> list[bytes]:
    """The others leave the table of nodes too: none of these ids comes back, and their names are free.

    Of one that is not in the table the command is refused when it is applied, and changes nothing. Then the
    key that this node holds is the cluster's, however far a rotation was, and whatever it missed of one.
    """
    commands: list[NodeCommand] = [RemoveNode(node_id=one, by=BY) for one in sorted(outlook.others)]
    if keys is not None:
        mark = derived(keys.in_use).mark
        commands.append(AdoptKey(generation=keys.newest_generation, mark=mark, by=BY))
    return [encode_bundle(single(NODES_DOMAIN, encode_node_command(one))) for one in commands]


def recover(data_dir: Path, outlook: Outlook, *, random: Random, keys: HeldKeys | None = None) -> EntryId:
    """Make this node the whole cluster; return its newest entry. `random` must be the system's.

    `keys`: the cluster keys that it holds; None where they are lost.

    Raises `Conflict` while a majority is there, `NoRoom` or `DiskFailed` with everything as it was.
    """
    if outlook.has_majority:
        there = ", ".join(voter.name for voter in outlook.voters if voter.answers)
        raise Conflict(
            f"no majority is lost: {there} answer as voters of the cluster {outlook.record.name!r}",
            hint="Start this node with `pinode start`. What the others agree on meanwhile would be lost.",
        )
    finish_recovery(data_dir)
    log, draft, whole = data_dir / LOG, data_dir / DRAFT, data_dir / WHOLE
    for leftover in (draft, whole):
        if leftover.exists():
            shutil.rmtree(leftover)
    source, target = RealDisk(log), RealDisk(draft)
    try:
        segment_bytes = ReplicaSettings().segment_bytes
        last = write_survivor(
            outlook.remains, source, target, segment_bytes=segment_bytes, commands=_commands(outlook, keys)
        )
    except StorageError:
        shutil.rmtree(draft)
        raise
    finally:
        source.close()
    draft.rename(whole)
    sync_folder(data_dir)
    record = outlook.record
    FoundingStore(data_dir).keep_record(replace(record, epoch=next_epoch(record.epoch, random)))
    SetAside(data_dir).set_aside(
        Reason.RECOVERED, _what(outlook.remains), old_id=outlook.node_id, names=(LOG,)
    )
    finish_recovery(data_dir)
    HardwareRecord(data_dir).keep(read_hardware())
    return last


def _what(remains: Remains) -> str:
    return f"the log up to entry {remains.last.index} of term {remains.last.term}"


Known = dict[str, tuple[str, Address]]  # name and last address, by node id


def _known_nodes(data_dir: Path, record: FoundingRecord, own_id: str) -> Known:
    found: Known = {
        member.node_id: (member.name, Address(member.host, member.peer_port)) for member in record.members
    }
    for known in KnownMembers(data_dir / "known_members", own_id=own_id).load():
        found[known.node_id] = (known.name, Address(*known.address))
    return found


async def _look_at(node_id: str, known: Known) -> Voter:
    name, address = known.get(node_id, (node_id, None))
    answers = address is not None and await _answers_as(node_id, address)
    return Voter(node_id=node_id, name=name, answers=answers)


async def _answers_as(node_id: str, address: Address) -> bool:
    """By its own key: the cluster key may have been rotated while this node was off."""
    try:
        return await who_answers(address) == node_id
    except (PeerUnreachable, MalformedFrame, TimeoutError):
        return False
