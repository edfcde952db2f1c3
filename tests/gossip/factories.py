"""Members, datagrams and cores for tests of single rules."""

from dataclasses import replace
from random import Random

from gossip.member import Address, Member, MemberState, NodeId
from gossip.messages import (
    Ack,
    Datagram,
    FullState,
    KnownMember,
    MemberUpdate,
    Message,
    Nack,
    News,
    Ping,
    PingRequest,
    RowUpdate,
    Send,
    StartExchange,
)
from gossip.outbox import Effect
from gossip.settings import GossipSettings
from gossip.swim import Swim

NAMES = "abcdefghijklmnop"


def node_id(name: str) -> NodeId:
    return name.encode().hex().rjust(16, "0")


def address(name: str) -> Address:
    return (f"10.0.0.{NAMES.index(name) + 1}", 7300)


def member(
    name: str, *, state: MemberState = MemberState.ALIVE, run_id: int = 1, incarnation: int = 0
) -> Member:
    return Member(
        node_id=node_id(name),
        name=name,
        address=address(name),
        run_id=run_id,
        incarnation=incarnation,
        state=state,
        meta=b"meta",
    )


def says(
    sender: str,
    message: Message | None = None,
    *,
    about: tuple[Member, ...] = (),
    by: str = "",
    run_id: int = 1,
    incarnation: int = 0,
    rows: tuple[RowUpdate, ...] = (),
) -> Datagram:
    return Datagram(
        sender=node_id(sender),
        run_id=run_id,
        incarnation=incarnation,
        beat=0.0,
        message=message or News(),
        updates=tuple(MemberUpdate(member=one, by=node_id(by or sender)) for one in about),
        rows=rows,
    )


def tells_all(sender: str, *members: Member, gone_seconds: float = 0.0) -> FullState:
    known = tuple(
        KnownMember(member=one, gone_seconds=0.0 if one.state.is_live else gone_seconds) for one in members
    )
    return FullState(sender=node_id(sender), run_id=1, beat=0.0, members=known)


class Core:
    """The core of member `a`, which knows some others, and what it did."""

    def __init__(self, *others: str, settings: GossipSettings | None = None) -> None:
        self.now = 1000.0
        self.settings = settings or GossipSettings()
        self.swim = Swim(me=member("a"), settings=self.settings, random=Random(1), now=self.now)
        self.effects: list[Effect] = []
        if others:
            self.hears(others[0], about=tuple(member(one) for one in others))
            self.run(5.0, answering=others)
            for effect in self.effects:
                if isinstance(effect, StartExchange):
                    self.swim.exchange_failed(effect.to, now=self.now)
        self.effects.clear()

    def hears(
        self, sender: str, message: Message | None = None, *, source: Address | None = None, **said: object
    ) -> list[Effect]:
        return self.receives(says(sender, message, **said), source=source or address(sender))  # type: ignore[arg-type]

    def receives(self, datagram: Datagram, *, source: Address) -> list[Effect]:
        effects = self.swim.receive(datagram, source=source, now=self.now)
        self.effects += effects
        return effects

    def learns(self, state: FullState) -> list[Effect]:
        effects = self.swim.learn_state(state, now=self.now)
        self.effects += effects
        return effects

    def run(self, seconds: float, *, answering: tuple[str, ...] = (), nacking: tuple[str, ...] = ()) -> None:
        """Let time pass, ticking when due; some members answer our pings, some tell that a target is silent."""
        end = self.now + seconds
        while (due := max(self.now, self.swim.next_deadline())) <= end:
            self.now = due + 1e-6
            effects = self.swim.tick(now=self.now)
            self.effects += effects
            for sent in self.sent(effects):
                self._answer(sent, answering=answering, nacking=nacking)
        self.now = max(self.now, end)

    def _answer(self, sent: Send, *, answering: tuple[str, ...], nacking: tuple[str, ...]) -> None:
        message = sent.datagram.message
        for name in answering:
            if isinstance(message, Ping) and sent.to == address(name) and message.target == node_id(name):
                held = self.held(name)
                assert held is not None
                self.hears(
                    name, Ack(sequence=message.sequence), run_id=held.run_id, incarnation=held.incarnation
                )
        for name in nacking:
            if isinstance(message, PingRequest) and sent.to == address(name):
                self.hears(name, Nack(sequence=message.sequence))

    def held(self, name: str) -> Member | None:
        return next((one for one in self.swim.members() if one.node_id == node_id(name)), None)

    def state(self, name: str) -> MemberState | None:
        held = self.held(name)
        return held.state if held else None

    @staticmethod
    def sent(effects: list[Effect], kind: type | None = None) -> list[Send]:
        return [
            one
            for one in effects
            if isinstance(one, Send) and (kind is None or isinstance(one.datagram.message, kind))
        ]

    def told(self, effects: list[Effect], to: str) -> list[Member]:
        """Every claim in what was sent to this member."""
        return [
            update.member
            for one in self.sent(effects)
            if one.to == address(to)
            for update in one.datagram.updates
        ]

    def events(self, kind: type) -> list[Effect]:
        return [one for one in self.effects if isinstance(one, kind)]


def accused(name: str, *, state: MemberState = MemberState.SUSPECT, incarnation: int = 0) -> Member:
    return replace(member(name), state=state, incarnation=incarnation)
