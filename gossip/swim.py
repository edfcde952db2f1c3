"""The membership protocol: SWIM (Das, Gupta, Motivala 2002) with Lifeguard (Dadgar, Phillips, Currey 2017).

Messages and the time go in, effects come out. The shell calls `tick` whenever `next_deadline` has come, and
after having handed over all that was received before; when it comes late, we were paused, and judge nobody by
that.
"""

import math
from collections.abc import Sequence
from random import Random
from typing import assert_never

from gossip.anti_entropy import ExchangeSchedule, full_state, learn_full_state
from gossip.events import NameConflict
from gossip.lifeguard import LocalHealth
from gossip.member import Address, Member, MemberState, NodeId
from gossip.messages import (
    Ack,
    Datagram,
    FullState,
    Introduce,
    Nack,
    NameTaken,
    News,
    NotMe,
    Ping,
    PingRequest,
    RowUpdate,
    StartExchange,
)
from gossip.outbox import Effect, Outbox
from gossip.probe import Probe, ProbeBook
from gossip.settings import GossipSettings
from gossip.stats import StatRow, StatTable, received_row
from gossip.turns import Turns
from gossip.view import Hearsay, View

TWINS_SECONDS = 2.0  # nodes of one name that started closer together than this go by their ids


class Swim:
    """One member's side of the protocol."""

    def __init__(self, *, me: Member, settings: GossipSettings, random: Random, now: float) -> None:
        self._settings = settings
        self._random = random
        self._started_at = now
        self._view = View(me=me, settings=settings)
        self._roster = self._view.roster
        self._turns = Turns(interval=settings.probe_interval_seconds, now=now)
        self._probes = ProbeBook()
        self._exchanges = ExchangeSchedule(settings=settings, random=random, now=now)
        self._rows = StatTable()
        self._out = Outbox(view=self._view, rows=self._rows, turns=self._turns, settings=settings)
        self._row_version = 0
        self._told_names: set[tuple[NodeId, int]] = set()
        self._gossip_at = now
        self._announce_at = now + settings.announce_interval_seconds
        self._wake_at = math.inf

    # What the shell asks.

    @property
    def me(self) -> Member:
        return self._roster.me

    @property
    def health(self) -> LocalHealth:
        return self._view.health

    def members(self) -> tuple[Member, ...]:
        return tuple(self._roster)

    def rows(self) -> dict[NodeId, StatRow]:
        return self._rows.rows()

    def full_state(self, now: float) -> FullState:
        return full_state(self._view, self._rows.rows(), beat=self._turns.beat(now), now=now)

    def next_deadline(self) -> float:
        """When `tick` is due."""
        deadlines = [self._turns.next_at(self.health.stretch), self._probes.next_deadline()]
        deadlines += [self._view.next_deadline(), self._exchanges.next_deadline(self._roster)]
        if self._view.news and len(self._roster.ring) > 1:
            deadlines.append(self._gossip_at)
        if self._roster.dead():
            deadlines.append(self._announce_at)
        return min(deadlines)

    # What the shell tells.

    def add_seeds(self, seeds: Sequence[Address], *, now: float, are_lasting: bool = True) -> list[Effect]:
        for address in seeds:
            self._exchanges.add_seed(address, now=now, is_lasting=are_lasting)
        return self._done(now)

    def publish(self, payload: bytes, *, now: float) -> list[Effect]:
        """Replace our statistics row."""
        self._row_version += 1
        me = self.me
        self._rows.put(
            StatRow(
                node_id=me.node_id,
                run_id=me.run_id,
                version=self._row_version,
                payload=payload,
                measured_at=now,
            )
        )
        return self._done(now)

    def change_myself(
        self, *, meta: bytes | None = None, address: Address | None = None, now: float
    ) -> list[Effect]:
        self._view.change_myself(meta=meta, address=address)
        return self._done(now)

    def leave(self, *, now: float) -> list[Effect]:
        """Say goodbye to every live member; may be called again, to say it again."""
        self._view.leave()
        for member in self._roster.live_others():
            self._out.send(member.address, News(), saying=[self._view.claim_of_myself()], now=now)
        return self._done(now)

    def learn_state(self, state: FullState, *, now: float) -> list[Effect]:
        """Merge what the other side of an exchange knows."""
        self._notice_gap(now)
        self._turns.hear(state.beat, now=now)
        learn_full_state(state, self._view, settings=self._settings, now=now)
        self._learn_rows(state.rows, now=now)
        return self._done(now)

    def exchange_succeeded(self, address: Address, state: FullState, *, now: float) -> list[Effect]:
        self._exchanges.succeeded(address, answered_by=state.sender, now=now)
        return self.learn_state(state, now=now)

    def exchange_failed(self, address: Address, *, now: float) -> list[Effect]:
        self._exchanges.failed(address, now=now)
        return self._done(now)

    def receive(self, datagram: Datagram, *, source: Address, now: float) -> list[Effect]:
        """Learn what rides along, and answer the message (SWIM §3.1)."""
        self._notice_gap(now)
        if datagram.sender == self.me.node_id:
            return self._done(now)  # our own, come back to us, or a second one of us: no word is believed
        self._turns.hear(datagram.beat, now=now)
        for update in datagram.updates:
            self._view.learn(update, now=now, hearsay=Hearsay(source=source))
        self._learn_rows(datagram.rows, now=now)
        self._meet(datagram, source=source, now=now)
        self._answer(datagram, source=source, now=now)
        return self._done(now)

    def tick(self, *, now: float) -> list[Effect]:
        """Do what is due."""
        self._notice_gap(now)
        for relay in self._probes.due_nacks(now):
            self._out.send(relay.requester, Nack(sequence=relay.requester_sequence), now=now)
        for probe in self._probes.due_probes(now):
            self._continue_probe(probe, now=now)
        self._view.judge(now)
        for suspect in self._view.reminders(now):
            self._out.send(suspect.address, News(), saying=[self._view.claim_of(suspect)], now=now)
        self._take_turn(now)
        self._announce_to_the_dead(now)
        for address in [] if self._view.has_left else self._exchanges.due(self._roster, now=now):
            self._out.put(StartExchange(to=address))
        for node_id in self._view.reap(now):
            self._rows.forget(node_id)
        self._follow_up(now)
        self._tell_news(now)
        return self._done(now)

    # Being late.

    def _notice_gap(self, now: float) -> None:
        """Time stood still for us: what we did not hear meanwhile is nobody's fault but ours."""
        if now - self._wake_at <= self._settings.gap_seconds:
            return
        self._wake_at = math.inf
        self.health.worsen()
        self._probes.clear()
        self._view.restart_suspicions(now)

    def _done(self, now: float) -> list[Effect]:
        self._follow_up(now)
        self._wake_at = max(now, self.next_deadline())
        return self._out.take_all()

    def _follow_up(self, now: float) -> None:
        """Do what follows from what was learned."""
        view = self._view
        answers, view.answers = view.answers, []
        for address, update in answers:
            self._out.send(address, News(), saying=[update], now=now)
        accused, view.accused = view.accused, []
        for node_id in accused:
            # A few neighbours of an accused member look for themselves at once, so that a suspicion is soon
            # confirmed or refuted, instead of when the turn comes round.
            if self.me.node_id in self._roster.neighbours(node_id, self._settings.confirmations + 2):
                self._probe(node_id, now=now)
        namesakes, view.namesakes = view.namesakes, set()
        for node_id in sorted(namesakes):
            uptime = NameTaken(uptime_seconds=now - self._started_at)
            self._out.send(self._roster[node_id].address, uptime, now=now)
        for node_id in view.returned:
            self._exchanges.catch_up_with(node_id, now=now)
        view.returned = []
        for event in view.events:
            self._out.put(event)
        view.events = []

    # Probing.

    def _take_turn(self, now: float) -> None:
        if now < self._turns.next_at(self.health.stretch):
            return
        target = self._turns.take(me=self.me.node_id, ring=self._roster.ring, now=now)
        if target is not None:
            self._probe(target, now=now)

    def _probe(self, node_id: NodeId, *, now: float) -> None:
        target = self._roster.get(node_id)
        if (
            target is None
            or self._view.has_left
            or not target.state.is_live
            or self._probes.is_probing(node_id)
        ):
            return
        stretch = self.health.stretch
        probe = self._probes.open(
            target,
            now=now,
            timeout=self._settings.probe_timeout_seconds * stretch,
            indirect=self._settings.indirect_seconds * stretch,
        )
        self._ping(target, probe.sequence, now=now)

    def _ping(self, target: Member, sequence: int, *, now: float) -> None:
        ping = Ping(sequence=sequence, target=target.node_id, target_run_id=target.run_id)
        self._out.send(target.address, ping, now=now, receiver=target)

    def _continue_probe(self, probe: Probe, *, now: float) -> None:
        if probe.verdict_at <= now:
            self._probes.close(probe)
            # Lifeguard §3.1: helpers that nacked prove that it is not our own link that is bad.
            self.health.worsen(len(probe.helpers) - len(probe.nacks) if probe.helpers else 1)
            self._view.accuse(probe.target, now=now)
            return
        held = self._roster.get(probe.target.node_id)
        if held is None or not held.state.is_live or held.run_id != probe.target.run_id:
            self._probes.close(probe)  # it has ended meanwhile, or began anew
            return
        self._ping(held, probe.sequence, now=now)
        probe.again_at = math.inf
        if probe.indirect_at <= now:
            probe.indirect_at = math.inf
            self._ask_helpers(probe, now=now)

    def _ask_helpers(self, probe: Probe, *, now: float) -> None:
        target = probe.target
        alive = [
            one
            for one in self._roster.live_others()
            if one.node_id != target.node_id and one.state is MemberState.ALIVE
        ]
        helpers = self._random.sample(alive, min(self._settings.helpers, len(alive)))
        probe.helpers = frozenset(helper.node_id for helper in helpers)
        request = PingRequest(
            sequence=probe.sequence,
            target=target.node_id,
            target_run_id=target.run_id,
            address=target.address,
        )
        for helper in helpers:
            self._out.send(helper.address, request, now=now, receiver=helper)

    def _announce_to_the_dead(self, now: float) -> None:
        """A word to one of the dead: if it lives on the far side of a partition, it will answer."""
        if now < self._announce_at:
            return
        self._announce_at = now + self._settings.announce_interval_seconds
        dead = self._roster.dead()
        if dead and not self._view.has_left:
            self._ping(self._random.choice(dead), 0, now=now)

    # Answering.

    def _meet(self, datagram: Datagram, *, source: Address, now: float) -> None:
        """Compare the sender with what we hold of it."""
        held = self._roster.get(datagram.sender)
        said = (datagram.run_id, datagram.incarnation)
        if held is None or said > (held.run_id, held.incarnation):
            self._out.send(source, Introduce(), now=now)
        elif datagram.run_id < held.run_id or held.state is MemberState.DEAD:
            self._out.send(source, News(), saying=[self._view.claim_of(held)], now=now)

    def _answer(self, datagram: Datagram, *, source: Address, now: float) -> None:
        sender = self._roster.get(datagram.sender)
        message = datagram.message
        match message:
            case Ping():
                self._answer_ping(message, source=source, sender=sender, now=now)
            case PingRequest():
                self._probe_for(message, source=source, now=now)
            case Ack():
                self._take_ack(message.sequence, datagram, now=now)
            case Nack():
                self._probes.nacked(message.sequence, by=datagram.sender)
            case Introduce():
                self._out.send(source, News(), saying=[self._view.claim_of_myself()], now=now)
            case NameTaken():
                self._take_name_taken(message, sender, now=now)
            case NotMe() | News():
                pass  # a wrong target is as good as silent, and what rode along has been learned
            case _:
                assert_never(message)

    def _answer_ping(self, ping: Ping, *, source: Address, sender: Member | None, now: float) -> None:
        is_me = (ping.target, ping.target_run_id) == (self.me.node_id, self.me.run_id)
        if is_me:
            self._out.send(source, Ack(sequence=ping.sequence), now=now, receiver=sender)
        else:
            myself = [self._view.claim_of_myself()]
            self._out.send(source, NotMe(sequence=ping.sequence), saying=myself, now=now)

    def _probe_for(self, request: PingRequest, *, source: Address, now: float) -> None:
        relay = self._probes.open_relay(
            request.target,
            requester=source,
            sequence=request.sequence,
            now=now,
            patience=self._settings.indirect_seconds,
        )
        if relay is not None:
            ping = Ping(sequence=relay.sequence, target=request.target, target_run_id=request.target_run_id)
            self._out.send(request.address, ping, now=now, receiver=self._roster.get(request.target))

    def _take_ack(self, sequence: int, datagram: Datagram, *, now: float) -> None:
        answered = self._probes.acked(sequence, by=datagram.sender)
        if isinstance(answered, Probe):
            self.health.improve()
        elif answered is not None:
            self._out.send(answered.requester, Ack(sequence=answered.requester_sequence), now=now)

    def _take_name_taken(self, message: NameTaken, sender: Member | None, *, now: float) -> None:
        """The one that has been up for longer keeps the name; twins go by their ids."""
        if (
            sender is None
            or sender.name != self.me.name
            or (sender.node_id, sender.run_id) in self._told_names
        ):
            return
        older_by = message.uptime_seconds - (now - self._started_at)
        gives_way = older_by > 0 if abs(older_by) > TWINS_SECONDS else self.me.node_id > sender.node_id
        if gives_way:
            self._told_names.add((sender.node_id, sender.run_id))
            self._out.put(NameConflict(sender))

    # Telling.

    def _learn_rows(self, rows: Sequence[RowUpdate], *, now: float) -> None:
        for row in rows:
            if row.node_id != self.me.node_id and self._roster.get(row.node_id) is not None:
                self._rows.put(received_row(row, now=now))

    def _tell_news(self, now: float) -> None:
        """News do not wait for the next probe (SWIM's piggybacking alone takes a second a hop)."""
        others = self._roster.live_others()
        if not self._view.news or not others or now < self._gossip_at or self._view.has_left:
            return
        self._gossip_at = now + self._settings.gossip_interval_seconds
        for member in self._random.sample(others, min(self._settings.gossip_fanout, len(others))):
            if self._view.news:
                self._out.send(member.address, News(), now=now, receiver=member)
