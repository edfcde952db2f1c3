"""The pages about apps: the list, a new one, one with all its parts, and a build."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from aiohttp import web

from pinode.apps.app import App
from pinode.apps.build import Build
from pinode.apps.checks import RELEASE_TYPE
from pinode.apps.errors import AppNotFound, BuildNotFound
from pinode.apps.release import Release
from pinode.cluster import Cluster
from pinode.deploy.build_job import request_build
from pinode.deploy.build_log import build_log
from pinode.errors import InvalidInput
from pinode.logs.app_log import tail
from pinode.operations.app_view import building, dynos
from pinode.web.app_api import apps_of, check_source, create, scale_app, set_config
from pinode.web.app_api import destroy as destroy_this
from pinode.web.app_api import rename as rename_this
from pinode.web.build_api import cancel, named_build
from pinode.web.cron_api import cron_documents
from pinode.web.documents import app_document, build_document, dyno_document, release_document
from pinode.web.forms import form_of
from pinode.web.messages import shown
from pinode.web.pages import show
from pinode.web.problems import REFUSALS, Problem, problem_of
from pinode.web.release_api import roll_back as roll_back_to
from pinode.web.rendering import plain_text, sentence
from pinode.web.site import caller, managed_app, site_of

LINES_SHOWN = 100
LOG_BYTES_SHOWN = 256 * 1024
ROWS_SHOWN = 10
LOG_SECONDS = 4.0


async def show_apps(request: web.Request) -> web.StreamResponse:
    """GET /"""
    cluster = site_of(request).cluster
    rows = [_row(cluster, app) for app in apps_of(cluster, caller(request))]
    return show(request, "apps", section="Apps", apps=rows)


def _row(cluster: Cluster, app: App) -> dict[str, Any]:
    """An app in the list of all: how it is, since when, and in one line why its newest deploy failed."""
    live, failure = cluster.state.registry.live_release(app.name), _failure(cluster, app)
    return {
        **app_document(cluster, app),
        "released_seconds": release_document(cluster, live)["age_seconds"] if live is not None else None,
        "failure": f"{failure['what']} {sentence(failure['why'])}" if failure is not None else None,
    }


async def show_new_app(request: web.Request) -> web.StreamResponse:
    """GET /apps/new"""
    return _newapp_page(request, {})


async def create_app(request: web.Request) -> web.StreamResponse:
    """POST /apps/new: the app and its first build, in one form"""
    form, cluster, who = await form_of(request), site_of(request).cluster, caller(request)
    name = form.get("name", "").strip()
    try:
        check_source(form.get("git_url", ""), who)
        await create(cluster, who, name=name, git_url=None)
        app = cluster.state.registry.app(name)
        if app is None or app.owner != who.name:
            raise AppNotFound(app=name)
        await request_build(cluster, app=app, actor=who.name, is_admin=who.is_admin, **_wanted(form))
    except REFUSALS as error:
        app = cluster.state.registry.app(name)
        if app is None or app.owner != who.name or app.git_url is not None:
            return _newapp_page(request, form, problem_of(error))
        return await app_page(request, app, form, problem_of(error))  # it is there, and can be deployed again
    raise web.HTTPSeeOther(f"/apps/{name}")


async def show_app(request: web.Request) -> web.StreamResponse:
    """GET /apps/{app}"""
    return await app_page(request, managed_app(request), {})


async def deploy(request: web.Request) -> web.StreamResponse:
    """POST /apps/{app}/builds"""
    form, app, who = await form_of(request), managed_app(request), caller(request)
    try:
        await request_build(
            site_of(request).cluster, app=app, actor=who.name, is_admin=who.is_admin, **_wanted(form)
        )
    except REFUSALS as error:
        return await app_page(request, app, form, problem_of(error))
    raise web.HTTPSeeOther(f"/apps/{app.name}?note=deployed")


async def scale(request: web.Request) -> web.StreamResponse:
    """POST /apps/{app}/formation"""
    form, app = await form_of(request), managed_app(request)
    try:
        quantities = {
            name.removeprefix("scale."): _quantity(value)
            for name, value in form.items()
            if name.startswith("scale.")
        }
        await scale_app(site_of(request).cluster, caller(request), app, quantities)
    except REFUSALS as error:
        return await app_page(request, app, form, problem_of(error))
    raise web.HTTPSeeOther(f"/apps/{app.name}?note=scaled#dynos-card")


async def change_config(request: web.Request) -> web.StreamResponse:
    """POST /apps/{app}/config: set one var, or unset one"""
    form, app = await form_of(request), managed_app(request)
    unset = form.get("unset")
    changes = {form.get("name", "").strip(): form.get("value", "")} if unset is None else {unset: None}
    try:
        await set_config(site_of(request).cluster, caller(request), app, changes)
    except REFUSALS as error:
        return await app_page(request, app, form, problem_of(error))
    raise web.HTTPSeeOther(f"/apps/{app.name}?note=configured#config")


async def roll_back(request: web.Request) -> web.StreamResponse:
    """POST /apps/{app}/releases: the code, config and process types of an older release again"""
    form, app = await form_of(request), managed_app(request)
    try:
        text = form.get("rollback_to", "")
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise InvalidInput(f"{shown(text)} is not the number of a release.")
        await roll_back_to(site_of(request).cluster, caller(request), app, int(text))
    except REFUSALS as error:
        return await app_page(request, app, form, problem_of(error))
    raise web.HTTPSeeOther(f"/apps/{app.name}?note=rolled-back#releases-title")


async def rename(request: web.Request) -> web.StreamResponse:
    """POST /apps/{app}/rename"""
    form, app = await form_of(request), managed_app(request)
    name = form.get("new_name", "").strip()
    try:
        await rename_this(site_of(request).cluster, caller(request), app, name)
    except REFUSALS as error:
        return await app_page(request, app, form, problem_of(error))
    raise web.HTTPSeeOther(f"/apps/{name}?note=renamed")


async def destroy(request: web.Request) -> web.StreamResponse:
    """POST /apps/{app}/destroy, with the name typed once more"""
    form, app = await form_of(request), managed_app(request)
    try:
        if form.get("confirm", "").strip() != app.name:
            raise InvalidInput(
                f"{shown(form.get('confirm', ''))} is not the app's name, so it was not destroyed."
            )
        await destroy_this(site_of(request).cluster, caller(request), app)
    except REFUSALS as error:
        return await app_page(request, app, form, problem_of(error))
    raise web.HTTPSeeOther("/?note=destroyed")


async def show_build(request: web.Request) -> web.StreamResponse:
    """GET /apps/{app}/builds/{id}"""
    return await _build_page(request, named_build(request))


async def cancel_build(request: web.Request) -> web.StreamResponse:
    """POST /apps/{app}/builds/{id}/cancel"""
    build = named_build(request)
    try:
        ended = await cancel(site_of(request).cluster, caller(request), build)
    except REFUSALS as error:
        return await _build_page(request, build, problem_of(error))
    note = "cancelled" if ended.is_finished else "cancelling"
    raise web.HTTPSeeOther(f"/apps/{build.app}/builds/{build.id}?note={note}")


def _wanted(form: dict[str, str]) -> dict[str, Any]:
    return {
        "git_url": form.get("git_url", "").strip(),
        "ref": form.get("ref", "").strip() or None,
        "subdirectory": form.get("dir", "").strip() or None,
    }


def _quantity(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text.strip()):
        raise InvalidInput(f"{shown(text)} is not a number of dynos.")
    return int(text)


def _newapp_page(request: web.Request, form: dict[str, str], error: Problem | None = None) -> web.Response:
    values = {name: form.get(name, "") for name in ("name", "git_url", "ref", "dir")}
    return show(
        request, "new_app", code=error.status if error else 200, section="Apps", values=values, error=error
    )


async def app_page(
    request: web.Request, app: App, form: dict[str, str], error: Problem | None = None
) -> web.Response:
    """The app with all its parts; with `error`, what was refused and what was typed."""
    cluster = site_of(request).cluster
    registry = cluster.state.registry
    builds, releases = registry.builds(app.name), registry.releases(app.name)
    current = building(cluster, app.name)
    newest = next((release for release in releases if release.state != "failed"), None)
    return show(
        request,
        "app",
        code=error.status if error else 200,
        section="Apps",
        error=error,
        values={name: form.get(name, "") for name in ("git_url", "ref", "dir", "name", "new_name")},
        app=app_document(cluster, app),
        origin=f"https://{request.host}",
        source=_source(app, registry.deploys(app.name)),
        building=build_document(cluster, current) if current is not None else None,
        failure=_failure(cluster, app),
        dynos=[dyno_document(cluster, dyno) for dyno in dynos(cluster, app.name)],
        scalable=_scalable(newest),
        releases=[release_document(cluster, release) for release in releases[:ROWS_SHOWN]],
        builds=[build_document(cluster, build) for build in builds[:ROWS_SHOWN]],
        last_dir=next((build.subdirectory for build in builds if build.variant_of is None), None),
        cron=cron_documents(cluster, app),
        config_names=list(app.config.values),
        log="" if _is_refresh(request) else await _recent_lines(cluster, app.name),
    )


def _scalable(release: Release | None) -> list[str]:
    """The process types that run as dynos, as the release names them."""
    return [kind for kind in release.process_types if kind != RELEASE_TYPE] if release is not None else []


def _source(app: App, builds: Sequence[Build]) -> str:
    """Where the newest build's files came from, in words."""
    newest = next(iter(builds), None)
    if newest is None or newest.git_url is not None:
        return app.git_url or "none yet"
    ref = f" ({newest.ref})" if newest.ref else ""
    return f"pushed with git{ref} by {newest.created_by}" if newest.origin == "push" else "uploaded"


