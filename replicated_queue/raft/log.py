"""The log as one replica sees it: entries in memory, and how far they are committed and handed out."""

from collections.abc import Sequence

from .membership import decode_changes
from .messages import Entry, EntryId, Snapshot

UNLIMITED = 1 << 62
SMALL_ENTRY_BYTES = 16


class LogDiverged(AssertionError):
    """A committed entry would have to change: a bug, or a peer whose disk lost what it promised.

    The process must end here; going on would spread the damage.
    """


class LogSetBack(LogDiverged):
    """A leader says committed what it was told is here, and it is not: this disk was lost or put back.

    The replica has forgotten promises. It must not go on; its node can come back as a new one.
    """


class RaftLog:
    """Entries after `base`, the newest entry that is not kept. What is not kept is in `snapshot`.

    After a start, what `snapshot` covers is taken for applied, and a few entries before it may be kept.
    """

    def __init__(
        self,
        *,
        base: EntryId | None = None,
        entries: Sequence[Entry] = (),
        snapshot: Snapshot | None = None,
    ) -> None:
        base = base or (snapshot.last if snapshot is not None else EntryId(0, 0))
        applied = max(base.index, snapshot.last.index if snapshot is not None else 0)
        self.base = base
        self.snapshot = snapshot  # the newest one; sent to who needs what is not kept
        self.restored: Snapshot | None = None  # of a leader, and not handed out yet
        self.commit_index = applied
        self.handed_index = base.index + len(entries)  # given to the disk; may still be on its way there
        self.applying_index = applied  # given to the state machine
        self._entries: list[Entry] = list(entries)

    @property
    def last_index(self) -> int:
        return self.base.index + len(self._entries)

    @property
    def last(self) -> EntryId:
        """Term and index of the newest entry."""
        return EntryId(self._entries[-1].term, self.last_index) if self._entries else self.base

    @property
    def applied(self) -> EntryId:
        """Term and index of the newest entry that was handed to the state machine."""
        index = self.applying_index
        term = self.term_at(index)
        if term is None or index > self.last_index:  # kept entries before the snapshot were lost on the way
            assert self.snapshot is not None and self.snapshot.last.index == index, f"{self!r}"
            return self.snapshot.last
        return EntryId(term, index)

    def term_at(self, index: int) -> int | None:
        """Term of the entry at `index`; 0 beyond the end, None where it is not known any more."""
        base = self.base
        place = index - base.index
        if place > len(self._entries):
            return 0
        if place > 0:
            return self._entries[place - 1].term
        return base.term if place == 0 else None

    def entry_at(self, index: int) -> Entry:
        """An entry that is kept."""
        return self._entries[index - self.base.index - 1]

    def is_up_to_date(self, other: EntryId) -> bool:
        """Whether a log that ends in `other` holds all that this one may (§5.4.1): terms, then length."""
        return other >= self.last

    def entries_from(self, index: int, *, max_bytes: int = UNLIMITED, end: int | None = None) -> list[Entry]:
        """Entries from `index` to `end` (inclusive) of at most `max_bytes` of data, but at least one."""
        start = index - self.base.index - 1
        stop = (self.last_index if end is None else end) - self.base.index
        if max_bytes >= UNLIMITED or stop - start == 1:
            return self._entries[start:stop]
        # A slice of the whole rest of a long log would be copied for each append to a slow follower.
        found = self._entries[start : min(stop, start + 1 + max_bytes // SMALL_ENTRY_BYTES)]
        size = 0
        for count, entry in enumerate(found):
            size += len(entry.data)
            if size > max_bytes and count:
                return found[:count]
        return found

    def append(self, entries: Sequence[Entry]) -> None:
        """Append entries of our own leadership."""
        self._entries.extend(entries)

    def maybe_append(self, previous: EntryId, entries: Sequence[Entry]) -> int | None:
        """Take a leader's entries; return the last index they vouch for, None if `previous` does not match.

        Truncates only where a term really differs: a late, short append tells nothing of what follows (§5.3).
        """
        if self.term_at(previous.index) != previous.term or previous.index > self.last_index:
            return None
        vouched = previous.index + len(entries)
        for position, entry in enumerate(entries):
            if entry.index > self.last_index or self.term_at(entry.index) != entry.term:
                self._replace_from(entry.index, entries[position:])
                break
        return vouched

    def _replace_from(self, index: int, entries: Sequence[Entry]) -> None:
        if index <= self.commit_index:
            raise LogDiverged(
                f"entry {index} is committed and would be replaced by one of term {entries[0].term}: {self!r}"
            )
        del self._entries[index - self.base.index - 1 :]
        self.handed_index = min(self.handed_index, index - 1)
        self._entries.extend(entries)

    def find_conflict(self, index: int, term: int) -> EntryId:
        """The newest place up to `index` whose term is at most `term`: where two logs may still agree."""
        while True:
            ours = self.term_at(index)
            if ours is None:
                return EntryId(0, index)
            if ours <= term and index <= self.last_index:
                return EntryId(ours, index)
            index -= 1

    @property
    def committed(self) -> EntryId:
        """Term and index of the newest entry that is known to be committed."""
        return EntryId(self.term_at(self.commit_index) or 0, self.commit_index)

    def learn_commit(self, commit: EntryId) -> None:
        """Another log has this entry as committed; so have we, if we hold the very same (§5.3)."""
        if commit.index <= self.last_index and self.term_at(commit.index) == commit.term:
            self.commit_to(commit.index)

    def commit_to(self, index: int) -> None:
        """Everything up to `index` is committed; never backwards."""
        if index <= self.commit_index:
            return
        if index > self.last_index:
            raise LogSetBack(
                f"entry {index} is committed, but this log ends before it: {self!r}. "
                "Was its disk lost or set back?"
            )
        self.commit_index = index

    def compact(self, snapshot: Snapshot, *, keep: int = 0) -> None:
        """`snapshot` is safe on the disk: forget the entries that it covers, but for the newest `keep`.

        Those kept spare a node that was away for a moment the snapshot. An older snapshot changes nothing.
        """
        if snapshot.last.index > min(self.applying_index, self.handed_index):
            raise LogDiverged(f"a snapshot of {snapshot.last.index} is newer than what is applied: {self!r}")
        if self.snapshot is None or snapshot.last.index > self.snapshot.last.index:
            self.snapshot = snapshot
        index = snapshot.last.index - keep
        if index > self.base.index:
            term = self._entries[index - self.base.index - 1].term
            del self._entries[: index - self.base.index]
            self.base = EntryId(term, index)

    def restore(self, snapshot: Snapshot) -> None:
        """A leader's snapshot takes the place of everything here."""
        self.snapshot = self.restored = snapshot
        self.base = snapshot.last
        self._entries = []
        self.commit_index = self.handed_index = self.applying_index = snapshot.last.index

    def take_restored(self) -> Snapshot | None:
        """The snapshot that takes the place of what was applied; it has been handed out by then."""
        restored, self.restored = self.restored, None
        return restored

    @property
    def has_unhanded(self) -> bool:
        """Whether the disk has not been given all."""
        return self.handed_index < self.base.index + len(self._entries)

    @property
    def has_unapplied(self) -> bool:
        """Whether the state machine has not been given all that is committed."""
        return self.applying_index < self.commit_index

    def take_unhanded(self) -> list[Entry]:
        """Entries that the disk has not been given yet; it has been by then."""
        found = self._entries[self.handed_index - self.base.index :]
        self.handed_index = self.last_index
        return found

    def take_committed(self, *, max_bytes: int) -> list[Entry]:
        """The next committed entries for the state machine."""
        if self.applying_index == self.commit_index:
            return []
        found = self.entries_from(self.applying_index + 1, max_bytes=max_bytes, end=self.commit_index)
        self.applying_index += len(found)
        return found

    @property
    def has_unapplied_change(self) -> bool:
        """Whether a membership change is committed and not given out yet: until then nobody may campaign."""
        start, end = self.applying_index - self.base.index, self.commit_index - self.base.index
        return any(entry.is_change for entry in self._entries[start:end])

    def may_be_member(self, node: int) -> bool:
        """Whether a change that is not applied yet names `node`: an old view must not shut out a newcomer."""
        unapplied = self._entries[self.applying_index - self.base.index :]
        changes = [change for e in unapplied if e.is_change for change in decode_changes(e.data)]
        return any(change.node == node for change in changes)

    def __repr__(self) -> str:
        return (
            f"RaftLog(base={self.base}, last={self.last}, commit={self.commit_index}, "
            f"handed={self.handed_index}, applying={self.applying_index})"
        )
