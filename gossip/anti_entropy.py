"""Full exchanges over a stream: with whom, when, and what is in them. They mend what datagrams lost."""

import math
from dataclasses import dataclass
from random import Random

from gossip.codec import HEADER_BYTES, MAX_STATE_BYTES, MAX_STATE_MEMBERS, row_size, update_size
from gossip.member import Address, NodeId
from gossip.messages import FullState, KnownMember, MemberUpdate
from gossip.roster import Roster
from gossip.settings import GossipSettings
from gossip.stats import StatRow
from gossip.view import Hearsay, View

CROWD = 32  # members up to which the interval stays as it is set
CATCH_UP_SECONDS = 0.5  # before an exchange with a member that came back, so that several share it


@dataclass(slots=True)
class _Seed:
    retry_at: float
    pause: float
    is_lasting: bool  # known members are only tried until they were reached once
    node_id: NodeId | None = None  # who answered there


class ExchangeSchedule:
    """When to exchange with whom; one exchange per address at a time. Seeds are tried for ever."""

    def __init__(self, *, settings: GossipSettings, random: Random, now: float) -> None:
        self._settings = settings
        self._random = random
        self._next_at = now + settings.exchange_interval_seconds * random.random()
        self._next_with: NodeId | None = None
        self._seeds: dict[Address, _Seed] = {}
        self._open: set[Address] = set()

    def add_seed(self, address: Address, *, now: float, is_lasting: bool = True) -> None:
        if address not in self._seeds:
            self._seeds[address] = _Seed(now, self._settings.seed_retry_seconds, is_lasting)

    def catch_up_with(self, node_id: NodeId, *, now: float) -> None:
        """It was away: exchange with it soon."""
        self._next_with = node_id
        self._next_at = min(self._next_at, now + CATCH_UP_SECONDS)

    def due(self, roster: Roster, *, now: float) -> list[Address]:
        """Addresses to exchange with now."""
        addresses = [address for address, seed in self._waiting_seeds(roster) if seed.retry_at <= now]
        if self._next_at <= now:
            if (member := self._pick(roster)) is not None:
                addresses.append(member)
            crowding = 1 + max(0.0, math.log2(len(roster.ring) / CROWD))
            self._next_at = now + self._settings.exchange_interval_seconds * crowding
        fresh = [address for address in dict.fromkeys(addresses) if address not in self._open]
        self._open.update(fresh)
        return fresh

    def succeeded(self, address: Address, *, answered_by: NodeId, now: float) -> None:
        self._open.discard(address)
        seed = self._seeds.get(address)
        if seed and not seed.is_lasting:
            del self._seeds[address]
        elif seed:
            seed.node_id = answered_by
            seed.pause = self._settings.seed_retry_seconds
            seed.retry_at = now + seed.pause

    def failed(self, address: Address, *, now: float) -> None:
        self._open.discard(address)
        if seed := self._seeds.get(address):
            seed.retry_at = now + seed.pause * (0.75 + self._random.random() / 2)
            seed.pause = min(seed.pause * 2, self._settings.seed_retry_max_seconds)

    def next_deadline(self, roster: Roster) -> float:
        return min([self._next_at, *(seed.retry_at for _, seed in self._waiting_seeds(roster))])

    def _waiting_seeds(self, roster: Roster) -> list[tuple[Address, _Seed]]:
        """Seeds where nobody is whom we see alive."""
        if not self._seeds:
            return []
        reached = roster.live_addresses()
        return [
            (address, seed)
            for address, seed in self._seeds.items()
            if address not in reached
            and address not in self._open
            and not (seed.node_id and roster.is_live(seed.node_id))
        ]

    def _pick(self, roster: Roster) -> Address | None:
        wanted, self._next_with = self._next_with, None
        if wanted is not None and wanted != roster.me.node_id and roster.is_live(wanted):
            return roster[wanted].address
        others = roster.live_others()
        return self._random.choice(others).address if others else None


def full_state(view: View, rows: dict[NodeId, StatRow], *, beat: float, now: float) -> FullState:
    """All we know: ourselves, the living, then the gone. Rows have the room that members leave.

    `max_members` as it is set fit, however big each is; of more the gone are left off first.
    """
    roster = view.roster
    ordered = [roster.me, *sorted((one for one in roster if one is not roster.me), key=lambda one: one.state)]
    members: list[KnownMember] = []
    room = MAX_STATE_BYTES - HEADER_BYTES
    for member in ordered[:MAX_STATE_MEMBERS]:
        size = update_size(MemberUpdate(member=member, by=member.node_id)) + 16
        if size > room:
            break
        room -= size
        members.append(KnownMember(member=member, gone_seconds=roster.gone_seconds(member.node_id, now)))
    newest = []
    for row in list(rows.values())[:MAX_STATE_MEMBERS]:
        room -= row_size(row.payload)
        if room < 0:
            break
        newest.append(row.as_update(now))
    me = roster.me
    return FullState(
        sender=me.node_id, run_id=me.run_id, beat=beat, members=tuple(members), rows=tuple(newest)
    )


def learn_full_state(state: FullState, view: View, *, settings: GossipSettings, now: float) -> None:
    """Take in what the other side knows. A newcomer keeps it to itself, for it is news to nobody else."""
    is_newcomer = len(view.roster.ring) == 1
    for known in state.members:
        if known.gone_seconds >= settings.tombstone_seconds and not known.member.state.is_live:
            continue
        hearsay = Hearsay(is_full=True, is_quiet=is_newcomer, gone_seconds=known.gone_seconds)
        view.learn(MemberUpdate(member=known.member, by=state.sender), now=now, hearsay=hearsay)
