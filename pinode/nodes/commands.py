"""Everything that can be asked about nodes."""

from dataclasses import dataclass, field
from typing import Literal

from pinode.apps.observed import Availability


@dataclass(frozen=True, slots=True, kw_only=True)
class AddNode:
    """Registers a node, or what changed of one that is registered: so it may be asked again.

    With `token_hash` only while that token is good; without it the node has proved that it holds the cluster
    key. With `replaces` the node of that id is removed in the same step, and its name is free.
    Refused: `JoinTokenRefused`, `NodeWasRemoved`, `NodeTooOld`, `NodeNameTaken`, `TooManyNodes`,
    `InvalidNode`.
    """

    node_id: str
    name: str
    host: str
    peer_port: int
    token_hash: bytes | None = field(default=None, repr=False)
    replaces: str | None = None
    feature_level: int = 1  # what its program supports


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveNode:
    """Removes a node for ever. Refused: `NodeUnknown`, `LastNode`."""

    node_id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAvailability:
    """What a node is to do from now on. Refused: `NodeUnknown`; `LastNode` when all would be leaving."""

    node_id: str
    availability: Availability
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateJoinToken:
    """Lets nodes join until cluster time reaches now + lifetime. Refused: `TooManyJoinTokens`."""

    token_hash: bytes = field(repr=False)
    lifetime_ms: int
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeJoinTokens:
    """Makes all tokens worthless that were given out so far; returns how many were good until now."""

    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateKey:
    """Begins to replace the cluster key, and makes all join tokens worthless; returns the generation.

    Until it is over no new node is let in. Refused: `KeyRotationUnderWay`.
    """

    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferKey:
    """A node has drawn the new key, and gives it to whoever is registered."""

    generation: int
    mark: str
    previous: str  # mark of the key that is in use until then
    node_id: str
    instead_of: str = ""  # mark of an offer that nobody in reach can give any more


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmKey:
    """A node has done what the stage asks for, durably."""

    generation: int
    mark: str
    stage: Literal["install", "use"]
    node_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvanceKeyRotation:
    """Every node in reach has confirmed the stage before this one."""

    generation: int
    mark: str
    stage: Literal["use", "done"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptKey:
    """After a recovery the node that is left goes on with the key it holds, whatever was agreed on before.

    Where others are registered it changes nothing.
    """

    generation: int  # how many rotations led to the key, as that node knows
    mark: str
    by: str


NodeCommand = (
    AddNode
    | RemoveNode
    | SetAvailability
    | CreateJoinToken
    | RevokeJoinTokens
    | RotateKey
    | OfferKey
    | ConfirmKey
    | AdvanceKeyRotation
    | AdoptKey
)
