"""What we believe of everyone: claims come in, suspicions run, and we answer what is claimed of ourselves."""

import math
from dataclasses import dataclass, replace

from gossip.dissemination import NewsQueue
from gossip.events import (
    Event,
    MemberAlive,
    MemberDied,
    MemberJoined,
    MemberLeft,
    MemberSuspected,
    MemberUpdated,
    NameConflict,
)
from gossip.lifeguard import LocalHealth, Suspicion, suspect
from gossip.member import Address, Member, MemberState, NodeId, is_same_claim, supersedes
from gossip.messages import MemberUpdate
from gossip.roster import Roster
from gossip.settings import GossipSettings

RETELL_SECONDS = 1.0  # the same is told to the same member in answer to stale claims at most so often


@dataclass(frozen=True, slots=True)
class Hearsay:
    """How a claim reached us."""

    source: Address | None = None  # who told it in a datagram, to be answered there
    is_full: bool = False  # from a full exchange: perhaps old, so a death in it is only a suspicion
    is_quiet: bool = False  # not worth passing on
    gone_seconds: float = 0.0  # since the end of a dead member


class View:
    """Roster, suspicions and the news about them.

    The caller collects what follows from learning: `events` to publish, `answers` to send at once, `accused`
    members to look at ourselves, `namesakes` to be told so, `returned` ones to exchange with.
    """

    def __init__(self, *, me: Member, settings: GossipSettings) -> None:
        self.roster = Roster(me)
        self.news = NewsQueue()
        self.health = LocalHealth(settings.max_health_score)
        self.events: list[Event] = []
        self.answers: list[tuple[Address, MemberUpdate]] = []
        self.accused: list[NodeId] = []
        self.namesakes: set[NodeId] = set()
        self.returned: list[NodeId] = []
        self.refused = 0  # members beyond `max_members`
        self._settings = settings
        self._suspicions: dict[NodeId, Suspicion] = {}
        self._told_at: dict[NodeId, float] = {}
        self.news.put(self.claim_of_myself(), first=True)

    @property
    def me(self) -> Member:
        return self.roster.me

    @property
    def has_left(self) -> bool:
        return self.me.state is MemberState.LEFT

    def claim_of_myself(self) -> MemberUpdate:
        return MemberUpdate(member=self.me, by=self.me.node_id)

    def claim_of(self, member: Member) -> MemberUpdate:
        """What we hold of a member, to be told in our own name."""
        speaks_itself = member.state in (MemberState.ALIVE, MemberState.LEFT)
        return MemberUpdate(member=member, by=member.node_id if speaks_itself else self.me.node_id)

    def learn(self, update: MemberUpdate, *, now: float, hearsay: Hearsay) -> None:
        """Take in one claim (SWIM §4.2)."""
        claim = update.member
        if claim.node_id == self.me.node_id:
            self._hear_of_myself(claim, now=now, source=hearsay.source)
            return
        held = self.roster.get(claim.node_id)
        if held is None and len(self.roster) >= self._settings.max_members:
            self.refused += 1
        elif held is None:
            self._accept(claim, None, by=update.by, now=now, hearsay=hearsay)
        elif supersedes(claim, held):
            is_doubtful = held.state is MemberState.ALIVE or (hearsay.is_full and held.state.is_live)
            if claim.state is MemberState.DEAD and is_doubtful:
                # Whoever was cut off thinks that everyone else died. The accused shall answer for itself.
                claim = replace(claim, state=MemberState.SUSPECT)
                self._suspect_on_hearsay(claim, held, by=update.by, now=now)
            else:
                self._accept(claim, held, by=update.by, now=now, hearsay=hearsay)
        elif claim.state is MemberState.SUSPECT and is_same_claim(claim, held):
            self._confirm(held, by=update.by)
        elif claim.state is MemberState.ALIVE and held.state is MemberState.DEAD:
            self._tell_the_dead(held, claim.address, now=now)
        self._compare_names(claim)

    def accuse(self, target: Member, *, now: float) -> None:
        """It answered neither us nor our helpers."""
        held = self.roster.get(target.node_id)
        if held is None or (held.run_id, held.incarnation) != (target.run_id, target.incarnation):
            return
        if held.state is MemberState.ALIVE:
            claim = replace(held, state=MemberState.SUSPECT)
            self._accept(claim, held, by=self.me.node_id, now=now, hearsay=Hearsay())
        elif held.state is MemberState.SUSPECT:
            self._confirm(held, by=self.me.node_id)
        if suspicion := self._suspicions.get(target.node_id):
            suspicion.is_ours = True
            suspicion.remind_at = min(suspicion.remind_at, now)

    def judge(self, now: float) -> None:
        """Declare those dead whose suspicion has ended."""
        for node_id in [one for one, suspicion in self._suspicions.items() if suspicion.ends_at <= now]:
            held = self.roster[node_id]
            claim = replace(held, state=MemberState.DEAD)
            self._accept(claim, held, by=self.me.node_id, now=now, hearsay=Hearsay())

    def reminders(self, now: float) -> list[Member]:
        """Suspects that should hear again that we accuse them."""
        due = [one for one, suspicion in self._suspicions.items() if suspicion.remind_at <= now]
        for node_id in due:
            self._suspicions[node_id].remind_at = now + self._settings.reminder_seconds
        return [self.roster[node_id] for node_id in due]

    def restart_suspicions(self, now: float) -> None:
        """We were not there to hear the refutations: everyone gets the full time again."""
        for suspicion in self._suspicions.values():
            suspicion.restart(now)

    def change_myself(self, *, meta: bytes | None = None, address: Address | None = None) -> None:
        """Tell a new meta or address, which is a new incarnation."""
        me = self.me
        changed = replace(me, meta=me.meta if meta is None else meta, address=address or me.address)
        if changed != me and not self.has_left:
            self._become(replace(changed, incarnation=me.incarnation + 1))

    def leave(self) -> None:
        if not self.has_left:
            self._become(replace(self.me, incarnation=self.me.incarnation + 1, state=MemberState.LEFT))

    def reap(self, now: float) -> list[NodeId]:
        """Forget the tombstones that are old enough."""
        reaped = self.roster.reap(now - self._settings.tombstone_seconds)
        for node_id in reaped:
            self.news.forget(node_id)
            self._told_at.pop(node_id, None)
        return reaped

    def next_deadline(self) -> float:
        ends = [min(suspicion.ends_at, suspicion.remind_at) for suspicion in self._suspicions.values()]
        return min([*ends, self.roster.oldest_end() + self._settings.tombstone_seconds])

    def _accept(
        self, claim: Member, held: Member | None, *, by: NodeId, now: float, hearsay: Hearsay
    ) -> None:
        self.roster.put(claim, now=now - hearsay.gone_seconds)
        self._suspicions.pop(claim.node_id, None)
        if claim.state is MemberState.SUSPECT:
            members = len(self.roster.ring)
            self._suspicions[claim.node_id] = suspect(
                accuser=by, members=members, now=now, settings=self._settings
            )
            self.accused.append(claim.node_id)
        if not hearsay.is_quiet:
            self.news.put(MemberUpdate(member=claim, by=by))
        self._note(claim, held)

    def _suspect_on_hearsay(self, claim: Member, held: Member, *, by: NodeId, now: float) -> None:
        if is_same_claim(claim, held):
            self._confirm(held, by=by)
            return
        self._accept(claim, held, by=by, now=now, hearsay=Hearsay())
        suspicion = self._suspicions[claim.node_id]
        # Elsewhere it has had its time; here it gets the shortest, and hears of it from us.
        suspicion.wanted = 0
        suspicion.is_ours = True
        suspicion.remind_at = now

    def _confirm(self, held: Member, *, by: NodeId) -> None:
        suspicion = self._suspicions.get(held.node_id)
        if suspicion and suspicion.confirm(by):
            self.news.put(MemberUpdate(member=held, by=by))

    def _note(self, claim: Member, held: Member | None) -> None:
        was_live = held is not None and held.state.is_live
        if held is None and claim.state.is_live:
            self.events.append(MemberJoined(claim))
        match claim.state:
            case MemberState.ALIVE if held is not None:
                if held.state is not MemberState.ALIVE:
                    self.events.append(MemberAlive(claim))
                if not was_live:
                    self.returned.append(claim.node_id)
                if was_live and self._facts(claim) != self._facts(held):
                    self.events.append(MemberUpdated(claim))
            case MemberState.SUSPECT if held is None or held.state is not MemberState.SUSPECT:
                self.events.append(MemberSuspected(claim))
            case MemberState.DEAD if was_live:
                self.events.append(MemberDied(claim))
            case MemberState.LEFT if held is not None and held.state is not MemberState.LEFT:
                self.events.append(MemberLeft(claim))

    @staticmethod
    def _facts(member: Member) -> tuple[object, ...]:
        return (member.name, member.address, member.run_id, member.meta)

    def _tell_the_dead(self, held: Member, address: Address, *, now: float) -> None:
        """Somebody still takes it for alive: let it know what we hold, in case that somebody is right."""
        if now - self._told_at.get(held.node_id, -math.inf) >= RETELL_SECONDS:
            self._told_at[held.node_id] = now
            self.answers.append((address, self.claim_of(held)))

    def _compare_names(self, claim: Member) -> None:
        if claim.name == self.me.name and self.roster.is_live(claim.node_id):
            self.namesakes.add(claim.node_id)

    def _hear_of_myself(self, claim: Member, *, now: float, source: Address | None) -> None:
        me = self.me
        if self.has_left:
            return
        if claim.run_id > me.run_id:
            # Our clock or disk went back: others remember a later run of ours. Be the one after that.
            self._become(replace(me, run_id=claim.run_id + 1, incarnation=0))
        elif supersedes(claim, me) or (is_same_claim(claim, me) and self._facts(claim) != self._facts(me)):
            self._refute(claim, now=now)
        elif is_same_claim(claim, me):
            return
        if source is not None:
            self.answers.append((source, self.claim_of_myself()))

    def _refute(self, claim: Member, *, now: float) -> None:
        if claim.state is not MemberState.ALIVE:
            self.health.worsen()  # perhaps we really were too slow (Lifeguard §3.1)
        elif claim.address != self.me.address:
            # Only we raise our incarnation, so there is a second one of us. Do not fight at full speed.
            if now - self._told_at.get(self.me.node_id, -math.inf) < RETELL_SECONDS:
                return
            self._told_at[self.me.node_id] = now
            self.events.append(NameConflict(claim))
        self._become(replace(self.me, incarnation=claim.incarnation + 1))

    def _become(self, me: Member) -> None:
        self.roster.me = me
        self.news.put(self.claim_of_myself(), first=True)
