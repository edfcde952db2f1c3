"""What a group promises, held against everything its nodes do. A promise that is broken raises `AssertionError`."""

from collections.abc import Iterable, Sequence

from replicated_queue.codec import STAMP
from replicated_queue.raft.messages import Entry, EntryId, Role
from replicated_queue.replica import Replica
from tests.simulation.machine import Machine


class Promises:
    """The observer whom no fault touches: it sees every node at every step."""

    def __init__(self) -> None:
        self.leaders: dict[int, int] = {}  # term → who led it
        self.committed: list[Entry] = []  # by index, from 1
        self.acknowledged: list[tuple[int, bytes]] = []
        self.digests: dict[EntryId, bytes] = {}  # of snapshots
        self.newest_stamp = 0
        self._places: dict[tuple[int, int], tuple[bytes, int]] = {}  # term, index → data, term before

    def watch(self, me: int, replica: Replica) -> None:
        """Election safety: at most one leader a term (§5.2)."""
        raft = replica.raft
        if raft.role is Role.LEADER:
            first = self.leaders.setdefault(raft.term, me)
            assert first == me, f"{first} and {me} both led term {raft.term}"

    def check_written(self, entries: Sequence[Entry], replica: Replica) -> None:
        """Log matching: who has the same term at an index has the same entry, and the same before it (§5.3)."""
        if not entries:
            return
        before = replica.raft.log.term_at(entries[0].index - 1)
        for entry in entries:
            if before is not None:
                place = (entry.data, before)
                known = self._places.setdefault((entry.term, entry.index), place)
                assert known == place, (
                    f"two logs differ at {entry.index} of term {entry.term}: {known}, {place}"
                )
            before = entry.term

    def commit(self, entry: Entry) -> bool:
        """State machine safety: what is committed once never changes (§5.4). Whether it is news."""
        if entry.index <= len(self.committed):
            known = self.committed[entry.index - 1]
            assert known == entry, f"{known} was committed, then {entry}"
            return False
        assert entry.index == len(self.committed) + 1
        self.committed.append(entry)
        if entry.data and not entry.is_change:
            stamp = STAMP.unpack_from(entry.data)[1]
            assert stamp >= self.newest_stamp, "cluster time ran backwards"
            self.newest_stamp = stamp
        return True

    def check_snapshot(self, last: EntryId, digest: bytes) -> None:
        """All snapshots of one place are of one state, before and behind the disk and the wire."""
        is_committed = last.index == 0 or self.committed[last.index - 1].term == last.term
        assert is_committed, f"a snapshot of {last}, which is not committed"
        assert self.digests.setdefault(last, digest) == digest, f"two states at {last}"

    def check_logs(self, replicas: Iterable[Replica]) -> None:
        """Every log holds what is committed, as far as it reaches."""
        for replica in replicas:
            log = replica.raft.log
            kept = log.entries_from(log.base.index + 1, end=log.commit_index)
            assert kept == self.committed[log.base.index : log.commit_index]
            assert not log.base.index or self.committed[log.base.index - 1].term == log.base.term

    def check_converged(self, nodes: Sequence[Machine], ours: set[bytes]) -> None:
        """After healing: one leader, equal states, and nothing acknowledged was lost or done twice."""
        everybody = [node.replica for node in nodes if node.replica is not None]
        assert len(everybody) == len(nodes), "somebody is off for good"
        leaders = [replica.raft for replica in everybody if replica.raft.role is Role.LEADER]
        assert len(leaders) == 1, f"{len(leaders)} leaders after healing"
        members = leaders[0].membership
        mine = [node for node in nodes if node.me in members]
        applied = {node.me: node.replica.applied_index for node in mine if node.replica is not None}
        assert set(applied.values()) == {len(self.committed)}, f"of {len(self.committed)}: {applied}"
        assert all(node.replica is not None and node.replica.raft.membership == members for node in mine)
        assert len({node.journal.digest() for node in mine}) == 1, "states differ"
        commands = [entry.data[STAMP.size :] for entry in self.committed if not entry.is_change]
        proposals = [command for command in commands if command in ours]
        assert len(set(proposals)) == len(proposals), "a proposal was done twice"
        for index, command in self.acknowledged:
            kept = self.committed[index - 1].data[STAMP.size :]
            assert kept == command, f"entry {index} was acknowledged and lost"
