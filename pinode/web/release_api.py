"""The API about releases: what was released, and going back to an older one."""

from aiohttp import web

from pinode.apps.app import App
from pinode.apps.commands import Rollback
from pinode.apps.errors import ReleaseNotFound
from pinode.apps.release import Release
from pinode.cluster import Cluster
from pinode.web.answer_shapes import RELEASE
from pinode.web.caller import Caller
from pinode.web.documents import release_document
from pinode.web.messages import (
    answer,
    json_body,
    list_answer,
    number_of,
    path_number,
)
from pinode.web.operation import operation
from pinode.web.shapes import COUNT, Record, maybe, page_of
from pinode.web.site import caller, managed_app, site_of


@operation("Its releases, newest first", is_paged=True, answers={200: page_of(RELEASE)})
async def list_releases(request: web.Request) -> web.StreamResponse:
    """GET …/releases: newest first"""
    cluster = site_of(request).cluster
    found = cluster.state.registry.releases(managed_app(request).name)
    return list_answer(request, [release_document(cluster, release) for release in found])


@operation("A release", answers={200: RELEASE})
async def show_release(request: web.Request) -> web.StreamResponse:
    """GET …/releases/{version}"""
    version = path_number(request, "version")
    return answer(release_document(site_of(request).cluster, _release(request, version)))


@operation(
    "Go back to a release, or to what served before",
    body=Record({}, {"rollback_to": maybe(COUNT)}),
    needs_body=False,
    answers={201: RELEASE},
)
async def create_release(request: web.Request) -> web.StreamResponse:
    """POST …/releases {rollback_to?: version} → 201; without one: what served before"""
    body = await json_body(request)
    version = await roll_back(
        site_of(request).cluster,
        caller(request),
        managed_app(request),
        number_of(body, "rollback_to", default=None),
    )
    return answer(release_document(site_of(request).cluster, _release(request, version)), status=201)


async def roll_back(cluster: Cluster, caller: Caller, app: App, version: int | None) -> int:
    """The version of the new release. Raises why there is none."""
    command = Rollback(app=app.name, version=version, actor=caller.name, created_index=app.created_index)
    made: int = await cluster.execute(command)
    return made


def _release(request: web.Request, version: int) -> Release:
    app = managed_app(request).name
    release = site_of(request).cluster.state.registry.release(app, version)
    if release is None:
        raise ReleaseNotFound(app=app, version=version)
    return release
