"""The algorithm of one replica: elections, following, and what the shell must do next.

Pure: `step`, `tick`, `propose`, `persisted` go in, `ready` comes out. `replication.py` has the leader's part.
"""

from collections.abc import Sequence
from random import Random

from ..errors import Busy, NotLeader
from .log import RaftLog
from .messages import (
    Append,
    AppendRejected,
    AppendResponse,
    Entry,
    HardState,
    Heartbeat,
    HeartbeatResponse,
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
from .replication import RaftConfig, Replication
from .voters import Tally, Voters


class Raft:
    """One replica's view of its group. Ids are 64 bits and not 0, which stands for nobody."""

    def __init__(
        self,
        *,
        me: int,
        voters: Voters,
        random: Random,
        config: RaftConfig,
        log: RaftLog,
        hard_state: HardState | None = None,
    ) -> None:
        hard_state = hard_state or HardState(commit=log.commit_index)
        self.me = me
        self.voters = voters
        self.config = config
        self.log = log
        self.term = hard_state.term
        self.vote = hard_state.vote
        self.role = Role.FOLLOWER
        self.leader = 0
        self.replication: Replication | None = None  # only while we lead
        self.timeout_ticks = 0  # drawn anew for each wait; a test may set it
        self.election_elapsed = 0  # ticks since we heard a leader, voted or began an election
        self._random = random
        self._heartbeat_elapsed = 0
        self._votes: dict[int, bool] = {}
        self._messages: list[Message] = []
        self._promises: list[Message] = []
        log.commit_to(hard_state.commit)
        self._draw_timeout()
        self._told_soft = self._soft_state()
        self._told_hard = self._hard_state()

    # What goes in

    def step(self, message: Message) -> None:
        """Take one message of a peer, in any order, any number of times, any time late."""
        if message.term > self.term:
            if not self._heed_higher_term(message):
                return
        elif message.term < self.term:
            self._answer_lower_term(message)
            return
        match message:
            case Append() | Heartbeat():
                self._follow(message)
            case AppendResponse() | AppendRejected() | HeartbeatResponse():
                self._hear_follower(message)
            case Vote() | PreVote():
                self._answer_vote(message)
            case VoteResponse():
                if self.role is Role.CANDIDATE:
                    self._count_vote(message.sender, granted=not message.reject)
            case PreVoteResponse():
                if self.role is Role.PRE_CANDIDATE:
                    self._count_vote(message.sender, granted=not message.reject)
            case TimeoutNow():
                # A hand-over never asks first: the old leader would have its peers refuse.
                if self.role is Role.FOLLOWER and self.is_promotable:
                    self._become_candidate(transfer=True)

    def tick(self, count: int = 1) -> None:
        """`count` ticks of time have passed."""
        for _ in range(count):
            self.election_elapsed += 1
            if self.replication is not None:
                self._tick_leader(self.replication)
            elif self.is_promotable and self.election_elapsed >= self.timeout_ticks:
                self.election_elapsed = 0
                self.campaign()

    def propose(self, data: Sequence[bytes]) -> int:
        """Append entries as leader and return the index of the first. Raises `NotLeader` or `Busy`."""
        replication = self.replication
        if replication is None:
            raise NotLeader(self.leader or None)
        size = sum(map(len, data))
        waiting = replication.uncommitted_bytes
        # What is over the bound alone must pass when nothing else waits, or it never would.
        if replication.transferee or (waiting and waiting + size > self.config.max_uncommitted_bytes):
            raise Busy
        replication.uncommitted_bytes += size
        first = self.log.last_index + 1
        self.log.append([Entry(self.term, index, datum) for index, datum in enumerate(data, first)])
        replication.broadcast_append()
        return first

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
            soon = self.timeout_ticks - 1 - self._random.randrange(self.config.unreachable_ticks + 1)
            self.election_elapsed = max(self.election_elapsed, soon)

    def transfer_leadership(self, to: int) -> None:
        """As leader, hand over to `to`; given up after an election timeout."""
        if self.replication is not None:
            self.election_elapsed = 0
            self.replication.transfer(to)

    # What comes out

    @property
    def is_promotable(self) -> bool:
        return self.me in self.voters

    @property
    def ticks_until_due(self) -> int:
        """How many ticks may pass before one of them does something; at least 1."""
        if self.role is Role.LEADER:
            left = self.config.heartbeat_ticks - self._heartbeat_elapsed
            return max(1, min(left, self.config.election_ticks - self.election_elapsed))
        return max(1, self.timeout_ticks - self.election_elapsed)

    @property
    def has_ready(self) -> bool:
        """Whether `ready` would have anything to do."""
        log = self.log
        return bool(
            self._messages
            or self._promises
            or log.handed_index < log.last_index
            or log.applying_index < log.commit_index
            or self._hard_state() != self._told_hard
            or self._soft_state() != self._told_soft
        )

    def ready(self) -> Ready:
        """Take what is to be done now; it counts as taken, so call only to do it."""
        hard, soft = self._hard_state(), self._soft_state()
        entries = self.log.take_unhanded()
        committed = self.log.take_committed(max_bytes=self.config.max_apply_bytes)
        if self.replication is not None:
            done = sum(len(entry.data) for entry in committed)
            self.replication.uncommitted_bytes = max(0, self.replication.uncommitted_bytes - done)
        ready = Ready(
            term=self.term,
            last_index=self.log.last_index,
            soft_state=soft if soft != self._told_soft else None,
            hard_state=hard if hard != self._told_hard else None,
            entries=entries,
            committed=committed,
            messages=self._messages,
            promises=self._promises,
            must_sync=bool(entries) or (hard.term, hard.vote) != (self._told_hard.term, self._told_hard.vote),
        )
        self._told_hard, self._told_soft = hard, soft
        self._messages, self._promises = [], []
        return ready

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
        self._become_follower(message.term, message.sender if isinstance(message, Append | Heartbeat) else 0)
        return True

    @property
    def _is_leader_protected(self) -> bool:
        heard = self.leader != 0 and self.election_elapsed < self.config.election_ticks
        return self.config.check_quorum and heard

    def _answer_lower_term(self, message: Message) -> None:
        match message:
            case Append() | Heartbeat() if self.config.check_quorum or self.config.pre_vote:
                # An old leader would never learn of a term that a cut-off node reached alone, and both would
                # stay useless: it ignored the node's votes, the node ignores its appends.
                self._send(AppendResponse(sender=self.me, to=message.sender, term=self.term, index=0))
            case PreVote():
                # Without an answer a group whose candidate is behind in terms never elects anybody.
                self._send(PreVoteResponse(sender=self.me, to=message.sender, term=self.term, reject=True))
            case _:
                pass

    def _reset(self, term: int) -> None:
        if term != self.term:
            self.term = term
            self.vote = 0
        self.leader = 0
        self.replication = None
        self.election_elapsed = 0
        self._heartbeat_elapsed = 0
        self._votes = {}
        self._draw_timeout()

    def _draw_timeout(self) -> None:
        ticks = self.config.election_ticks
        self.timeout_ticks = ticks + self._random.randrange(ticks)

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
        return [peer for peer in self.voters.ids if peer != self.me]

    def _answer_vote(self, message: Vote | PreVote) -> None:
        is_pre_vote = isinstance(message, PreVote)
        may_vote = (
            self.vote == message.sender
            or (self.vote == 0 and self.leader == 0)
            or (is_pre_vote and message.term > self.term)
        )
        granted = may_vote and self.log.is_up_to_date(message.last)
        if is_pre_vote:
            term = message.term if granted else self.term
            self._send(PreVoteResponse(sender=self.me, to=message.sender, term=term, reject=not granted))
            return
        if granted:
            self.election_elapsed = 0
            self.vote = message.sender
        self._promises.append(
            VoteResponse(sender=self.me, to=message.sender, term=self.term, reject=not granted)
        )

    def _count_vote(self, voter: int, *, granted: bool) -> None:
        self._votes.setdefault(voter, granted)
        match self.voters.tally(self._votes):
            case Tally.WON:
                if self.role is Role.PRE_CANDIDATE:
                    self._become_candidate()
                else:
                    self._become_leader()
            case Tally.LOST:
                self._become_follower(self.term, 0)
            case Tally.PENDING:
                pass

    # Leading and following

    def _become_leader(self) -> None:
        self._reset(self.term)
        self.role = Role.LEADER
        self.leader = self.me
        self.replication = Replication(
            me=self.me, term=self.term, voters=self.voters, log=self.log, config=self.config, send=self._send
        )
        # What earlier leaders left behind can only be committed behind an entry of our own (§5.4.2, §8).
        self.log.append([Entry(self.term, self.log.last_index + 1, b"")])
        self.replication.broadcast_append()

    def _tick_leader(self, replication: Replication) -> None:
        if self.election_elapsed >= self.config.election_ticks:
            self.election_elapsed = 0
            if self.config.check_quorum and not replication.is_quorum_active():
                self._become_follower(self.term, 0)
                return
            replication.transferee = 0
        self._heartbeat_elapsed += 1
        if self._heartbeat_elapsed >= self.config.heartbeat_ticks:
            self._heartbeat_elapsed = 0
            replication.broadcast_heartbeat()

    def _hear_follower(self, message: AppendResponse | AppendRejected | HeartbeatResponse) -> None:
        if self.replication is None or message.sender not in self.replication.progress:
            return
        match message:
            case AppendResponse():
                self.replication.on_append_response(message)
            case AppendRejected():
                self.replication.on_append_rejected(message)
            case HeartbeatResponse():
                self.replication.on_heartbeat_response(message)

    def _follow(self, message: Append | Heartbeat) -> None:
        if self.role is Role.LEADER:
            return
        if self.role is not Role.FOLLOWER:
            self._become_follower(message.term, message.sender)
        self.election_elapsed = 0
        self.leader = message.sender
        if isinstance(message, Heartbeat):
            self.log.commit_to(message.commit)
            self._send(HeartbeatResponse(sender=self.me, to=message.sender, term=self.term))
        else:
            self._promises.append(self._take_append(message))

    def _take_append(self, message: Append) -> AppendResponse | AppendRejected:
        log, to = self.log, message.sender
        if message.previous.index < log.commit_index:
            return AppendResponse(sender=self.me, to=to, term=self.term, index=log.commit_index)
        vouched = log.maybe_append(message.previous, message.entries)
        if vouched is not None:
            # Not our own last index: what lies behind this message's entries was not verified by it.
            log.commit_to(min(message.commit, vouched))
            return AppendResponse(sender=self.me, to=to, term=self.term, index=vouched)
        hint = log.find_conflict(min(message.previous.index, log.last_index), message.previous.term)
        return AppendRejected(sender=self.me, to=to, term=self.term, index=message.previous.index, hint=hint)
