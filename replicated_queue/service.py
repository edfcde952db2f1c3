"""The shell of one replica: it persists, sends and applies what the core says, and keeps who waits for it."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random

from .codec import STAMP, Frame, decode_frame
from .confirmations import Confirmations, Confirmed, settle
from .errors import Busy, DiskFull, JobTooLarge, MalformedMessage, NotLeader
from .group import Group, MembershipCallback
from .interfaces import StateMachine, Transport
from .leadership import Leadership, LeadershipCallback
from .persistence import MakeWriter
from .promises import Promises
from .proposals import Done, Part, Proposal, Proposals
from .raft.membership import Change, Membership
from .raft.messages import Heartbeat, InstallSnapshot, Ready, Role
from .raft.progress import Follower
from .replica import Replica
from .revival import restore_state, revived
from .second_copy import ONE_COPY, SecondCopy, waits_for_learner
from .settings import ReplicaSettings
from .snapshotting import SnapshotKeeper
from .state_check import StateCheck
from .storage.disk import Disk, RealDisk
from .storage.recovery import Recovered
from .storage.writer import StoreWriter
from .turns import Turns

logger = logging.getLogger(__name__)

AppliedCallback = Callable[[int], None]  # how far the log is applied now


class ReplicaService:
    """One replica of the group, running on an event loop. Hand `Transport` frames of peers to `receive`.

    `voters` and `learners` are the group as it was founded, the same on every replica, also on one that came
    later: who belongs now is in the log.
    """

    def __init__(
        self,
        *,
        peer_id: int,
        voters: Sequence[int],
        learners: Sequence[int] = (),
        state_machine: StateMachine,
        directory: Path,
        transport: Transport,
        random: Random,
        settings: ReplicaSettings = ReplicaSettings(),  # noqa: B008 (frozen)
        clock: Callable[[], float] = time.monotonic,
        open_disk: Callable[[Path], Disk] = RealDisk,
        make_writer: MakeWriter = StoreWriter,
    ) -> None:
        self.malformed_frames = 0
        self._me, self._state_machine = peer_id, state_machine
        self._group = Group(Membership.of(voters, learners))
        self._random = random
        self._settings = settings
        self._clock = clock
        self._replica: Replica | None = None  # until the log is read
        self._failed: asyncio.Future[None] | None = None
        self._turns = Turns(self._turn)
        self._promises = Promises(
            directory,
            transport,
            settings=settings,
            open_disk=open_disk,
            make_writer=make_writer,
            offer=lambda message, cluster_time: self._snapshots.offer(message, cluster_time),
            clock=clock,
            guard=self._guard,
            wake=self._turns.soon,
            fail=self._fail,
        )
        self._snapshots = SnapshotKeeper(
            state_machine=state_machine,
            transport=transport,
            persistence=self._promises.persistence,
            settings=settings,
            install=self._install,
            on_failure=self._fail,
        )
        self._state_check = StateCheck(state_machine, settings, replace=self._snapshots.replace_state)
        self._proposals = Proposals()
        self._second_copy = SecondCopy()
        self._confirmations = Confirmations()
        self._leadership = Leadership()
        self._applied_callbacks: list[AppliedCallback] = []

    async def run(self) -> None:
        """Run until cancelled. Raises `StorageError` when the disk fails or its log is damaged."""
        self._turns.start()
        self._failed = asyncio.get_running_loop().create_future()
        try:
            recovered = await self._promises.persistence.open()
            await restore_state(self._state_machine, recovered)
            self._start(recovered)
            await self._failed
        finally:
            await self._stop()

    def receive(self, peer: int, frame: bytes) -> None:
        """Take one frame that an authenticated peer sent. Malformed ones are counted and dropped.

        Also of one that does not belong as far as we know: it may have come since, and we may be behind.
        """
        if (replica := self._replica) is None:
            return
        try:
            decoded = decode_frame(frame, sender=peer, to=self._me)
        except MalformedMessage:
            self.malformed_frames += 1
            return
        if isinstance(decoded.message, InstallSnapshot):
            self._snapshots.received(decoded)
            return
        self._guard(lambda: replica.receive(decoded, now=self._clock()))
        self._state_check.heard(decoded, replica)
        if replica.raft.has_ready or self._second_copy.is_holding:  # many frames change nothing
            (self._turns.now if isinstance(decoded.message, Heartbeat) else self._turns.soon)()

    def serve_snapshot(self, peer: int, request: bytes) -> AsyncGenerator[bytes, None]:
        """Answer `Transport.fetch` of a peer that is a member. Raises `QueueError` where there is none."""
        return self._snapshots.serve(peer, request)

    def peer_unreachable(self, peer: int) -> None:
        """The link to `peer` was reset: if it led, look for a new leader at once."""
        if self._replica is not None:
            self._replica.raft.peer_unreachable(peer)
            self._snapshots.peer_lost(peer)
            self._turns.soon()

    def propose(self, data: bytes, done: Done, *, part: Part | None = None, is_alone: bool = False) -> None:
        """Propose one command; `done` is called with its results once it is committed and applied here.

        With its `part` it may share an entry with others of this turn, unless it is to be alone. Raises
        `NotLeader`, `Busy` or `DiskFull` at once, with nothing done. `done` is called with one of these when
        it was refused later, with `OutcomeUnknown` when leadership is lost before it was committed.
        """
        settings, replica = self._settings, self._replica
        if replica is None or replica.raft.role is not Role.LEADER:
            raise NotLeader(self.leader_id)
        size = len(data) + STAMP.size
        if size > settings.max_entry_bytes:
            raise JobTooLarge(what="the command", size_bytes=size, bound_bytes=settings.max_entry_bytes)
        if self._promises.lacking is not None:
            raise DiskFull(str(self._promises.lacking.path))
        uncommitted = replica.uncommitted_bytes + self._proposals.new_bytes
        if (uncommitted and uncommitted + size > settings.max_uncommitted_bytes) or (
            len(self._proposals) >= settings.max_uncommitted_proposals
        ):
            raise Busy
        proposal = Proposal(data, done, part, is_alone or part is None)
        self._proposals.add(proposal, size_bytes=size)
        self._turns.soon()

    @property
    def peer_id(self) -> int:
        return self._me

    @property
    def is_leader(self) -> bool:
        return self._replica is not None and self._replica.raft.role is Role.LEADER

    @property
    def is_leading(self) -> bool:
        """Whether it leads and has applied all that was agreed before: only then is its state the newest."""
        return self._replica is not None and self._replica.is_leading

    @property
    def leader_id(self) -> int | None:
        return (self._replica.raft.leader or None) if self._replica is not None else None

    @property
    def term(self) -> int:
        return self._replica.raft.term if self._replica is not None else 0

    @property
    def commit_index(self) -> int:
        return self._replica.raft.log.commit_index if self._replica is not None else 0

    @property
    def applied_index(self) -> int:
        return self._replica.applied_index if self._replica is not None else 0

    @property
    def last_index(self) -> int:
        return self._replica.raft.log.last_index if self._replica is not None else 0

    @property
    def membership(self) -> Membership:
        """Who belongs, as of what is applied here; before the log is read, who founded the group."""
        return self._replica.raft.membership if self._replica is not None else self._group.founders

    def followers(self) -> Sequence[Follower]:
        """As leader, how far the other members are, learners too; nobody otherwise."""
        return self._replica.followers(self._clock()) if self._replica is not None else ()

    @property
    def has_quorum(self) -> bool:
        """Whether changes can be made: a leader hears a majority, or a leader was heard a moment ago."""
        patience = self._settings.patience_seconds(is_voter=self._me in self.membership.voters)
        return self.leader_id is not None and self.seconds_since_leader < patience

    @property
    def now_ms(self) -> int:
        """Cluster time as far as this replica knows."""
        return self._replica.cluster_time(self._clock()) if self._replica is not None else 0

    @property
    def seconds_since_leader(self) -> float:
        """How long ago a leader was heard; 0 for the leader itself, infinite if none ever was."""
        replica = self._replica
        return replica.seconds_since_leader(self._clock()) if replica is not None else float("inf")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should hear of this replica, each with what to do."""
        lacking = self._promises.lacking
        full = (f"it leads nothing and takes no changes: {lacking}",) if lacking else ()
        return (*full, *((ONE_COPY,) if self._second_copy.is_missed else ()), *self._state_check.warnings)

    def on_applied(self, callback: AppliedCallback) -> None:
        """Call back whenever commands were applied here, on every replica."""
        self._applied_callbacks.append(callback)

    def on_leadership(self, callback: LeadershipCallback) -> None:
        """Call back with True once this replica leads and has applied its no-op, False when that ends."""
        self._leadership.callbacks.append(callback)

    def on_leader(self, callback: Callable[[], None]) -> None:
        """Call back whenever `leader_id` is another than before, None included."""
        self._leadership.leader_callbacks.append(callback)

    def on_membership(self, callback: MembershipCallback) -> None:
        """Call back whenever `membership` is another than before. Who is removed may never hear of it."""
        self._group.callbacks.append(callback)

    async def change_membership(self, change: Change) -> None:
        """As leader, change who belongs by one step, and wait until that is applied here.

        Raises `NotLeader`, `Busy`, `ChangeRefused` with nothing done, also while an earlier change is not
        applied; `OutcomeUnknown` when leadership is lost meanwhile.
        """
        if self._replica is None:
            raise NotLeader(None)
        await self._group.change(self._replica, change, wake=self._turns.soon)

    def confirm(self, done: Confirmed) -> None:
        """Make certain that this replica leads now, after the call (ReadIndex, thesis §6.4).

        `done` is called with an index that is applied here: the state shows all that was answered before the
        call, by whoever led. Or with `NotLeader`, when that cannot be said. Costs a round of heartbeats, one
        for all who ask meanwhile, and no entry.
        """
        if self._replica is None:
            done(NotLeader(None))
            return
        self._confirmations.add(done)
        self._turns.soon()

    async def confirm_leadership(self) -> int:
        """The same to be awaited. Raises `NotLeader`."""
        confirmed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.confirm(partial(settle, confirmed))
        return await confirmed

    async def transfer_leadership(self, to: int | None = None) -> None:
        """Hand leadership to `to` or to the best voter, and wait until done, at most an election timeout.

        Raises `NotLeader`. Look at `is_leader` for whether it went well: `to` may be behind or away.
        """
        if self._replica is None:
            raise NotLeader(None)
        handed_over = self._leadership.hand_over(self._replica, to)
        self._turns.soon()
        await asyncio.wait((handed_over,), timeout=self._settings.election_timeout_seconds)

    # Beginning and end

    def _start(self, recovered: Recovered) -> None:
        self._replica = replica = revived(
            recovered,
            me=self._me,
            founders=self._group.founders,
            state_machine=self._state_machine,
            random=self._random,
            settings=self._settings,
            now=self._clock(),
        )
        self._promises.start(replica)
        self._snapshots.start(replica, recovered)
        if replica.raft.membership.voters.ids == (self._me,):
            replica.raft.campaign()  # there is nobody to wait for
        logger.info(
            "replica started term=%d last_index=%d commit_index=%d",
            self.term,
            self.last_index,
            self.commit_index,
        )
        self._turns.soon()

    async def _stop(self) -> None:
        self._turns.stop()
        self._replica = None
        self._promises.stop()
        self._state_check.stop()
        self._confirmations.close()
        self._proposals.close()
        self._group.close()
        self._leadership.end()
        await self._snapshots.stop()
        await self._promises.persistence.close()

    def _fail(self, error: BaseException) -> None:
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)

    def _guard(self, work: Callable[[], None]) -> None:
        """Do what the event loop or a peer asked for: an error there must end `run`, not vanish."""
        try:
            work()
        except Exception as error:  # a bug or a broken promise: the node stops rather than go on in doubt
            self._fail(error)

    # One turn

    def _turn(self) -> None:
        if self._replica is not None and self._failed is not None and not self._failed.done():
            self._guard(self._do_turn)

    def _do_turn(self) -> None:
        assert self._replica is not None
        replica, raft, now = self._replica, self._replica.raft, self._clock()
        replica.tick(now)
        self._promises.tell_news(now)
        self._promises.watch_disk(now)
        if self._proposals.has_new:
            self._propose_all(replica, now)
        self._confirmations.ask(replica)
        may_apply = self._promises.may_apply(now)
        if (ready := replica.ready(apply=may_apply)) is not None:
            self._perform(replica, ready, now)
        if self._second_copy.is_holding:
            for index, result in self._second_copy.release(replica, now=now):
                self._proposals.applied(index, result)
        self._confirmations.answer(replica.applied_index)
        self._group.announce(replica)
        self._leadership.announce(replica)
        if (raft.has_ready if may_apply else raft.has_more) or self._confirmations.wants_round:
            self._turns.soon()
        due = min(replica.next_deadline(), self._second_copy.next_deadline(), self._promises.next_deadline())
        self._turns.by(due, now=now)

    def _propose_all(self, replica: Replica, now: float) -> None:
        room = self._settings.max_entry_bytes - STAMP.size
        entries = self._proposals.take_new(max_bytes=room)
        try:
            commands = [b"".join([proposal.data for proposal in proposals]) for proposals in entries]
            first = replica.propose(commands, now=now)
        except (NotLeader, Busy) as error:
            for proposals in entries:
                for proposal in proposals:
                    proposal.done(error)
            return
        self._proposals.appended(first, entries, term=replica.raft.term)

    def _perform(self, replica: Replica, ready: Ready, now: float) -> None:
        self._promises.carry_out(ready, now=now)
        self._snapshots.written(ready)
        self._confirmations.heard(ready.reads)
        if ready.soft_state is not None and ready.soft_state.role is not Role.LEADER:
            self._proposals.give_up_waiting()
        if ready.snapshot is not None:
            self._snapshots.take_over(ready.snapshot)
        elif not ready.committed:
            self._promises.tell_checkpoint(self._state_check.look(replica, now))
            return
        waits = waits_for_learner(replica)
        for index, results in replica.apply(ready.committed, parts_of=self._proposals.parts_of):
            if waits:
                self._second_copy.hold(index, results, now=now)
            else:
                self._proposals.applied(index, results)
        for callback in self._applied_callbacks:
            callback(replica.applied_index)

    def _install(self, offered: Frame) -> None:
        """A leader's snapshot is ready to be taken over: have the algorithm take it, or find it too old."""
        if self._replica is not None:
            replica, now = self._replica, self._clock()
            self._guard(lambda: replica.receive(offered, now=now))
            self._turn()
