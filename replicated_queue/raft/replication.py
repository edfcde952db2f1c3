"""What only a leader knows and does: followers' progress, what to send, what is committed (§5.3, §5.4)."""

from collections.abc import Callable, Mapping, Sequence

from ..errors import Busy
from .config import RaftConfig
from .log import RaftLog
from .membership import Change, ChangeRefused, Membership, encode_changes
from .messages import (
    Append,
    AppendRejected,
    AppendResponse,
    Entry,
    EntryId,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    ReadState,
    TimeoutNow,
)
from .progress import Progress, ProgressState
from .reads import Reads


def followed(
    membership: Membership, progress: Mapping[int, Progress], *, last_index: int, inflight_limit: int
) -> dict[int, Progress]:
    """Progress of each member: as it was, or to be probed with the newest entry."""
    found = {}
    for peer in membership.ids:
        known = progress.get(peer)
        if known is None:
            known = Progress(next_index=max(last_index, 1), inflight_limit=inflight_limit)
            known.is_recent_active = True  # else a new voter could make its leader step down at once
        found[peer] = known
    return found


class Replication:
    """One term's leadership. Made at the election and thrown away when it ends."""

    def __init__(
        self,
        *,
        me: int,
        term: int,
        membership: Membership,
        log: RaftLog,
        config: RaftConfig,
        send: Callable[[Message], None],
    ) -> None:
        self._me = me
        self._term = term
        self._membership = membership
        self._log = log
        self._config = config
        self._send = send
        self.transferee = 0
        self.uncommitted_bytes = 0
        self._beats = 0
        limit, last = config.max_inflight_appends, log.last_index
        # Changes that older leaders left behind may still wait in the log.
        self.pending_change_index = last
        self.reads = Reads(me)
        self.confirmed_reads: list[ReadState] = []
        self.progress = {peer: Progress(next_index=last + 1, inflight_limit=limit) for peer in membership.ids}
        # Some may still be on their way to our own disk, but old ones are not committed by counting (§5.4.2).
        own = self.progress[me]
        own.acknowledged(last)
        own.become_replicate()
        own.is_recent_active = True

    def propose(self, data: Sequence[bytes]) -> int:
        """Append entries and return the index of the first. Raises `Busy`."""
        size = sum(map(len, data))
        waiting = self.uncommitted_bytes
        # What is over the bound alone must pass when nothing else waits, or it never would.
        self._refuse_if_ending()
        if waiting and waiting + size > self._config.max_uncommitted_bytes:
            raise Busy
        self.uncommitted_bytes += size
        first = self._log.last_index + 1
        self._log.append([Entry(self._term, index, datum) for index, datum in enumerate(data, first)])
        self.broadcast_append()
        return first

    def propose_change(self, changes: Sequence[Change]) -> int:
        """Append a membership change and return its index. Raises `Busy` or `ChangeRefused`."""
        self._refuse_if_ending()
        if self.pending_change_index > self._log.applying_index:
            raise ChangeRefused("another membership change may not be applied yet; try again shortly")
        self._membership.changed(changes)
        index = self.pending_change_index = self._log.last_index + 1
        self._log.append([Entry(self._term, index, encode_changes(changes), True)])
        self.broadcast_append()
        return index

    def _refuse_if_ending(self) -> None:
        if self.transferee or self._me not in self._membership:
            raise Busy

    def broadcast_append(self) -> None:
        """Send each follower what it lacks; the new commit index if it lacks nothing."""
        for peer in self.progress:
            if peer != self._me:
                self._send_append(peer)

    def beat(self) -> None:
        """A heartbeat is due: to voters always, to learners now and then (`learner_beats`)."""
        self._beats += 1
        self.broadcast_heartbeat(to_learners=self._beats % self._config.learner_beats == 0)

    def broadcast_heartbeat(self, *, to_learners: bool) -> None:
        """Say that we lead; and what is committed, as far as it is known to match there."""
        for peer, progress in self.progress.items():
            if peer != self._me and (to_learners or peer in self._membership.voters):
                commit = min(progress.match_index, self._log.commit_index)
                self._send(
                    Heartbeat(
                        sender=self._me,
                        to=peer,
                        term=self._term,
                        commit=commit,
                        read_round=self.reads.round,
                    )
                )
                progress.sent_commit = commit

    def persisted(self, index: int) -> None:
        """Our own entries up to `index` are on the disk: only now we count ourselves (thesis §10.2.1)."""
        progress = self.progress.get(self._me)
        if progress is not None and progress.acknowledged(index):
            progress.free_inflight(index)
            if self._advance_commit():
                self.broadcast_append()

    def reconfigure(self, membership: Membership) -> None:
        """A membership change is applied: newcomers are probed at once."""
        self._membership = membership
        self.progress = followed(
            membership,
            self.progress,
            last_index=self._log.last_index,
            inflight_limit=self._config.max_inflight_appends,
        )
        if self._me not in membership.voters:
            return  # who is no voter any more decides nothing more by itself
        if self._advance_commit():
            self.broadcast_append()
        else:
            for peer in self.progress:
                self._send_append(peer, even_if_empty=False)
        if self.transferee not in membership.voters:
            self.transferee = 0
        self._confirm_reads()

    def read(self, number: int) -> None:
        """Find out up to where the state must be applied to answer a read (thesis §6.4)."""
        opened = self._log.term_at(self._log.commit_index) == self._term
        if self.reads.ask(number, commit=self._log.commit_index if opened else None):
            if not self._membership.voters.is_quorum([self._me]):
                self.broadcast_heartbeat(to_learners=self._config.learner_beats == 1)
            self._confirm_reads()

    def handed_out(self, committed: Sequence[Entry]) -> Sequence[ReadState]:
        """These entries leave with a Ready; return the reads that do so too."""
        done = sum(len(entry.data) for entry in committed)
        self.uncommitted_bytes = max(0, self.uncommitted_bytes - done)
        confirmed, self.confirmed_reads = self.confirmed_reads, []
        return confirmed

    def _confirm_reads(self) -> None:
        self.confirmed_reads += self.reads.take_confirmed(self._membership.voters)

    def hear(self, message: AppendResponse | AppendRejected | HeartbeatResponse) -> None:
        """A member answered."""
        if message.sender not in self.progress:
            return  # removed meanwhile
        match message:
            case AppendResponse():
                self.on_append_response(message)
            case AppendRejected():
                self.on_append_rejected(message)
            case HeartbeatResponse():
                self.on_heartbeat_response(message)

    def on_append_response(self, message: AppendResponse) -> None:
        """A follower has everything up to an index."""
        peer, progress = message.sender, self.progress[message.sender]
        progress.is_recent_active = True
        is_probe_answered = progress.state is ProgressState.PROBE and progress.match_index == message.index
        if not progress.acknowledged(message.index) and not is_probe_answered:
            return
        if progress.state is ProgressState.PROBE:
            progress.become_replicate()
        elif progress.state is ProgressState.SNAPSHOT and progress.match_index >= self._log.base.index:
            # Whatever snapshot arrived there, what follows can be had from the log.
            progress.become_probe()
            progress.become_replicate()
        elif progress.state is ProgressState.SNAPSHOT and progress.match_index >= progress.pending_snapshot:
            progress.become_probe()  # it arrived, but the log begins behind it by now: the next one is needed
        progress.free_inflight(message.index)
        if self._advance_commit():
            self.broadcast_append()
        elif progress.can_bump_commit(self._log.commit_index):
            self._send_append(peer)
        # The answer may have opened the window for several appends.
        while self._send_append(peer, even_if_empty=False):
            pass
        if peer == self.transferee and progress.match_index == self._log.last_index:
            self._send(TimeoutNow(sender=self._me, to=peer, term=self._term))

    def on_append_rejected(self, message: AppendRejected) -> None:
        """A follower's log differs at an index; go back to where both can still agree (§5.3)."""
        progress = self.progress[message.sender]
        progress.is_recent_active = True
        hint = message.hint.index
        if message.hint.term > 0:
            hint = self._log.find_conflict(hint, message.hint.term).index
        if progress.rejected(message.index, hint=hint):
            if progress.state is ProgressState.REPLICATE:
                progress.become_probe()
            self._send_append(message.sender)

    def on_heartbeat_response(self, message: HeartbeatResponse) -> None:
        """A follower lives; whatever was sent to it and stays unanswered may be lost, so probe again."""
        progress = self.progress[message.sender]
        progress.is_recent_active = True
        progress.is_flow_paused = False
        if progress.match_index < self._log.last_index or progress.state is ProgressState.PROBE:
            self._send_append(message.sender)
        if message.read_round:
            self.reads.answered(message.sender, message.read_round)
            self._confirm_reads()

    def on_unreachable(self, peer: int) -> None:
        """The link to `peer` was reset: appends in flight are probably lost."""
        progress = self.progress.get(peer)
        if progress is not None and progress.state is ProgressState.REPLICATE:
            progress.become_probe()

    def on_snapshot_ended(self, peer: int, *, arrived: bool) -> None:
        """The shell's transfer of a snapshot to `peer` is over."""
        progress = self.progress.get(peer)
        if progress is not None:
            progress.snapshot_ended(arrived=arrived)

    def is_quorum_active(self) -> bool:
        """Whether a majority was heard since the last call (check-quorum, thesis §6.2)."""
        active = [peer for peer, progress in self.progress.items() if progress.is_recent_active]
        for peer, progress in self.progress.items():
            progress.is_recent_active = peer == self._me
        return self._membership.voters.is_quorum([*active, self._me])

    def transfer(self, to: int) -> None:
        """Hand leadership to `to`, as soon as it has the whole log (thesis §3.10)."""
        if to == self._me or to not in self._membership.voters or to == self.transferee:
            return
        self.transferee = to
        if self.progress[to].match_index == self._log.last_index:
            self._send(TimeoutNow(sender=self._me, to=to, term=self._term))
        else:
            self._send_append(to)

    @property
    def voters_but_me(self) -> tuple[int, ...]:
        return tuple(peer for peer in self._membership.voters.ids if peer != self._me)

    def best_successor(self) -> int:
        """The follower that was heard lately and has most of the log; 0 if there is none."""
        candidates = [
            (self.progress[peer].is_recent_active, self.progress[peer].match_index, peer)
            for peer in self.voters_but_me
        ]
        return max(candidates)[2] if candidates else 0

    def _advance_commit(self) -> bool:
        log = self._log
        if log.commit_index == log.last_index:
            return False  # all is committed already
        index = self._membership.voters.committed({peer: p.match_index for peer, p in self.progress.items()})
        # Only entries of our own term are committed by counting; older ones follow along (§5.4.2, figure 8).
        if index <= log.commit_index or log.term_at(index) != self._term:
            return False
        self._log.commit_to(index)
        for early in self.reads.take_early():
            self.read(early)
        return True

    def _send_append(self, peer: int, *, even_if_empty: bool = True) -> bool:
        progress = self.progress[peer]
        if peer == self._me or progress.is_paused:
            return False
        log = self._log
        previous = progress.next_index - 1
        previous_term = log.term_at(previous)
        if previous_term is None:
            return self._send_snapshot(peer, progress)
        entries: Sequence[Entry] = ()
        # With a full window only empty appends are sent: their answers show whether the window was lost.
        if previous < log.last_index and not (
            progress.state is ProgressState.REPLICATE and progress.is_inflight_full
        ):
            entries = log.entries_from(previous + 1, max_bytes=self._config.max_append_bytes)
        elif not even_if_empty:
            return False
        commit = log.commit_index
        self._send(
            Append(
                sender=self._me,
                to=peer,
                term=self._term,
                previous=EntryId(previous_term, previous),
                commit=commit,
                entries=entries,
            )
        )
        progress.sent(last_index=previous + len(entries), count=len(entries), commit=commit)
        return True

    def _send_snapshot(self, peer: int, progress: Progress) -> bool:
        """What `peer` needs is not kept any more (§7). Nothing is sent into the dark: it is large."""
        snapshot = self._log.snapshot
        if snapshot is None or not progress.is_recent_active:
            return False
        progress.become_snapshot(snapshot.last.index)
        self._send(InstallSnapshot(sender=self._me, to=peer, term=self._term, snapshot=snapshot))
        return True
