"""The API about one app: itself, its config vars, formation, dynos and log."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from aiohttp import web

from builders.errors import InvalidRequest
from builders.git_url import GitUrl, check_git_url
from pinode.apps.app import App
from pinode.apps.checks import check_app_name, check_config_name, check_process_type, check_quantities
from pinode.apps.commands import CreateApp, DestroyApp, RenameApp, SetConfig, SetFormation, SetMaintenance
from pinode.apps.errors import AppNotFound
from pinode.cluster import Cluster
from pinode.errors import InvalidInput
from pinode.logs.app_log import Scope, follow, tail
from pinode.operations.app_names import check_name_is_free
from pinode.web.answer_shapes import APP, APP_NAME_TEXT
from pinode.web.caller import Caller, caller_of
from pinode.web.documents import app_document
from pinode.web.messages import (
    LONE_SURROGATE,
    answer,
    json_body,
    list_answer,
    node_called,
    nothing,
    query_flag,
    query_number,
    shown,
    stream_text,
    text_of,
)
from pinode.web.operation import PLAIN, operation
from pinode.web.shapes import COUNT, FLAG, SECRET, SWITCH, TEXT, Record, by_name, maybe, page_of, whole
from pinode.web.site import MANAGED_APP, caller, managed_app, site_of

LINES_AT_MOST = 10_000
SINCE_SECONDS_AT_MOST = 10**9
VALUE_CHARACTERS = 64 * 1024


@operation("One's own apps; an administrator's: all", is_paged=True, answers={200: page_of(APP)})
async def list_apps(request: web.Request) -> web.StreamResponse:
    """GET /apps: the caller's own, an administrator's all"""
    cluster = site_of(request).cluster
    return list_answer(request, [app_document(cluster, app) for app in apps_of(cluster, caller(request))])


@operation(
    "Create an app",
    body=Record({"name": APP_NAME_TEXT}, {"git_url": maybe(SECRET)}),
    answers={201: APP},
)
async def create_app(request: web.Request) -> web.StreamResponse:
    """POST /apps {name, git_url?}"""
    body = await json_body(request)
    cluster = site_of(request).cluster
    name = text_of(body, "name")
    await create(
        cluster,
        caller(request),
        name=name,
        git_url=text_of(body, "git_url", default=None),
    )
    app = cluster.state.registry.app(name)
    if app is None:  # repeated under its key, it was made long ago and may be gone
        raise AppNotFound(app=name)
    return answer(app_document(cluster, app), status=201)


@operation("An app", answers={200: APP})
async def show_app(request: web.Request) -> web.StreamResponse:
    """GET /apps/{a}"""
    return answer(app_document(site_of(request).cluster, managed_app(request)))


@operation("Rename it: everything else of it stays", body=Record({"name": APP_NAME_TEXT}), answers={200: APP})
async def rename_app(request: web.Request) -> web.StreamResponse:
    """PATCH /apps/{a} {name}"""
    name = text_of(await json_body(request), "name")
    app, cluster = managed_app(request), site_of(request).cluster
    await rename(cluster, caller(request), app, name)
    return answer(app_document(cluster, cluster.state.registry.same_app(replace(app, name=name))))


@operation("Destroy it", answers={204: None})
async def destroy_app(request: web.Request) -> web.StreamResponse:
    """DELETE /apps/{a}"""
    await destroy(site_of(request).cluster, caller(request), managed_app(request))
    return nothing()


@operation(
    "Names of its config vars; the values with ?reveal=1",
    query={"reveal": SWITCH},
    answers={200: by_name(maybe(TEXT))},
)
async def show_config(request: web.Request) -> web.StreamResponse:
    """GET …/config: names with null; with ?reveal=1 the values"""
    app, cluster = managed_app(request), site_of(request).cluster
    reveal = query_flag(request, "reveal")
    return answer(
        {name: cluster.reveal(value) if reveal else None for name, value in app.config.values.items()}
    )


@operation(
    "Set some, unset those that are null, and release that",
    body=by_name(maybe(SECRET)),
    answers={200: by_name(maybe(TEXT))},
)
async def change_config(request: web.Request) -> web.StreamResponse:
    """PATCH …/config {NAME: value, or null to unset it}"""
    await set_config(
        site_of(request).cluster, caller(request), managed_app(request), await json_body(request)
    )
    return answer(dict.fromkeys(managed_app(_again(request)).config.values))


@operation("How many dynos of each process type", answers={200: by_name(COUNT)})
async def show_formation(request: web.Request) -> web.StreamResponse:
    """GET …/formation: how many dynos of each process type"""
    return answer(dict(managed_app(request).formation))


@operation("Change how many", body=by_name(COUNT), answers={200: by_name(COUNT)})
async def change_formation(request: web.Request) -> web.StreamResponse:
    """PATCH …/formation {process type: quantity}"""
    await scale_app(site_of(request).cluster, caller(request), managed_app(request), await json_body(request))
    return await show_formation(_again(request))


@operation("While it is on, routers answer with 503", body=Record({"on": FLAG}), answers={200: APP})
async def set_maintenance(request: web.Request) -> web.StreamResponse:
    """PUT …/maintenance {on: true or false}"""
    body = await json_body(request)
    if not isinstance(body.get("on"), bool):
        raise InvalidInput(f"on is {shown(body.get('on'))}, neither true nor false.")
    app = managed_app(request)
    await site_of(request).cluster.execute(
        SetMaintenance(
            app=app.name, on=body["on"], actor=caller(request).name, created_index=app.created_index
        )
    )
    return await show_app(_again(request))


@operation(
    "Its log, of all dynos or of one type or dyno",
    query={
        "lines": whole(0, LINES_AT_MOST),
        "follow": SWITCH,
        "process": TEXT,
        "since": whole(0, SINCE_SECONDS_AT_MOST),
        "node": TEXT,
    },
    answers={200: PLAIN},
    refusals=(429, 502, 504),
)
async def show_logs(request: web.Request) -> web.StreamResponse:
    """GET …/logs?lines=&follow=1&process=&since=&node="""
    app, cluster = managed_app(request), site_of(request).cluster
    lines = query_number(request, "lines", default=100, low=0, high=LINES_AT_MOST)
    process = request.query.get("process") or None
    if process is not None:
        check_process_type(process.partition(".")[0])
    scope = _log_scope(request)
    if query_flag(request, "follow"):
        return await stream_text(request, _followed(request, app, lines, process, scope))
    found = await tail(cluster, app.name, lines, process, scope)
    return web.Response(text="".join(f"{line}\n" for line in found))


def apps_of(cluster: Cluster, caller: Caller) -> list[App]:
    """The apps that the caller manages, by name."""
    return [app for app in cluster.state.registry.apps() if caller.is_admin or app.owner == caller.name]


async def create(cluster: Cluster, caller: Caller, *, name: str, git_url: str | None) -> None:
    """Create an app for the caller. Raises what is wrong with the name or the URL."""
    check_app_name(name)
    check_name_is_free(cluster, name)
    source = check_source(git_url, caller) if git_url is not None else None
    if source is not None and source.secrets:
        raise InvalidInput(
            f"the repository URL {source.shown!r} came with a password, which is kept with a deploy only.",
            hint="Create the app without a URL, then deploy it with the whole one.",
        )
    settings = cluster.settings
    await cluster.execute(
        CreateApp(
            name=name,
            owner=caller.name,
            git_url=source.shown if source is not None else None,
            apps_per_user=settings.limits.apps_per_user,
            app_ports=len(settings.listen.app_ports),
        ),
    )


async def rename(cluster: Cluster, caller: Caller, app: App, name: str) -> None:
    """Call this very app `name`. Raises what is wrong with the name."""
    check_app_name(name)
    check_name_is_free(cluster, name)
    await cluster.execute(
        RenameApp(app=app.name, name=name, actor=caller.name, created_index=app.created_index)
    )


async def destroy(cluster: Cluster, caller: Caller, app: App) -> None:
    """Destroy this very app."""
    await cluster.execute(DestroyApp(name=app.name, actor=caller.name, created_index=app.created_index))


def check_source(git_url: str, caller: Caller) -> GitUrl:
    """The repository's URL, if the caller may have it built. Raises `InvalidInput`."""
    try:
        return check_git_url(git_url.strip(), administrator=caller.is_admin)
    except InvalidRequest as refused:
        raise InvalidInput(f"{refused.message}.", hint=refused.hint) from refused


