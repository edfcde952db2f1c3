"""What goes out: every message takes along as much news, then statistics, as fits its datagram."""

from collections.abc import Sequence

from gossip.codec import HEADER_BYTES, MAX_UPDATES, row_size, update_size
from gossip.dissemination import transmit_limit
from gossip.events import Event
from gossip.member import Address, Member, MemberState
from gossip.messages import Datagram, MemberUpdate, Message, Send, StartExchange
from gossip.settings import GossipSettings
from gossip.stats import StatTable
from gossip.turns import Turns
from gossip.view import View

Effect = Send | StartExchange | Event


class Outbox:
    """Collects the effects of one call of the core."""

    def __init__(self, *, view: View, rows: StatTable, turns: Turns, settings: GossipSettings) -> None:
        self._view = view
        self._rows = rows
        self._turns = turns
        self._settings = settings
        self._effects: list[Effect] = []

    def put(self, effect: Effect) -> None:
        self._effects.append(effect)

    def take_all(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def send(
        self,
        to: Address,
        message: Message,
        *,
        now: float,
        saying: Sequence[MemberUpdate] = (),
        receiver: Member | None = None,
    ) -> None:
        """Send a message, `saying` certain claims before all other news.

        A `receiver` that we hold suspect or dead hears so first of all, and can refute at once: the buddy
        rule (Lifeguard §3.3).
        """
        if receiver is not None and receiver.state in (MemberState.SUSPECT, MemberState.DEAD):
            saying = [self._view.claim_of(receiver), *saying]
        room = self._settings.datagram_bytes - self._settings.seal_bytes - HEADER_BYTES
        room -= sum(update_size(update) for update in saying)
        news = self._view.news.take(room=room, limit=self._news_limit(), at_most=MAX_UPDATES - len(saying))
        room -= sum(update_size(update) for update in news)
        rows = self._rows.take(room=room, overhead=row_size(b""), budget=self._settings.stat_transmits)
        me = self._view.me
        datagram = Datagram(
            sender=me.node_id,
            run_id=me.run_id,
            incarnation=me.incarnation,
            beat=self._turns.beat(now),
            message=message,
            updates=(*saying, *news),
            rows=tuple(row.as_update(now) for row in rows),
        )
        self._effects.append(Send(to=to, datagram=datagram))

    def _news_limit(self) -> int:
        return transmit_limit(len(self._view.roster.ring), self._settings.retransmit_multiplier)
