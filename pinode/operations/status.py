"""The document of `pinode status --json` and `GET /api/v1/status`: what this node knows, asking nobody."""

from dataclasses import asdict
from typing import Any

from pinode.apps.observed import NodeView
from pinode.cluster import Cluster
from pinode.operations.warnings import warnings_of
from replicated_queue.queue.views import all_stats

SICK_FIRST = {"dead": 0, "suspect": 1, "alive": 2, "left": 3}


def status(cluster: Cluster, *, wall_clock: float, platform: bool = True) -> dict[str, Any]:
    """Return the status document; reads local memory alone, so it never waits.

    `wall_clock` is Unix time, for uptimes. Without `platform` only topics that members may see are there.
    """
    nodes = sorted(cluster.nodes(), key=lambda node: (SICK_FIRST[node.state], node.name))
    leader = cluster.node(cluster.leader_id) if cluster.leader_id else None
    return {
        "cluster": {
            "name": cluster.cluster_name,
            "id": cluster.cluster_id,
            "leader": leader.name if leader else None,
            "term": cluster.term,
            "commit_index": cluster.commit_index,
            "has_quorum": cluster.has_quorum,
            "view_age_seconds": round(cluster.view_age_seconds, 3),
        },
        "nodes": [node_document(cluster, node, wall_clock=wall_clock) for node in nodes],
        "queue": topics(cluster, platform=platform),
        "warnings": warnings_of(
            nodes, has_quorum=cluster.has_quorum, key_rotation=cluster.state.nodes.key_rotation
        ),
    }


def node_document(cluster: Cluster, node: NodeView, *, wall_clock: float) -> dict[str, Any]:
    """Return one node as `status` shows it."""
    role = (
        "leader" if node.node_id == cluster.leader_id else "none" if node.state == "left" else node.counts_as
    )
    uptime = wall_clock - node.started_at_unix if node.started_at_unix else None
    return {
        "name": node.name,
        "id": node.node_id,
        "address": f"{_bracketed(node.host)}:{node.peer_port}",
        "web": f"https://{_bracketed(node.host)}:{node.web_port}",
        "state": node.state,
        "role": role,
        "incarnation": node.incarnation,
        "version": node.version,
        "arch": node.arch,
        "interpreters": list(node.interpreters),
        "python": node.python,
        "uptime_seconds": None if uptime is None else round(max(uptime, 0.0), 1),
        "roles": list(node.roles),
        "cordoned": node.availability != "active",
        "availability": node.availability,
        "dynos": node.dynos,
        "builds": node.builds,
        "stats": {
            **asdict(node.stats),
            "age_seconds": None if node.stats_age_seconds is None else round(node.stats_age_seconds, 1),
        },
    }


def topics(cluster: Cluster, *, platform: bool) -> dict[str, dict[str, int]]:
    """Return how many jobs of each topic are in which state; topics of the platform only when asked for."""
    found = all_stats(cluster.state.queue, now=cluster.now_ms, platform=platform)
    return {
        name: {"ready": topic.ready, "delayed": topic.delayed, "leased": topic.leased, "buried": topic.buried}
        for name, topic in found.items()
    }


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