def _failure(cluster: Cluster, app: App) -> dict[str, Any] | None:
    """Why the newest attempt did not come to serve, while that is the newest news."""
    registry = cluster.state.registry
    build = next(iter(registry.deploys(app.name)), None)
    release = registry.newest_release(app.name)
    if build is not None and build.state == "failed":
        what = f"Build {build.id} did not succeed."
        return {"what": what, "why": build.failure, "build": build.id, "last_lines": ()}
    if release is not None and release.state == "failed":
        what = f"Release v{release.version} did not come up" + (
            f"; v{app.live_version} goes on serving." if app.live_version else "."
        )
        return {
            "what": what,
            "why": release.failure,
            "build": release.build_id,
            "last_lines": release.last_lines,
        }
    return None


async def _build_page(request: web.Request, build: Build, error: Problem | None = None) -> web.Response:
    cluster = site_of(request).cluster
    return show(
        request,
        "build",
        code=error.status if error else 200,
        section="Apps",
        error=error,
        build=build_document(cluster, build),
        log="" if _is_refresh(request) else await _log_so_far(cluster, build.id),
    )


def _is_refresh(request: web.Request) -> bool:
    """Whether a page that is open asks for its moving parts; it reads its logs by itself."""
    return request.headers.get("Pinode-Refresh") == "1"


async def _recent_lines(cluster: Cluster, app: str) -> str:
    return "".join(f"{line}\n" for line in await tail(cluster, app, LINES_SHOWN))


async def _log_so_far(cluster: Cluster, build_id: int) -> str:
    """The end of the log as it is now; a node that does not answer must not keep the page waiting."""
    log = b""
    try:
        async with (
            asyncio.timeout(LOG_SECONDS),
            aclosing(build_log(cluster, build_id, follow=False)) as chunks,
        ):
            async for chunk in chunks:
                log = (log + chunk)[-LOG_BYTES_SHOWN:]
    except (TimeoutError, BuildNotFound):
        pass
    return plain_text(log)
