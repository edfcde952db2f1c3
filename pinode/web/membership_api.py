"""The API about who is in the cluster; for administrators."""

import secrets
from typing import get_args

from aiohttp import web

from pinode.apps.observed import Availability
from pinode.errors import InvalidInput, NotFound
from pinode.nodes.key_rotation import KeyStage
from pinode.operations.join_tokens import make_join_token, revoke_join_tokens
from pinode.operations.key_rotation import rotate_cluster_key, rotation_document
from pinode.operations.membership import remove_node, set_availability
from pinode.operations.status import node_document
from pinode.operations.step_down import step_down
from pinode.peers.join_token import SECRET_BYTES
from pinode.web.answer_shapes import NODE
from pinode.web.idempotency import begin_once
from pinode.web.messages import answer, json_body, node_in_path, nothing, number_of
from pinode.web.node_side import NodeControl
from pinode.web.operation import Repeated, operation
from pinode.web.shapes import COUNT, FLAG, SECONDS, TEXT, Record, list_of, maybe, one_of, whole
from pinode.web.site import caller, site_of

HOUR_SECONDS = 3600
LONGEST_SECONDS = 30 * 24 * HOUR_SECONDS
NOTHING = Record({})
KEY_ROTATION = Record(
    {
        "generation": COUNT,
        "stage": one_of(*get_args(KeyStage)),
        "by": maybe(TEXT),
        "waiting_for": list_of(TEXT),
        "away": list_of(TEXT),
    },
    name="KeyRotation",
)
LEAVING = Record(
    {
        "pid": COUNT,
        "waiting_for": TEXT,
        "failure": maybe(Record({"message": TEXT, "hint": TEXT})),
        "starts_at_boot": FLAG,
    },
    name="Leaving",
)


@operation(
    "Make a token with which a machine joins; shown this once",
    body=Record({}, {"expires_seconds": maybe(whole(1, LONGEST_SECONDS))}),
    needs_body=False,
    repeated=Repeated.SECRET,
    answers={201: Record({"token": TEXT, "expires_in_seconds": SECONDS})},
)
async def create_join_token(request: web.Request) -> web.StreamResponse:
    """POST /join-tokens {expires_seconds?} → 201 {token, expires_in_seconds}; it is shown this once."""
    body = await json_body(request)
    seconds = number_of(body, "expires_seconds", default=HOUR_SECONDS)
    if not 1 <= seconds <= LONGEST_SECONDS:
        raise InvalidInput(f"expires_seconds is {seconds}, not from 1 to {LONGEST_SECONDS} (30 days).")
    made = await make_join_token(
        site_of(request).cluster,
        expires_seconds=seconds,
        secret=secrets.token_bytes(SECRET_BYTES),
        by=caller(request).name,
    )
    return answer({"token": made.text, "expires_in_seconds": made.expires_in_seconds}, status=201)


@operation("Revoke all join tokens", answers={200: Record({"revoked": COUNT})})
async def revoke_tokens(request: web.Request) -> web.StreamResponse:
    """DELETE /join-tokens → {revoked}"""
    return answer({"revoked": await revoke_join_tokens(site_of(request).cluster, by=caller(request).name)})


@operation(
    "Rotate the cluster key: old copies of it open nothing any more",
    body=NOTHING,
    needs_body=False,
    answers={202: KEY_ROTATION},
)
async def rotate_key(request: web.Request) -> web.StreamResponse:
    """POST /key-rotation: it begins; how far it is."""
    await json_body(request)
    cluster = site_of(request).cluster
    await rotate_cluster_key(cluster, by=caller(request).name)
    return answer(rotation_document(cluster), status=202)


@operation("How far the newest rotation of the cluster key is", answers={200: KEY_ROTATION})
async def show_key_rotation(request: web.Request) -> web.StreamResponse:
    """GET /key-rotation → {generation, stage, by, waiting_for, away}"""
    return answer(rotation_document(site_of(request).cluster))


@operation("Remove a node for good", query={"force": one_of("0", "1")}, answers={204: None})
async def remove(request: web.Request) -> web.StreamResponse:
    """DELETE /nodes/{n}?force=1: a node that is gone for good; with force also one that lives."""
    force = request.query.get("force") == "1"
    await remove_node(site_of(request).cluster, node_in_path(request), by=caller(request).name, force=force)
    return nothing()


@operation("Give a node no new dynos and builds", body=NOTHING, needs_body=False, answers={200: NODE})
async def cordon(request: web.Request) -> web.StreamResponse:
    """POST /nodes/{n}/cordon: no new dynos and builds"""
    return await _set(request, "cordoned")


@operation("Move a node's dynos elsewhere", body=NOTHING, needs_body=False, answers={200: NODE})
async def drain(request: web.Request) -> web.StreamResponse:
    """POST /nodes/{n}/drain: its dynos move elsewhere"""
    return await _set(request, "drained")


@operation("Let a node take dynos and builds again", body=NOTHING, needs_body=False, answers={200: NODE})
async def uncordon(request: web.Request) -> web.StreamResponse:
    """POST /nodes/{n}/uncordon: it takes dynos and builds again"""
    return await _set(request, "active")


async def _set(request: web.Request, availability: Availability) -> web.StreamResponse:
    await json_body(request)
    site, node = site_of(request), node_in_path(request)
    await set_availability(site.cluster, node, availability, by=caller(request).name)
    return answer(node_document(site.cluster, node_in_path(request), wall_clock=site.wall_clock()))


@operation(
    "Have the leader hand over to another voter",
    body=NOTHING,
    needs_body=False,
    repeated=Repeated.BEGUN,
    answers={200: Record({"was": TEXT, "leader": maybe(TEXT)})},
)
async def let_leader_step_down(request: web.Request) -> web.StreamResponse:
    """POST /leader/step-down → {was, leader}: names of nodes; `leader` is null while unknown."""
    await json_body(request)
    await begin_once(request)
    handed_over = await step_down(site_of(request).cluster)
    return answer({"was": handed_over.was, "leader": handed_over.leader})


@operation(
    "On the node's own socket: leave the cluster for good",
    body=NOTHING,
    needs_body=False,
    repeated=Repeated.AGAIN,
    answers={202: LEAVING},
)
async def leave(request: web.Request) -> web.StreamResponse:
    """POST /local/leave: this node begins to leave the cluster for good, its dynos first; how far it is."""
    await json_body(request)
    control = _control(request)
    control.leave(by=caller(request).name)
    return answer(control.leaving(), status=202)


@operation("On the node's own socket: how far its leaving is", answers={200: LEAVING})
async def show_leaving(request: web.Request) -> web.StreamResponse:
    """GET /local/leave: how far it is: {pid, waiting_for, failure, starts_at_boot}"""
    return answer(_control(request).leaving())


def _control(request: web.Request) -> NodeControl:
    control = site_of(request).control
    if control is None:
        raise NotFound("this node cannot leave from here.")
    return control
