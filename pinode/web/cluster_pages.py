"""The cluster's page: how the nodes are, and for administrators who is in it."""

import secrets
from typing import Any

from aiohttp import web

from pinode.apps.observed import Availability
from pinode.errors import InvalidInput
from pinode.operations.join_tokens import make_join_token
from pinode.operations.key_rotation import rotate_cluster_key, rotation_document
from pinode.operations.membership import remove_node, set_availability
from pinode.operations.status import SICK_FIRST, status
from pinode.peers.join_token import SECRET_BYTES
from pinode.web.charts import lines
from pinode.web.forms import form_of
from pinode.web.messages import node_in_path, shown
from pinode.web.pages import show
from pinode.web.problems import REFUSALS, Problem, problem_of
from pinode.web.site import Site, caller, site_of

TOKEN_SECONDS = 3600
VERBS: dict[str, Availability] = {"cordon": "cordoned", "drain": "drained", "uncordon": "active"}


async def show_cluster(request: web.Request) -> web.StreamResponse:
    """GET /cluster: the nodes and how they are, the sick ones first."""
    return _page(request)


async def make_token(request: web.Request) -> web.StreamResponse:
    """POST /cluster/join-token: a token, on the page that answers and nowhere else."""
    await form_of(request)
    try:
        made = await make_join_token(
            site_of(request).cluster,
            expires_seconds=TOKEN_SECONDS,
            secret=secrets.token_bytes(SECRET_BYTES),
            by=caller(request).name,
        )
    except REFUSALS as error:
        return _page(request, problem_of(error))
    return _page(request, join_token=made.text)


async def rotate_key(request: web.Request) -> web.StreamResponse:
    """POST /cluster/key-rotation: old copies of the cluster key are to open nothing any more."""
    await form_of(request)
    try:
        await rotate_cluster_key(site_of(request).cluster, by=caller(request).name)
    except REFUSALS as error:
        return _page(request, problem_of(error))
    raise web.HTTPSeeOther("/cluster?note=rotate#manage")


async def change_node(request: web.Request) -> web.StreamResponse:
    """POST /cluster/nodes/{node} {do: cordon, drain, uncordon or remove, confirm?}"""
    form = await form_of(request)
    try:
        node, cluster, by = node_in_path(request), site_of(request).cluster, caller(request).name
        verb = form.get("do", "")
        if verb == "remove":
            if form.get("confirm") != node.name:
                raise InvalidInput(f"{node.name} is not removed.", hint=f"Type {node.name} to remove it.")
            await remove_node(cluster, node, by=by)
        elif verb in VERBS:
            await set_availability(cluster, node, VERBS[verb], by=by)
        else:
            raise InvalidInput(f"{shown(verb)} is none of {', '.join(VERBS)} and remove.")
    except REFUSALS as error:
        return _page(request, problem_of(error))
    raise web.HTTPSeeOther(f"/cluster?note={verb}#manage")


def _page(request: web.Request, error: Problem | None = None, **values: Any) -> web.Response:
    site = site_of(request)
    document = status(site.cluster, wall_clock=site.wall_clock(), platform=caller(request).is_admin)
    nodes = sorted(document["nodes"], key=lambda node: (SICK_FIRST[node["state"]], node["name"]))
    # That there is no quorum stands at the top of every page already.
    warnings = [text for text in document["warnings"] if not text.startswith("no quorum")]
    return show(
        request,
        "cluster",
        code=error.status if error else 200,
        section="Cluster",
        error=error,
        status=document,
        nodes=nodes,
        alive=sum(node["state"] == "alive" for node in nodes),
        warnings=warnings,
        charts=_charts(site),
        key_rotation=rotation_document(site.cluster),
        **{"join_token": None, **values},
    )


def _charts(site: Site) -> dict[str, list[str]]:
    """By node id, the processor's last hour."""
    if site.past is None:
        return {}
    return {
        node.node_id: lines(site.past.fine(node.node_id), "cpu_percent", top=100.0)
        for node in site.cluster.nodes()
    }
