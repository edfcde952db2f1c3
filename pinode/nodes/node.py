"""What is remembered of a node, of one that was removed, and of a token that lets one join."""

from dataclasses import dataclass, field

from pinode.apps.observed import Availability


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredNode:
    """A member of the cluster, by the address it was founded or joined with; gossip knows where it is now."""

    node_id: str  # the hash of its public key: whoever proves it is that node
    name: str
    host: str
    peer_port: int
    joined_at_ms: int = 0  # cluster time; 0: it founded the cluster
    availability: Availability = "active"
    feature_level: int = 1  # of its program (`pinode.feature_level`)

    @property
    def where(self) -> str:
        """As people are told."""
        return f"{self.name} ({self.host}:{self.peer_port})"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedNode:
    """A node that was a member; its id never becomes one again."""

    node_id: str
    name: str
    by: str
    removed_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """The right to join, until cluster time reaches `expires_at_ms`; the token itself is nowhere kept."""

    token_hash: bytes = field(repr=False)
    by: str
    expires_at_ms: int
