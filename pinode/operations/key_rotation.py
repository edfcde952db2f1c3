"""Rotating the cluster key, as administrators ask for it and see it; the nodes do it (`pinode.key_care`)."""

from collections.abc import Sequence
from typing import Any

from pinode.apps.observed import NodeView
from pinode.cluster import Cluster
from pinode.nodes.commands import RotateKey
from pinode.nodes.key_rotation import KeyRotation, waits_for


async def rotate_cluster_key(cluster: Cluster, *, by: str) -> None:
    """Have it begin. Raises `KeyRotationUnderWay`."""
    await cluster.execute(RotateKey(by=by))


def rotation_document(cluster: Cluster) -> dict[str, Any]:
    """How far the newest rotation is; generation 0: there was none."""
    rotation = cluster.state.nodes.key_rotation
    if rotation is None:
        return {"generation": 0, "stage": "done", "by": None, "waiting_for": [], "away": []}
    nodes = cluster.nodes()
    away = [] if rotation.is_over else [node.name for node in nodes if not node.is_in_reach]
    return {
        "generation": rotation.generation,
        "stage": rotation.stage,
        "by": rotation.by,
        "waiting_for": [node.name for node in waits_for(rotation, nodes)],
        "away": away,
    }


def rotation_warning(rotation: KeyRotation | None, nodes: Sequence[NodeView], *, has_quorum: bool) -> str:
    """What `status` says of a rotation that is not over; else nothing."""
    if rotation is None or rotation.is_over:
        return ""
    waited = ", ".join(node.name for node in waits_for(rotation, nodes))
    if not has_quorum:
        cause = "it goes on when a majority is in reach"
    elif waited:
        cause = f"it waits for {waited} to take the new key"
    else:
        cause = "it goes on by itself"
    return f"the cluster key is being rotated: {cause}. Until then nobody can join, and the old one opens."
