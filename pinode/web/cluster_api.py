"""The API about the cluster: is it well, who is in it, and when does something change."""

import asyncio
from contextlib import suppress

from aiohttp import web

from pinode.errors import InvalidInput, NotFound
from pinode.metrics.rings import series
from pinode.operations.status import node_document, status
from pinode.web.answer_shapes import HISTORY, NODE, STATUS
from pinode.web.caller import caller_of
from pinode.web.messages import answer, is_gone, json_body, list_answer, node_in_path, query_number, shown
from pinode.web.operation import OPENAPI, Content, Repeated, operation
from pinode.web.shapes import ANYTHING, COUNT, FLAG, TEXT, Record, by_name, maybe, one_of, page_of, whole
from pinode.web.site import caller, site_of

EVENT_PAUSE_SECONDS = 0.5  # so that a busy cluster does not flood a page
STILL_HERE_SECONDS = 20.0


@operation("Does the process answer?", answers={200: Record({"status": TEXT})})
async def healthz(request: web.Request) -> web.StreamResponse:
    """GET /healthz: the process answers."""
    return answer({"status": "ok"})


@operation(
    "Can this node change things?", answers={200: Record({"status": TEXT}), 503: Record({"status": TEXT})}
)
async def readyz(request: web.Request) -> web.StreamResponse:
    """GET /readyz: this node can also change things."""
    is_ready = site_of(request).cluster.has_quorum
    return answer({"status": "ready" if is_ready else "no quorum"}, status=200 if is_ready else 503)


@operation("The certificate authority to trust", answers={200: Content("application/x-pem-file")})
async def ca_pem(request: web.Request) -> web.StreamResponse:
    """GET /ca.pem: the certificate authority to trust."""
    headers = {"Content-Disposition": 'attachment; filename="pinode-ca.pem"'}
    return web.Response(body=site_of(request).ca_pem, content_type="application/x-pem-file", headers=headers)


@operation(
    "This description",
    answers={
        200: Record(
            {
                "openapi": TEXT,
                "info": by_name(TEXT),
                "servers": ANYTHING,
                "paths": ANYTHING,
                "components": ANYTHING,
            }
        )
    },
)
async def show_openapi(request: web.Request) -> web.StreamResponse:
    """GET /openapi.json"""
    return answer(request.app[OPENAPI])


@operation("Is the cluster well?", answers={200: STATUS})
async def show_status(request: web.Request) -> web.StreamResponse:
    """GET /status"""
    site = site_of(request)
    return answer(status(site.cluster, wall_clock=site.wall_clock(), platform=caller(request).is_admin))


@operation("Its nodes", is_paged=True, answers={200: page_of(NODE)})
async def list_nodes(request: web.Request) -> web.StreamResponse:
    """GET /nodes"""
    site = site_of(request)
    now = site.wall_clock()
    return list_answer(
        request, [node_document(site.cluster, node, wall_clock=now) for node in site.cluster.nodes()]
    )


@operation("A node, by name or id", answers={200: NODE})
async def show_node(request: web.Request) -> web.StreamResponse:
    """GET /nodes/{n}, by name or id"""
    site = site_of(request)
    return answer(node_document(site.cluster, node_in_path(request), wall_clock=site.wall_clock()))


@operation(
    "A node's statistics in even steps, the oldest first",
    query={"span": one_of("hour", "day")},
    answers={200: HISTORY},
)
async def show_history(request: web.Request) -> web.StreamResponse:
    """GET /nodes/{n}/history?span=hour|day: its statistics in even steps, the oldest first."""
    site, node = site_of(request), node_in_path(request)
    span = request.query.get("span", "hour")
    if span not in ("hour", "day"):
        raise InvalidInput(f"span is {shown(span)}.", hint="It may be hour or day.")
    if site.past is None:
        raise NotFound("this node keeps no history.")
    stretch = site.past.fine(node.node_id) if span == "hour" else site.past.coarse(node.node_id)
    return answer(
        {
            "name": node.name,
            "span": span,
            "step_seconds": stretch.step_seconds,
            "newest_age_seconds": round(stretch.newest_age_seconds, 1),
            "series": series(stretch),
        }
    )


@operation(
    "Server-sent events: `change` whenever something agreed or observed has changed",
    query={"since": whole(0, 2**53)},
    answers={200: Content("text/event-stream")},
    refusals=(429,),
)
async def events(request: web.Request) -> web.StreamResponse:
    """GET /events?since=: a server-sent event whenever something agreed or observed has changed.

    `since` is a revision that this node named before; what changed after it is told at once.
    """
    site = site_of(request)
    revision = query_number(request, "since", default=site.cluster.revision, low=0, high=2**53)
    if revision > site.cluster.revision:
        revision = -1  # from before this node's start: everything may have changed
    with site.streams.one_more(), suppress(ConnectionResetError):  # who listened may go at any time
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"retry: 2000\n\n")
        # A login may end while its page is open: then so does the stream.
        while not is_gone(request) and caller_of(request, site.cluster) is not None:
            newest = await site.cluster.changed(revision, timeout_seconds=STILL_HERE_SECONDS)
            await response.write(_event(newest) if newest > revision else b": still here\n\n")
            revision = newest
            await asyncio.sleep(EVENT_PAUSE_SECONDS)
        await response.write_eof()
    return response


@operation(
    "On the node's own socket: with what the first user registers",
    answers={200: Record({"setup_code": maybe(TEXT)})},
)
async def setup_code(request: web.Request) -> web.StreamResponse:
    """GET /local/setup-code, on the node's socket only"""
    site = site_of(request)
    used = site.cluster.state.people.has_users
    return answer({"setup_code": None if used or site.control is None else site.control.setup_code()})


@operation(
    "On the node's own socket: end it, with `all` its dynos too",
    body=Record({}, {"all": FLAG}),
    needs_body=False,
    repeated=Repeated.AGAIN,
    answers={202: Record({"pid": COUNT})},
)
async def stop(request: web.Request) -> web.StreamResponse:
    """POST /local/stop {all?}, on the node's socket only"""
    body = await json_body(request)
    control = site_of(request).control
    if control is None:
        raise NotFound("this node cannot be stopped from here.")
    return answer({"pid": control.stop(everything=body.get("all") is True)}, status=202)


def _event(revision: int) -> bytes:
    return b'event: change\ndata: {"revision": %d}\n\n' % revision
