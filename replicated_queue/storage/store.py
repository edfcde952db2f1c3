"""All that one replica has on its disk, opened in order and held against each other."""

from ..codec import encode_record
from .ballot import NAME as BALLOT_NAME
from .ballot import Ballot
from .disk import Disk
from .errors import CorruptLog
from .recovery import Recovered
from .segments import SUFFIX
from .snapshots import SnapshotFiles
from .wal import Wal


class ReplicaStore:
    """Ballot, log and snapshots. Blocking: it lives on a thread of its own.

    Raises `CorruptLog` when the two cannot belong together: term and vote are on the disk before any entry of
    that term, so a log that knows a later term has lost its ballot.
    """

    def __init__(self, disk: Disk, *, segment_bytes: int) -> None:
        names = disk.names()
        segments = [name for name in names if name.endswith(SUFFIX)]
        if segments and BALLOT_NAME not in names:
            raise CorruptLog(segments[0], offset=0, reason=f"its {BALLOT_NAME} is missing")
        self._disk = disk
        self.ballot = Ballot(disk)
        self.wal = Wal(disk, segment_bytes=segment_bytes)
        self.snapshots = SnapshotFiles(disk)
        self.snapshots.forget_drafts()
        self._recovered = self.wal.take_recovered()
        self._find_beginning(segments)
        self._recovered.give_vote(self.ballot.term, self.ballot.vote)
        mark = self._recovered.mark
        if mark is not None and self._recovered.begins_anew:
            last = mark.snapshot.last
            record = encode_record(self._recovered.hard_state, (), base=last)
            self.wal.append(record, last_index=last.index)

    def _find_beginning(self, segments: list[str]) -> None:
        """The newest whole snapshot from which the log goes on; none is needed by a log that has all."""
        for mark, reader in self.snapshots.whole_ones():
            if self._recovered.stand_on(mark, reader):
                self.snapshots.forget_damaged(mark.snapshot.last)
                return
        if self._recovered.base_index != 0:
            reason = "no snapshot that can be read reaches to where the log begins"
            raise CorruptLog(segments[0], offset=0, reason=reason)

    def take_recovered(self) -> Recovered:
        """What was there at start. Only once: it is as large as the log, and nothing of it stays here."""
        recovered, self._recovered = self._recovered, Recovered()
        return recovered

    def close(self) -> None:
        """Give files and directory back."""
        self.ballot.close()
        self.wal.close()
        self._disk.close()
