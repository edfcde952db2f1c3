"""What can be read of a replica that does not run, also of a damaged one. Nothing on its disk is changed."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..codec import stamp_of
from ..raft.membership import Membership, decode_changes
from ..raft.messages import Entry, EntryId
from .ballot import kept_ballot
from .disk import Disk
from .errors import CorruptLog
from .recovery import Recovered, Recovery
from .snapshots import SnapshotFiles, SnapshotMark


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """A replica as its disk tells, up to the first damage."""

    me: int
    membership: Membership  # with every change that the log names, applied or not
    mark: SnapshotMark | None  # the newest snapshot that can be used
    entries: Sequence[Entry]  # those after it, without a gap
    term: int  # the highest that it is known to have seen
    vote: int
    cluster_time: int  # ms, of the newest command; 0 when there is none
    damage: str  # what cannot be read; "" when all can

    @property
    def last(self) -> EntryId:
        """The newest entry."""
        if self.entries:
            return EntryId(self.entries[-1].term, self.entries[-1].index)
        return self.mark.snapshot.last if self.mark is not None else EntryId(0, 0)

    @property
    def other_voters(self) -> tuple[int, ...]:
        """Whose votes the group needs besides."""
        return tuple(voter for voter in self.membership.voters.ids if voter != self.me)

    @property
    def is_only_voter(self) -> bool:
        """Whether nobody else holds what this replica holds, or may not vote with it."""
        return not self.other_voters


def read_remains(disk: Disk, *, me: int, founders: Membership, segment_bytes: int) -> Remains:
    """Read a replica's directory. `founders`: who belonged before the first entry.

    Raises `NewerLogFormat` or `UnknownVersion` for what a newer program wrote.
    """
    recovery = Recovery(disk, segment_bytes=segment_bytes)
    damages = []
    try:
        recovery.read()
    except CorruptLog as error:
        damages.append(error.reason)
    for segment in recovery.segments:
        segment.close()
    recovered = recovery.recovered
    _find_beginning(disk, recovered, damages)
    ballot = kept_ballot(disk)
    known = max(recovered.hard_state.term, recovered.entries[-1].term if recovered.entries else 0)
    if ballot is None or ballot[0] < known:
        damages.append("the ballot is missing, damaged, or older than the log")
    term, vote = ballot or (0, 0)
    return Remains(
        me=me,
        membership=_membership(recovered, founders),
        mark=recovered.mark,
        entries=recovered.entries,
        term=max(term, known),
        vote=vote,
        cluster_time=_newest_stamp(recovered),
        damage="; ".join(damages),
    )


def _find_beginning(disk: Disk, recovered: Recovered, damages: list[str]) -> None:
    """The newest whole snapshot from which the log goes on; else the newest whole one alone."""
    gap: SnapshotMark | None = None
    for mark, reader in SnapshotFiles(disk).whole_ones():
        reader.close()
        if recovered.stand_on(mark, reader):
            recovered.reader = None
            return
        gap = gap or mark
    if recovered.base_index == 0:
        return
    damages.append("no snapshot that can be read reaches to where the log begins")
    recovered.entries, recovered.mark = [], gap
    recovered.base_index = gap.snapshot.last.index if gap is not None else 0


def _membership(recovered: Recovered, founders: Membership) -> Membership:
    snapshot = recovered.mark.snapshot if recovered.mark is not None else None
    membership = Membership.of(snapshot.voters, snapshot.learners) if snapshot is not None else founders
    for entry in recovered.entries:
        membership = membership_after(membership, entry)
    return membership


def membership_after(membership: Membership, entry: Entry) -> Membership:
    """Who belongs once this entry is applied."""
    return membership.changed(decode_changes(entry.data)) if entry.is_change else membership


def _newest_stamp(recovered: Recovered) -> int:
    for entry in reversed(recovered.entries):
        if entry.data and not entry.is_change:
            return stamp_of(entry.data)[1]
    return recovered.mark.cluster_time if recovered.mark is not None else 0