async def set_config(cluster: Cluster, caller: Caller, app: App, changes: Mapping[str, Any]) -> None:
    """Set the vars that have a value, unset those that are None. Raises what is wrong with one of them."""
    if not changes:
        raise InvalidInput("no config var is named.", hint='For example: {"SECRET_KEY": "..."}')
    for name, value in changes.items():
        check_config_name(name)
        if value is not None and not isinstance(value, str):
            raise InvalidInput(f"the value of {name} is {shown(value)}, not a text.")
        if value is not None and ("\0" in value or LONE_SURROGATE.search(value)):
            raise InvalidInput(f"the value of {name} contains a NUL character or half a character.")
        if value is not None and len(value) > VALUE_CHARACTERS:
            raise InvalidInput(f"the value of {name} is longer than {VALUE_CHARACTERS} characters.")
    present = {name: cluster.reveal(value) for name, value in app.config.values.items()}
    # Sealed anew, an equal value would look like another one, and be a release of nothing.
    different = {name: value for name, value in changes.items() if present.get(name) != value}
    await cluster.execute(
        SetConfig(
            app=app.name,
            set_values={name: cluster.seal(value) for name, value in different.items() if value is not None},
            unset=tuple(name for name, value in different.items() if value is None),
            actor=caller.name,
            created_index=app.created_index,
        )
    )


