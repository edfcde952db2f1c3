"""The algorithm of one replica: elections, following, and what the shell must do next.

Pure: `step`, `tick`, `propose`, `persisted` go in, `ready` comes out. `replication.py` has the leader's part.
"""

from collections.abc import Sequence
from random import Random

from ..errors import NotLeader
from .config import RaftConfig
from .election_timer import ElectionTimer
from .following import answer_to_the_past, is_stranger, take_append, take_snapshot
from .log import RaftLog
from .membership import Change, Membership, decode_changes
from .messages import (
    NOTHING,
    Append,
    AppendRejected,
    AppendResponse,
    Entry,
    HardState,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    PreVote,
    PreVoteResponse,
    Ready,
    Role,
    SoftState,
    TimeoutNow,
    Vote,
    VoteResponse,
)
from .replication import Replication
from .voters import Tally


class Raft:
    """One replica's view of its group. Ids are 64 bits and not 0, which stands for nobody."""

    def __init__(
        self,
        *,
        me: int,
        membership: Membership,
        random: Random,
        config: RaftConfig,
        log: RaftLog,
        hard_state: HardState | None = None,
    ) -> None:
        hard_state = hard_state or HardState(commit=log.commit_index)
        self.me = me
        self.membership = membership  # as of the newest entry handed out for applying
        self.config = config
        self.log = log
        self.term = hard_state.term
        self.vote = hard_state.vote
        self.role = Role.FOLLOWER
        self.leader = 0
        self.replication: Replication | None = None  # only while we lead
        self.timer = ElectionTimer(config.election_ticks, random)
        self._heartbeat_elapsed = 0
        self._votes: dict[int, bool] = {}
        self._lost_leader = 0  # the link to it was reset, and we followed none since
        self._messages: list[Message] = []
        self._promises: list[Message] = []
        log.commit_to(hard_state.commit)
        self._told_soft = self._soft_state()
        self._told_hard = self._hard_state()

    # What goes in

    def step(self, message: Message) -> None:
        """Take one message of a peer, in any order, any number of times, any time late."""
        if message.term > self.term:
            if not self._heed_higher_term(message):
                return
        elif message.term < self.term:
            self._messages += answer_to_the_past(message, term=self.term, config=self.config)
            return
        match message:
            case Append() | Heartbeat() | InstallSnapshot():
                self._follow(message)
            case AppendResponse() | AppendRejected() | HeartbeatResponse():
                if self.replication is not None:
                    self.replication.hear(message)
            case Vote() | PreVote():
                self._answer_vote(message)
            case VoteResponse():
                if self.role is Role.CANDIDATE:
                    self._count_vote(message.sender, granted=not message.reject)
            case PreVoteResponse():
                if self.role is Role.FOLLOWER or self.role is Role.PRE_CANDIDATE:
                    self.log.learn_commit(message.commit)
                if self.role is Role.PRE_CANDIDATE:
                    granted = not message.reject and self.is_promotable  # no longer, if that was a change
                    self._count_vote(message.sender, granted=granted)
            case TimeoutNow():
                # A hand-over never asks first: the old leader would have its peers refuse.
                if self.role is Role.FOLLOWER and self.is_promotable:
                    self._become_candidate(transfer=True)

    def tick(self, count: int = 1) -> None:
        """`count` ticks of time have passed."""
        for _ in range(count):
            self.timer.elapsed_ticks += 1
            if self.replication is not None:
                self._tick_leader(self.replication)
            elif self.timer.is_over and self.is_promotable:
                self.timer.elapsed_ticks = 0
                self.campaign()

    def propose(self, data: Sequence[bytes]) -> int:
        """Append entries as leader and return the index of the first. Raises `NotLeader` or `Busy`."""
        return self._leadership().propose(data)

    def propose_change(self, changes: Sequence[Change]) -> int:
        """Append a membership change as leader and return its index; it takes effect when applied.

        Raises `NotLeader`, `Busy`, or `ChangeRefused`, also while an earlier change may not be applied yet.
        """
        return self._leadership().propose_change(changes)

    def read(self, number: int) -> None:
        """As leader, have a `ReadState` of this number come out once a majority confirmed that we lead.

        Lost with the leadership. Raises `NotLeader`.
        """
        self._leadership().read(number)

    def persisted(self, term: int, index: int) -> None:
        """The hard state of `term` and all entries up to `index`, as of some Ready, are on the disk."""
        if term != self.term:
            return  # only that term's candidate or leader was waiting for it
        if self.replication is not None:
            self.replication.persisted(index)
        elif self.role is Role.CANDIDATE:
            self._count_vote(self.me, granted=True)

    def campaign(self) -> None:
        """Try to become leader, first by asking whether it has a chance (pre-vote, thesis §9.6)."""
        if self.role is Role.LEADER or not self.is_promotable:
            return
        if self.config.pre_vote:
            self._become_pre_candidate()
        else:
            self._become_candidate()

    def forget_leader(self) -> None:
        """Stop protecting the leader, so that peers who lost it too may be voted for; the term stays."""
        if self.role is Role.FOLLOWER:
            self.leader = 0

    def peer_unreachable(self, peer: int) -> None:
        """The link to `peer` was reset. If it led, ask around soon; who is in contact with it refuses."""
        if self.replication is not None:
            self.replication.on_unreachable(peer)
        elif self.role is Role.FOLLOWER and peer == self.leader:
            self.forget_leader()
            self._lost_leader = peer
            self.timer.hurry(self.config.unreachable_ticks)

    def snapshot_ended(self, peer: int, *, arrived: bool) -> None:
        """The shell has sent a snapshot to `peer`, or could not."""
        if self.replication is not None:
            self.replication.on_snapshot_ended(peer, arrived=arrived)

    def transfer_leadership(self, to: int) -> None:
        """As leader, hand over to `to`; given up after an election timeout."""
        if self.replication is not None:
            self.timer.elapsed_ticks = 0
            self.replication.transfer(to)

    def _leadership(self) -> Replication:
        if self.replication is None:
            raise NotLeader(self.leader or None)
        return self.replication

    # What comes out

    @property
    def is_promotable(self) -> bool:
        """Whether we may campaign: not before a new membership, or a snapshot, is what we go by."""
        log = self.log
        return self.me in self.membership.voters and log.restored is None and not log.has_unapplied_change

    @property
    def ticks_until_due(self) -> int:
        """How many ticks may pass before one of them does something; at least 1."""
        if self.role is Role.LEADER:
            left = self.config.heartbeat_ticks - self._heartbeat_elapsed
            return max(1, min(left, self.config.election_ticks - self.timer.elapsed_ticks))
        return self.timer.ticks_left

    @property
    def has_ready(self) -> bool:
        """Whether `ready` would have anything to do."""
        return self.log.has_unapplied or self.has_more

    @property
    def has_more(self) -> bool:
        """Whether it would have anything to do but to apply."""
        return bool(
            self._messages
            or self._promises
            or self.log.has_unhanded
            or (self.term, self.vote, self.log.commit_index) != self._told_hard
            or (self.leader, self.role) != self._told_soft
            or self.log.restored is not None
            or (self.replication is not None and self.replication.confirmed_reads)
        )

    def ready(self, *, apply: bool = True) -> Ready:
        """Take what is to be done now, so call only to do it. Without `apply` what is committed stays."""
        hard, soft = self._hard_state(), self._soft_state()
        snapshot, entries = self.log.take_restored(), self.log.take_unhanded()
        committed = self.log.take_committed(max_bytes=self.config.max_apply_bytes) if apply else []
        reads = self.replication.handed_out(committed) if self.replication is not None else ()
        ready = Ready(
            term=self.term,
            last_index=self.log.last_index,
            soft_state=soft if soft != self._told_soft else None,
            hard_state=hard if hard != self._told_hard else None,
            entries=entries,
            snapshot=snapshot,
            committed=committed,
            reads=reads,
            messages=self._messages,
            promises=self._promises,
            must_sync=bool(entries) or hard[:2] != self._told_hard[:2],
        )
        self._told_hard, self._told_soft = hard, soft
        self._messages, self._promises = [], []
        for entry in committed:
            if entry.is_change:
                self._apply_change(entry)
        return ready

    def _apply_change(self, entry: Entry) -> None:
        """A committed change takes effect; what it sends is in the next Ready."""
        self.membership = self.membership.changed(decode_changes(entry.data))
        if self.replication is not None:
            self.replication.reconfigure(self.membership)
            if self.me not in self.membership.voters and self.config.step_down_on_removal:
                self._become_follower(self.term, 0)

    def _hard_state(self) -> HardState:
        return HardState(self.term, self.vote, self.log.commit_index)

    def _soft_state(self) -> SoftState:
        return SoftState(self.leader, self.role)

    def _send(self, message: Message) -> None:
        self._messages.append(message)

    # Terms

    def _heed_higher_term(self, message: Message) -> bool:
        """Move to the term of `message` if it may move us; return whether to go on with it (§5.1)."""
        if isinstance(message, Vote | PreVote):
            forced = isinstance(message, Vote) and message.transfer
            if self._is_leader_protected and not forced:
                return False  # a node that lost touch alone disrupts nobody (§6, thesis §4.2.3)
        if isinstance(message, PreVote) or (isinstance(message, PreVoteResponse) and not message.reject):
            return True  # it speaks of a term that nobody has begun
        leads = isinstance(message, Append | Heartbeat | InstallSnapshot)
        self._become_follower(message.term, message.sender if leads else 0)
        return True

    @property
    def _is_leader_protected(self) -> bool:
        return self.config.check_quorum and self.leader != 0 and self.timer.has_heard_lately

    def _reset(self, term: int) -> None:
        if term != self.term:
            self.term = term
            self.vote = 0
        self.leader = 0
        self.replication = None
        self.timer.restart()
        self._heartbeat_elapsed = 0
        self._votes = {}

    def _become_follower(self, term: int, leader: int) -> None:
        self._reset(term)
        self.role = Role.FOLLOWER
        self.leader = leader

    # Elections

    def _become_pre_candidate(self) -> None:
        """Ask whether an election could be won. Neither term nor vote change; the leader is forgotten."""
        self.role = Role.PRE_CANDIDATE
        self.leader = 0
        self._votes = {}
        for peer in self._others():
            self._send(PreVote(sender=self.me, to=peer, term=self.term + 1, last=self.log.last))
        self._count_vote(self.me, granted=True)  # it promises nothing, so it waits for no disk

    def _become_candidate(self, *, transfer: bool = False) -> None:
        self._reset(self.term + 1)
        self.role = Role.CANDIDATE
        self.vote = self.me  # counted in `persisted`
        for peer in self._others():
            last = self.log.last
            self._send(Vote(sender=self.me, to=peer, term=self.term, last=last, transfer=transfer))

    def _others(self) -> list[int]:
        return [peer for peer in self.membership.voters.ids if peer != self.me]

    def _answer_vote(self, message: Vote | PreVote) -> None:
        if is_stranger(message.sender, membership=self.membership, log=self.log):
            return
        is_pre_vote = isinstance(message, PreVote)
        may_vote = (
            self.vote == message.sender
            or (self.vote == 0 and self.leader == 0)
            or (is_pre_vote and message.term > self.term)
        )
        granted = may_vote and self.log.is_up_to_date(message.last)
        if is_pre_vote:
            term = message.term if granted else self.term
            # Who has applied its own removal leads nobody to it, and may be the last that knows of it.
            known = NOTHING if self.me in self.membership.voters else self.log.committed
            to, refuses = message.sender, not granted
            self._send(PreVoteResponse(sender=self.me, to=to, term=term, reject=refuses, commit=known))
            return
        if granted:
            self.timer.elapsed_ticks = 0
            self.vote = message.sender
        self._promises.append(
            VoteResponse(sender=self.me, to=message.sender, term=self.term, reject=not granted)
        )

    def _count_vote(self, voter: int, *, granted: bool) -> None:
        self._votes.setdefault(voter, granted)
        voters = self.membership.voters
        match voters.tally(self._votes):
            case Tally.WON:
                if self.role is Role.PRE_CANDIDATE:
                    self._become_candidate()
                else:
                    self._become_leader()
            case Tally.LOST:
                self._become_follower(self.term, 0)
            case Tally.PENDING if voters.has_heard_all_but(self._lost_leader, self._votes):
                if self.role is Role.CANDIDATE:
                    # The vote is split, and the dead leader will not decide it.
                    self.timer.hurry(self.config.unreachable_ticks)

    # Leading and following

    def _become_leader(self) -> None:
        self._reset(self.term)
        self.role = Role.LEADER
        self.leader = self.me
        self.replication = Replication(
            me=self.me,
            term=self.term,
            membership=self.membership,
            log=self.log,
            config=self.config,
            send=self._send,
        )
        # What earlier leaders left behind can only be committed behind an entry of our own (§5.4.2, §8).
        self.log.append([Entry(self.term, self.log.last_index + 1, b"")])
        self.replication.broadcast_append()

    def _tick_leader(self, replication: Replication) -> None:
        if self.timer.elapsed_ticks >= self.config.election_ticks:
            self.timer.elapsed_ticks = 0
            if self.config.check_quorum and not replication.is_quorum_active():
                self._become_follower(self.term, 0)
                return
            replication.transferee = 0
        self._heartbeat_elapsed += 1
        if self._heartbeat_elapsed >= self.config.heartbeat_ticks:
            self._heartbeat_elapsed = 0
            replication.beat()

    def _follow(self, message: Append | Heartbeat | InstallSnapshot) -> None:
        if self.role is Role.LEADER:
            return
        if self.role is not Role.FOLLOWER:
            self._become_follower(message.term, message.sender)
        self.timer.elapsed_ticks = self._lost_leader = 0
        self.leader = message.sender
        match message:
            case Append():
                self._promises.append(take_append(self.log, message))
            case InstallSnapshot():
                is_member = self.me in self.membership
                self.membership = take_snapshot(self.log, message, is_member=is_member) or self.membership
                to, index = message.sender, self.log.commit_index
                self._promises.append(AppendResponse(sender=self.me, to=to, term=self.term, index=index))
            case Heartbeat():
                self.log.commit_to(message.commit)
                to, reads = message.sender, message.read_round
                self._send(HeartbeatResponse(sender=self.me, to=to, term=self.term, read_round=reads))
