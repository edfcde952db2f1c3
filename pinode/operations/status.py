"""The document of `pinode status --json` and `GET /api/v1/status`: what this node knows, nothing asked of others."""

from typing import Any

from pinode.cluster import Cluster


def status(cluster: Cluster, *, wall_clock: float) -> dict[str, Any]:
    """Return the status document; reads local memory alone, so it never waits. `wall_clock` is Unix time."""
    return {"cluster": {"name": cluster.cluster_name}, "nodes": [], "queue": {}, "warnings": []}
