"""A rotation of the cluster key as all nodes agree on it, and what the leader does next. Pure.

    wanted ──▶ install ──▶ use ──▶ done        the key itself is never here, only its mark
       ▲          │
       └──────────┘  a node was removed that may have fetched the new key, or nobody in reach holds it

*Wanted*: the leader is to draw a key. *Install*: every node fetches it, and lets it open. *Use*: every node
seals by it. *Done*: the old key opens nothing. A step is over when every node in reach has confirmed it; who
is not in reach asks for the keys when it is back (`pinode.peers.key_door`).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pinode.apps.observed import NodeView
from pinode.nodes.commands import AdoptKey, AdvanceKeyRotation, ConfirmKey, OfferKey

KeyStage = Literal["wanted", "install", "use", "done"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRotation:
    """One rotation; the newest is the one that counts."""

    generation: int  # how many rotations there were with this one
    by: str
    began_at_ms: int
    stage: KeyStage = "wanted"
    mark: str = ""  # of the new key; "" until it is drawn
    previous: str = ""  # mark of the key that it replaces
    ready: tuple[str, ...] = ()  # ids of nodes that have done what the stage asks for
    entitled: tuple[str, ...] = ()  # ids of the nodes registered when the key was offered: they are given it

    @property
    def is_over(self) -> bool:
        """Whether the old key opens nothing any more."""
        return self.stage == "done"


def offered(rotation: KeyRotation, command: OfferKey, *, registered: tuple[str, ...]) -> KeyRotation:
    """A node has drawn a key. Who was overtaken by another offer, or was removed, changes nothing."""
    is_open = rotation.stage in ("wanted", "install") and rotation.mark == command.instead_of
    if not is_open or not command.mark or command.generation != rotation.generation:
        return rotation
    if command.node_id not in registered:
        return rotation
    return replace(
        rotation,
        stage="install",
        mark=command.mark,
        previous=command.previous,
        ready=(command.node_id,),
        entitled=registered,
    )


def confirmed(rotation: KeyRotation, command: ConfirmKey) -> KeyRotation:
    """A node has done what the stage asks for; too late or twice it changes nothing."""
    meant = (rotation.generation, rotation.mark, rotation.stage)
    if meant != (command.generation, command.mark, command.stage) or command.node_id in rotation.ready:
        return rotation
    return replace(rotation, ready=(*rotation.ready, command.node_id))


def advanced(rotation: KeyRotation, command: AdvanceKeyRotation) -> KeyRotation:
    """The next stage, if it is the one that is meant."""
    if (rotation.generation, rotation.mark) != (command.generation, command.mark):
        return rotation
    if (rotation.stage, command.stage) not in (("install", "use"), ("use", "done")):
        return rotation
    return replace(rotation, stage=command.stage, ready=())


def adopted(rotation: KeyRotation | None, command: AdoptKey, *, now: int) -> KeyRotation | None:
    """A rotation that is over, with the key of the node that is left; None where that was agreed on already.

    The node may lack what was agreed on last, and may have fetched what its log does not know of.
    """
    if rotation is None:
        if command.generation == 0:
            return None
        generation, previous = command.generation, ""
    elif rotation.is_over and rotation.mark == command.mark:
        return None
    else:
        generation = max(rotation.generation + 1, command.generation)
        previous = rotation.previous if rotation.mark == command.mark else rotation.mark
    return KeyRotation(
        generation=generation,
        by=command.by,
        began_at_ms=now,
        stage="done",
        mark=command.mark,
        previous=previous,
    )


def without_node(rotation: KeyRotation, node_id: str) -> KeyRotation:
    """A node was removed. While the new key is given out it may have it already: another one is drawn."""
    if rotation.stage == "install":
        return replace(rotation, stage="wanted", mark="", ready=(), entitled=())
    return replace(rotation, ready=tuple(one for one in rotation.ready if one != node_id))


def waits_for(rotation: KeyRotation, nodes: Sequence[NodeView]) -> list[NodeView]:
    """Nodes in reach that have not done yet what the stage asks for."""
    if rotation.stage not in ("install", "use"):
        return []
    return [node for node in nodes if node.is_in_reach and node.node_id not in rotation.ready]


def next_step(
    rotation: KeyRotation | None, nodes: Sequence[NodeView], *, own_id: str, own_marks: Collection[str]
) -> AdvanceKeyRotation | Literal["draw"] | None:
    """What the leader does now: have a stage agreed on, draw a key and offer it, or wait."""
    if rotation is None or rotation.is_over:
        return None
    if rotation.stage == "wanted":
        return "draw"
    if rotation.stage == "install" and not _is_held(rotation, nodes, own_id, own_marks):
        return "draw"
    if waits_for(rotation, nodes):
        return None
    return AdvanceKeyRotation(
        generation=rotation.generation,
        mark=rotation.mark,
        stage="use" if rotation.stage == "install" else "done",
    )


def _is_held(
    rotation: KeyRotation, nodes: Sequence[NodeView], own_id: str, own_marks: Collection[str]
) -> bool:
    """Whether anybody in reach has the key to give; of itself a node knows it."""
    if rotation.mark in own_marks:
        return True
    others = {node.node_id for node in nodes if node.is_in_reach and node.node_id != own_id}
    return not others.isdisjoint(rotation.ready)
