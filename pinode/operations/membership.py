"""Cordon, drain and remove nodes: what is refused because of what is observed, and has to be said before."""

from collections.abc import Sequence

from pinode.apps.observed import Availability, NodeView
from pinode.cluster import Cluster
from pinode.errors import Conflict
from pinode.nodes.commands import RemoveNode, SetAvailability


async def set_availability(cluster: Cluster, node: NodeView, availability: Availability, *, by: str) -> None:
    """Have it agreed on. Raises `Conflict` while the node leaves for good."""
    if node.availability == "leaving":
        raise Conflict(
            f"{node.name} is leaving the cluster.",
            hint="`pinode leave` on it shows how far it is; it comes back by itself when it cannot leave.",
        )
    await cluster.execute(SetAvailability(node_id=node.node_id, availability=availability, by=by))


async def remove_node(cluster: Cluster, node: NodeView, *, by: str, force: bool = False) -> None:
    """Remove a node for good. Raises `Conflict` for one that lives, unless by `force`, and for the last."""
    refusal = why_not_removable(cluster.nodes(), node, force=force)
    if refusal is not None:
        raise refusal
    await cluster.execute(RemoveNode(node_id=node.node_id, by=by))


def why_not_removable(nodes: Sequence[NodeView], node: NodeView, *, force: bool) -> Conflict | None:
    """What stands against it, if anything: a node that lives, and a majority that would be lost."""
    if node.is_in_reach and not force:
        return Conflict(
            f"{node.name} is alive.",
            hint=f"`pinode leave` on {node.name} moves its dynos first. If nobody can get at it any more, "
            f"`pinode node:remove {node.name} --confirm {node.name} --force` removes it all the same.",
            code="node_is_alive",
        )
    return why_not_without(nodes, node)


def why_not_without(nodes: Sequence[NodeView], node: NodeView) -> Conflict | None:
    """Whether the others could go on deciding without it: a majority of those who vote then is in reach."""
    others = [one for one in nodes if one.node_id != node.node_id and one.availability != "leaving"]
    voters = [one for one in others if one.counts_as == "voter"]
    in_reach = [one for one in voters if one.is_in_reach]
    if not others:
        return Conflict(
            f"{node.name} is the only node of this cluster.",
            hint="To give the cluster up, stop the node and delete its data directory.",
            code="last_node",
        )
    if not voters and any(one.is_in_reach for one in others):
        return None  # one of them is given the vote first
    if 2 * len(in_reach) > len(voters):
        return None
    away = ", ".join(one.name for one in others if not one.is_in_reach)
    return Conflict(
        f"without {node.name} only {len(in_reach)} of {len(voters)} voters would be in reach, "
        "and nothing could be changed any more.",
        hint=f"Bring back {away}, or remove what is gone for good first.",
        code="would_lose_quorum",
    )
