"""Lifeguard: how long a suspicion lasts, and how much we trust our own judgement."""

import math
from dataclasses import dataclass, field

from gossip.member import NodeId
from gossip.settings import GossipSettings


@dataclass(slots=True)
class LocalHealth:
    """Our own slowness, 0 (well) to `max_score`: it stretches our intervals and timeouts (Lifeguard §3.1)."""

    max_score: int
    score: int = 0

    def worsen(self, by: int = 1) -> None:
        self.score = min(self.max_score, self.score + by)

    def improve(self) -> None:
        self.score = max(0, self.score - 1)

    @property
    def stretch(self) -> int:
        return self.score + 1


def shortest_suspicion_seconds(members: int, settings: GossipSettings) -> float:
    scale = max(1.0, math.log10(max(1, members)))
    return settings.suspicion_multiplier * scale * settings.probe_interval_seconds


def suspicion_seconds(*, confirmed: int, wanted: int, shortest: float, longest: float) -> float:
    """How long a suspicion lasts once `confirmed` further accusers agreed (Lifeguard §3.2)."""
    if wanted == 0:
        return shortest
    share = math.log(confirmed + 1) / math.log(wanted + 1)
    return max(shortest, longest - (longest - shortest) * share)


@dataclass(slots=True, kw_only=True)
class Suspicion:
    """One member under suspicion, at one incarnation."""

    started_at: float
    shortest: float
    longest: float
    wanted: int  # confirmations that make it shortest
    accusers: set[NodeId] = field(default_factory=set)
    is_ours: bool = False  # we accuse too, and so tell the accused again and again
    remind_at: float = math.inf

    @property
    def ends_at(self) -> float:
        confirmed = min(self.wanted, len(self.accusers) - 1)
        return self.started_at + suspicion_seconds(
            confirmed=confirmed, wanted=self.wanted, shortest=self.shortest, longest=self.longest
        )

    def confirm(self, accuser: NodeId) -> bool:
        """Whether this accuser is a new one whose word still shortens the suspicion."""
        if accuser in self.accusers or len(self.accusers) > self.wanted:
            return False
        self.accusers.add(accuser)
        return True

    def restart(self, now: float) -> None:
        """Give the accused its full time again: we were not there to hear it."""
        self.started_at = now


def suspect(*, accuser: NodeId, members: int, now: float, settings: GossipSettings) -> Suspicion:
    """A new suspicion in a cluster of `members` live ones, ourselves and the accused included."""
    shortest = shortest_suspicion_seconds(members, settings)
    # The accused and the first accuser cannot confirm: with too few others nobody is waited for.
    wanted = settings.confirmations if members - 2 >= settings.confirmations else 0
    return Suspicion(
        started_at=now,
        shortest=shortest,
        longest=shortest * settings.suspicion_max_factor,
        wanted=wanted,
        accusers={accuser},
    )
