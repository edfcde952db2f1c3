"""What only a leader knows and does: followers' progress, what to send, what is committed (§5.3, §5.4)."""

from collections.abc import Callable
from dataclasses import dataclass

from .log import UNLIMITED, RaftLog
from .messages import (
    Append,
    AppendRejected,
    AppendResponse,
    EntryId,
    Heartbeat,
    HeartbeatResponse,
    Message,
    TimeoutNow,
)
from .progress import Progress, ProgressState
from .voters import Voters


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftConfig:
    """Timing in ticks, bounds in bytes. Pre-vote and check-quorum are off only in scripted cases."""

    election_ticks: int = 100
    heartbeat_ticks: int = 25
    unreachable_ticks: int = 5  # longest wait for a pre-vote after the link to the leader was reset
    pre_vote: bool = True
    check_quorum: bool = True
    max_append_bytes: int = UNLIMITED
    max_inflight_appends: int = UNLIMITED
    max_uncommitted_bytes: int = UNLIMITED
    max_apply_bytes: int = UNLIMITED


class Replication:
    """One term's leadership. Made at the election and thrown away when it ends."""

    def __init__(
        self,
        *,
        me: int,
        term: int,
        voters: Voters,
        log: RaftLog,
        config: RaftConfig,
        send: Callable[[Message], None],
    ) -> None:
        self._me = me
        self._term = term
        self._voters = voters
        self._log = log
        self._config = config
        self._send = send
        self.transferee = 0
        self.uncommitted_bytes = 0
        limit, last = config.max_inflight_appends, log.last_index
        self.progress = {
            peer: Progress(next_index=last + 1, inflight_limit=limit) for peer in sorted({*voters.ids, me})
        }
        # Some may still be on their way to our own disk, but old ones are not committed by counting (§5.4.2).
        own = self.progress[me]
        own.acknowledged(last)
        own.become_replicate()
        own.is_recent_active = True

    def broadcast_append(self) -> None:
        """Send each follower what it lacks; the new commit index if it lacks nothing."""
        for peer in self.progress:
            if peer != self._me:
                self._send_append(peer)

    def broadcast_heartbeat(self) -> None:
        """Tell everybody that we lead; and what is committed, as far as it is known to match there."""
        for peer, progress in self.progress.items():
            if peer != self._me:
                commit = min(progress.match_index, self._log.commit_index)
                self._send(Heartbeat(sender=self._me, to=peer, term=self._term, commit=commit))
                progress.sent_commit = commit

    def persisted(self, index: int) -> None:
        """Our own entries up to `index` are on the disk: only now we count ourselves (thesis §10.2.1)."""
        progress = self.progress[self._me]
        if progress.acknowledged(index):
            progress.free_inflight(index)
            if self._advance_commit():
                self.broadcast_append()

    def on_append_response(self, message: AppendResponse) -> None:
        """A follower has everything up to an index."""
        peer, progress = message.sender, self.progress[message.sender]
        progress.is_recent_active = True
        is_probe_answered = progress.state is ProgressState.PROBE and progress.match_index == message.index
        if not progress.acknowledged(message.index) and not is_probe_answered:
            return
        if progress.state is ProgressState.PROBE:
            progress.become_replicate()
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

    def on_unreachable(self, peer: int) -> None:
        """The link to `peer` was reset: appends in flight are probably lost."""
        progress = self.progress.get(peer)
        if progress is not None and progress.state is ProgressState.REPLICATE:
            progress.become_probe()

    def is_quorum_active(self) -> bool:
        """Whether a majority was heard since the last call (check-quorum, thesis §6.2)."""
        active = [peer for peer, progress in self.progress.items() if progress.is_recent_active]
        for peer, progress in self.progress.items():
            progress.is_recent_active = peer == self._me
        return self._voters.is_quorum([*active, self._me])

    def transfer(self, to: int) -> None:
        """Hand leadership to `to`, as soon as it has the whole log (thesis §3.10)."""
        if to == self._me or to not in self.progress or to == self.transferee:
            return
        self.transferee = to
        if self.progress[to].match_index == self._log.last_index:
            self._send(TimeoutNow(sender=self._me, to=to, term=self._term))
        else:
            self._send_append(to)

    def best_successor(self) -> int:
        """The follower that was heard lately and has most of the log; 0 if there is none."""
        candidates = [
            (progress.is_recent_active, progress.match_index, peer)
            for peer, progress in self.progress.items()
            if peer != self._me and peer in self._voters
        ]
        return max(candidates)[2] if candidates else 0

    def _advance_commit(self) -> bool:
        index = self._voters.committed({peer: p.match_index for peer, p in self.progress.items()})
        # Only entries of our own term are committed by counting; older ones follow along (§5.4.2, figure 8).
        if index <= self._log.commit_index or self._log.term_at(index) != self._term:
            return False
        self._log.commit_to(index)
        return True

    def _send_append(self, peer: int, *, even_if_empty: bool = True) -> bool:
        progress = self.progress[peer]
        if peer == self._me or progress.is_flow_paused:
            return False
        previous = progress.next_index - 1
        previous_term = self._log.term_at(previous)
        assert previous_term is not None, f"entry {previous} for {peer} is not kept any more: {self._log!r}"
        # With a full window only empty appends are sent: their answers show whether the window was lost.
        if progress.state is ProgressState.REPLICATE and progress.is_inflight_full:
            entries = []
        else:
            entries = self._log.entries_from(progress.next_index, max_bytes=self._config.max_append_bytes)
        if not entries and not even_if_empty:
            return False
        commit = self._log.commit_index
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
