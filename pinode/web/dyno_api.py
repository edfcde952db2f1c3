"""The API about dynos: which there are, why one is as it is, restarting and stopping them."""

import re

from aiohttp import web

from pinode.apps.app import App
from pinode.apps.commands import RestartDynos, StopDynos
from pinode.apps.errors import DynoNotFound
from pinode.cluster import Cluster
from pinode.errors import InvalidInput
from pinode.operations.app_view import dynos
from pinode.operations.why import why
from pinode.web.answer_shapes import DYNO
from pinode.web.caller import Caller
from pinode.web.documents import dyno_document
from pinode.web.messages import answer, json_body, list_answer, nothing, shown, text_of
from pinode.web.operation import operation
from pinode.web.shapes import COUNT, TEXT, Record, list_of, maybe, page_of
from pinode.web.site import caller, managed_app, site_of

DYNO_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[0-9]{1,9})?")


@operation("Its dynos", is_paged=True, answers={200: page_of(DYNO)})
async def list_dynos(request: web.Request) -> web.StreamResponse:
    """GET …/dynos"""
    cluster = site_of(request).cluster
    found = dynos(cluster, managed_app(request).name)
    return list_answer(request, [dyno_document(cluster, dyno) for dyno in found])


@operation(
    "Why a dyno is where and as it is, or why there is none",
    answers={200: Record({"name": TEXT, "why": list_of(TEXT), "placements": list_of(DYNO)})},
)
async def show_dyno(request: web.Request) -> web.StreamResponse:
    """GET …/dynos/{dyno}: with why it is as it is"""
    cluster, app = site_of(request).cluster, managed_app(request)
    name = checked_dyno(request.match_info["dyno"])
    reasons = why(cluster, app, name)
    if not reasons:
        raise DynoNotFound(app=app.name, dyno=name)
    rows = [dyno for dyno in dynos(cluster, app.name) if dyno.placement.dyno == name]
    return answer(
        {
            "name": name,
            "why": reasons,
            "placements": [dyno_document(cluster, row) for row in rows],
        }
    )


@operation(
    "Restart one, those of a process type, or all; one after another",
    body=Record({}, {"dyno": maybe(TEXT)}),
    needs_body=False,
    answers={202: Record({"restarting": COUNT})},
)
async def restart_dynos(request: web.Request) -> web.StreamResponse:
    """POST …/dynos/restart {dyno?}: one, those of a process type, or all; one after another"""
    body = await json_body(request)
    dyno = text_of(body, "dyno", default=None)
    restarting = await restart(site_of(request).cluster, caller(request), managed_app(request), dyno)
    return answer({"restarting": restarting}, status=202)


@operation("Stop all, until a restart or a deploy", body=Record({}), needs_body=False, answers={204: None})
async def stop_dynos(request: web.Request) -> web.StreamResponse:
    """POST …/dynos/stop: all, until a restart or a deploy"""
    await json_body(request)
    await stop(site_of(request).cluster, caller(request), managed_app(request))
    return nothing()


async def restart(cluster: Cluster, caller: Caller, app: App, dyno: str | None) -> int:
    """How many dynos are restarted. Raises what is wrong with the name."""
    if dyno is not None:
        checked_dyno(dyno)
    command = RestartDynos(app=app.name, dyno=dyno, actor=caller.name, created_index=app.created_index)
    count: int = await cluster.execute(command)
    return count


async def stop(cluster: Cluster, caller: Caller, app: App) -> None:
    """Stop all its dynos."""
    await cluster.execute(StopDynos(app=app.name, actor=caller.name, created_index=app.created_index))


def checked_dyno(name: str) -> str:
    """Raises `InvalidInput` for what no dyno and no process type can be called."""
    if not DYNO_NAME.fullmatch(name):
        raise InvalidInput(f"{shown(name)} is no dyno.", hint="For example: web.1, or web for all of them.")
    return name
