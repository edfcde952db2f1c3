"""The API about builds."""

import asyncio
from contextlib import aclosing

from aiohttp import web

from builders.errors import InvalidRequest
from builders.git_url import check_directory
from pinode.apps.build import Build
from pinode.apps.commands import CancelBuild
from pinode.apps.errors import BuildNotFound
from pinode.cluster import Cluster
from pinode.deploy.build_job import request_build, request_build_of_source
from pinode.deploy.build_log import build_log
from pinode.errors import InvalidInput
from pinode.web.answer_shapes import BUILD
from pinode.web.bodies import body_pieces
from pinode.web.caller import Caller
from pinode.web.documents import build_document
from pinode.web.git_api import intake_of
from pinode.web.idempotency import covers
from pinode.web.messages import (
    answer,
    json_body,
    list_answer,
    nothing,
    path_number,
    query_flag,
    stream_text,
    text_of,
)
from pinode.web.operation import PLAIN, Content, operation
from pinode.web.shapes import SECRET, SWITCH, TEXT, Record, maybe, page_of
from pinode.web.site import caller, check_still_allowed, managed_app, site_of

CANCEL_SECONDS = 15.0  # for the node that builds to end all processes of the build
ARCHIVE_TYPES = ("application/gzip", "application/x-gzip", "application/x-tar+gzip", "application/x-tgz")


@operation(
    "Build from git, or an archive of the app's files",
    query={"dir": TEXT},
    body=Record({}, {"git_url": maybe(SECRET), "ref": maybe(TEXT), "dir": maybe(TEXT)}),
    other_bodies=tuple(Content(one, is_binary=True) for one in ARCHIVE_TYPES),
    needs_body=False,
    answers={202: BUILD},
    refusals=(429, 507),
)
async def create_build(request: web.Request) -> web.StreamResponse:
    """POST …/builds {git_url?, ref?, dir?} → 202 {id}; or an archive as the body, with ?dir="""
    if request.content_type in ARCHIVE_TYPES:
        return await _build_upload(request)
    body = await json_body(request)
    app, cluster, who = managed_app(request), site_of(request).cluster, caller(request)
    build_id = await request_build(
        cluster,
        app=app,
        git_url=text_of(body, "git_url", default=None),
        ref=text_of(body, "ref", default=None),
        subdirectory=text_of(body, "dir", default=None),
        actor=who.name,
        is_admin=who.is_admin,
    )
    build = cluster.state.registry.build(build_id)
    return answer(build_document(cluster, build) if build is not None else {"id": build_id}, status=202)


async def _build_upload(request: web.Request) -> web.StreamResponse:
    site, app = site_of(request), managed_app(request)
    most = site.cluster.settings.limits.clone_bytes
    try:
        directory = check_directory(request.query.get("dir", ""))
    except InvalidRequest as refused:
        raise InvalidInput(f"{refused.message}.", hint=refused.hint) from refused
    with site.receptions.one_more(caller(request).name):
        async with intake_of(request).reception(app) as reception:
            async with aclosing(body_pieces(request, most_bytes=most)) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    await reception.write(piece)
            source = await reception.finish("upload", directory=directory, on_line=lambda _: None)
    check_still_allowed(request)
    covers(request, source.digest.encode())
    build_id = await request_build_of_source(
        site.cluster,
        source,
        app=app,
        origin="upload",
        actor=caller(request).name,
        subdirectory=directory or None,
    )
    build = site.cluster.state.registry.build(build_id)
    document = build_document(site.cluster, build) if build is not None else {"id": build_id}
    return answer(document, status=202)


@operation("Its builds, newest first", is_paged=True, answers={200: page_of(BUILD)})
async def list_builds(request: web.Request) -> web.StreamResponse:
    """GET …/builds: newest first"""
    cluster = site_of(request).cluster
    found = cluster.state.registry.builds(managed_app(request).name)
    return list_answer(request, [build_document(cluster, build) for build in found])


@operation("A build", answers={200: BUILD})
async def show_build(request: web.Request) -> web.StreamResponse:
    """GET …/builds/{id}"""
    return answer(build_document(site_of(request).cluster, named_build(request)))


@operation(
    "End one that waits or runs: 204 when nothing of it runs, 202 while its node ends it",
    answers={202: BUILD, 204: None},
)
async def cancel_build(request: web.Request) -> web.StreamResponse:
    """DELETE …/builds/{id} → 204 when nothing of it runs any more, 202 while its node still ends it"""
    build, cluster = named_build(request), site_of(request).cluster
    ended = await cancel(cluster, caller(request), build)
    return nothing() if ended.is_finished else answer(build_document(cluster, ended), status=202)


@operation(
    "What it printed; with `follow` until it has ended",
    query={"follow": SWITCH},
    answers={200: PLAIN},
    refusals=(429, 502, 504),
)
async def show_build_log(request: web.Request) -> web.StreamResponse:
    """GET …/builds/{id}/log?follow=1: plain text, until the build has ended"""
    build = named_build(request)
    follow = query_flag(request, "follow")
    return await stream_text(request, build_log(site_of(request).cluster, build.id, follow=follow))


async def cancel(cluster: Cluster, caller: Caller, build: Build) -> Build:
    """Cancel it and wait a while for its end; the build as it is then. Raises `BuildFinished`."""
    await cluster.execute(CancelBuild(build_id=build.id, actor=caller.name))
    try:
        async with asyncio.timeout(CANCEL_SECONDS):
            while True:
                revision = cluster.revision
                found = cluster.state.registry.build(build.id)
                if found is None or found.is_finished:
                    return found or build
                await cluster.changed(revision)
    except TimeoutError:
        return cluster.state.registry.build(build.id) or build


def named_build(request: web.Request) -> Build:
    """The build in the path, of the app in the path; another app's is as unknown as none."""
    build_id = path_number(request, "id")
    build = site_of(request).cluster.state.registry.build(build_id)
    if build is None or build.app != managed_app(request).name:
        raise BuildNotFound(build_id=build_id)
    return build
