"""The numbers of the protocol, with their units."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GossipSettings:
    """Defaults: with 3 to 16 members a kill is known everywhere in 5 s; one silent for 2 s is never dead."""

    probe_interval_seconds: float = 1.0  # one probe each; larger: cheaper and slower to notice
    probe_timeout_seconds: float = 0.4  # for the direct answer, the ping being repeated once at half of it
    indirect_seconds: float = 0.35  # for the answer through helpers, after the direct one stayed out
    helpers: int = 3  # members asked to probe for us
    suspicion_multiplier: float = 2.2  # shortest suspicion, in probe intervals (times log10 of the members)
    suspicion_max_factor: float = 6.0  # longest suspicion, in shortest ones, while nobody confirms
    confirmations: int = 2  # independent accusers after the first that make a suspicion shortest
    reminder_seconds: float = 0.25  # how often an accuser tells the accused, so that it can refute
    gossip_interval_seconds: float = 0.2  # between rounds of news; nothing is sent when there is none
    gossip_fanout: int = 3  # members told in each round
    retransmit_multiplier: int = (
        4  # times ceil(log10(members + 1)): how often one news is told by each member
    )
    stat_transmits: int = 3  # how often one statistics row is passed on by each member
    datagram_bytes: int = (
        1200  # sealed payload of one datagram: fits an Ethernet frame, also through a tunnel
    )
    seal_bytes: int = 64  # of those, kept free for what sealing adds
    exchange_interval_seconds: float = (
        30.0  # full exchange with one member; grows with log2 beyond 32 members
    )
    exchange_timeout_seconds: float = 5.0
    announce_interval_seconds: float = 5.0  # a word to one of the dead, in case it is not
    seed_retry_seconds: float = 1.0  # first pause after a seed did not answer; doubles
    seed_retry_max_seconds: float = 15.0  # seeds are retried for ever
    tombstone_seconds: float = (
        24 * 3600.0
    )  # how long the dead are remembered, so that old news cannot revive them
    gap_seconds: float = (
        0.25  # woken later than this, we were paused: judge nobody by what happened meanwhile
    )
    max_health_score: int = 8  # how far bad local health may stretch intervals and timeouts (score + 1 times)
    max_members: int = 1024  # dead ones included; more are refused and counted