async def scale_app(cluster: Cluster, caller: Caller, app: App, quantities: Mapping[str, Any]) -> None:
    """Set how many dynos of each named type run. Raises what is wrong with a name or a quantity."""
    if not quantities:
        raise InvalidInput("no process type is named.", hint='For example: {"web": 2}')
    for name, quantity in quantities.items():
        if isinstance(quantity, bool) or not isinstance(quantity, int):
            raise InvalidInput(f"{shown(name)} is {shown(quantity)}, not a whole number.")
    check_quantities(quantities)
    limit = cluster.settings.limits.dynos_per_user
    await cluster.execute(
        SetFormation(
            app=app.name,
            quantities=dict(quantities),
            actor=caller.name,
            dynos_per_user=limit,
            created_index=app.created_index,
        )
    )


def _log_scope(request: web.Request) -> Scope:
    """`node`, by name or id, and `since`, in seconds before now."""
    node = request.query.get("node")
    seconds = query_number(request, "since", default=0, low=0, high=SINCE_SECONDS_AT_MOST)
    return Scope(
        node_id=node_called(request, node).node_id if node else None,
        since_ms=time.time_ns() // 1_000_000 - seconds * 1000 if seconds else 0,
    )


async def _followed(
    request: web.Request, app: App, lines: int, process: str | None, scope: Scope
) -> AsyncGenerator[bytes, None]:
    cluster = site_of(request).cluster
    async with aclosing(follow(cluster, app.name, lines, process, scope)) as found:  # type: ignore[type-var]
        async for line in found:
            now = cluster.state.registry.app(app.name)
            # A login may end while its stream goes on, and the next app of this name may be another owner's.
            if now is None or now.created_index != app.created_index or caller_of(request, cluster) is None:
                return
            yield f"{line}\n".encode()


def _again(request: web.Request) -> web.Request:
    """The request with the app as it is after the change."""
    app = site_of(request).cluster.state.registry.app(managed_app(request).name)
    if app is None:
        raise AppNotFound(app=managed_app(request).name)
    request[MANAGED_APP] = app
    return request
