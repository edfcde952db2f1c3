"""The folder of a node's log while the node does not run."""

from pathlib import Path

from pinode.card.set_aside import SetAside
from pinode.peers.durable_files import sync_folder
from pinode.peers.founding_record import FoundingRecord
from pinode.peers.identity import node_id_in
from replicated_queue.raft.autopilot import founding_membership
from replicated_queue.settings import ReplicaSettings
from replicated_queue.storage.disk import RealDisk
from replicated_queue.storage.remains import Remains, read_remains

LOG = "log"
WHOLE = "log.recovered"  # a recovery's, complete, on its way to be the log


def read_log(data_dir: Path, record: FoundingRecord) -> Remains | None:
    """What the log remembers; None when it is not there at all. Nothing is changed."""
    node_id, directory = node_id_in(data_dir), data_dir / LOG
    if node_id is None or not any(directory.glob("*")):
        return None
    disk = RealDisk(directory)
    try:
        return read_remains(
            disk,
            me=int(node_id, 16),
            founders=founding_membership(int(member.node_id, 16) for member in record.members),
            segment_bytes=ReplicaSettings().segment_bytes,
        )
    finally:
        disk.close()


def finish_recovery(data_dir: Path) -> None:
    """Put the log of a recovery in its place, if the end of the process or of the power came before that."""
    SetAside(data_dir).finish()
    if (data_dir / WHOLE).exists() and not (data_dir / LOG).exists():
        (data_dir / WHOLE).rename(data_dir / LOG)
        sync_folder(data_dir)
