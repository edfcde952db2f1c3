"""What members say to each other."""

from dataclasses import dataclass

from gossip.member import Address, Member, NodeId


class GossipError(Exception):
    """Root of what this package raises."""


class MalformedMessage(GossipError):
    """Bytes that are no message of ours (truncated, over-long, of a newer format)."""


class WrongCluster(GossipError):
    """A well-formed message of another cluster."""

    def __init__(self) -> None:
        super().__init__(
            "this message belongs to another cluster; both sides must have been founded or joined together"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """Are you alive? Answered by an `Ack` with the same sequence (SWIM §3.1)."""

    sequence: int  # unique among the sender's open probes; 0 when no answer is waited for
    target: NodeId
    target_run_id: int  # an address may belong to another node, or another run, by now


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """I am, or, from a helper: it is."""

    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NotMe:
    """The target of your ping is not (or no longer) here; counts as no answer."""

    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PingRequest:
    """Probe the target for me (SWIM §3.1), and tell me an `Ack` or, in time, a `Nack`."""

    sequence: int
    target: NodeId
    target_run_id: int
    address: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Nack:
    """I am alive, your target is silent to me too (Lifeguard §3.1)."""

    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """Nothing but what rides along."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduce:
    """I do not know you (any more), or you have changed: send me your claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NameTaken:
    """You go by my name. The one that has been up for longer keeps it."""

    uptime_seconds: float


Message = Ping | Ack | NotMe | PingRequest | Nack | News | Introduce | NameTaken


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberUpdate:
    """A claim about a member, and who makes it: itself, or its accuser."""

    member: Member
    by: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class RowUpdate:
    """A statistics row on its way, with its age when it was sent."""

    node_id: NodeId
    run_id: int
    version: int
    age_seconds: float
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Datagram:
    """One message with what rides along; at most `datagram_bytes` when sealed."""

    sender: NodeId
    run_id: int
    incarnation: int
    beat: float  # the sender's beat clock, see `gossip.turns`
    message: Message
    updates: tuple[MemberUpdate, ...] = ()
    rows: tuple[RowUpdate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownMember:
    """A member in a full exchange; `gone_seconds` since its end, so that tombstones age everywhere."""

    member: Member
    gone_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FullState:
    """All that a member knows: what the two sides of an exchange give each other."""

    sender: NodeId
    run_id: int
    beat: float
    members: tuple[KnownMember, ...]
    rows: tuple[RowUpdate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Effect: send this datagram."""

    to: Address
    datagram: Datagram


@dataclass(frozen=True, slots=True, kw_only=True)
class StartExchange:
    """Effect: exchange full states with whoever is at this address (a seed's host may be a name)."""

    to: Address
