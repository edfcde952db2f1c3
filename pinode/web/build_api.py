"""The API about builds."""

import asyncio

from aiohttp import web

from pinode.apps.build import Build
from pinode.apps.commands import CancelBuild
from pinode.apps.errors import BuildNotFound
from pinode.cluster import Cluster
from pinode.deploy.build_job import request_build
from pinode.deploy.build_log import build_log
from pinode.web.caller import Caller
from pinode.web.documents import build_document
from pinode.web.messages import (
    answer,
    idempotency_key,
    json_body,
    list_answer,
    nothing,
    only,
    path_number,
    query_flag,
    stream_text,
    text_of,
)
from pinode.web.site import caller, managed_app, site_of

CANCEL_SECONDS = 15.0  # for the node that builds to end all processes of the build


async def create_build(request: web.Request) -> web.StreamResponse:
    """POST …/builds {git_url?, ref?, dir?} → 202 {id}"""
    body = await json_body(request, empty=True)
    only(body, "git_url", "ref", "dir")
    app, cluster, who = managed_app(request), site_of(request).cluster, caller(request)
    build_id = await request_build(
        cluster,
        app=app.name,
        git_url=text_of(body, "git_url", default=None),
        ref=text_of(body, "ref", default=None),
        subdirectory=text_of(body, "dir", default=None),
        actor=who.name,
        is_admin=who.is_admin,
        idempotency_key=idempotency_key(request),
    )
    build = cluster.state.registry.build(build_id)
    return answer(build_document(cluster, build) if build is not None else {"id": build_id}, status=202)


async def list_builds(request: web.Request) -> web.StreamResponse:
    """GET …/builds: newest first"""
    cluster = site_of(request).cluster
    found = cluster.state.registry.builds(managed_app(request).name)
    return list_answer(request, [build_document(cluster, build) for build in found])


async def show_build(request: web.Request) -> web.StreamResponse:
    """GET …/builds/{id}"""
    return answer(build_document(site_of(request).cluster, named_build(request)))


async def cancel_build(request: web.Request) -> web.StreamResponse:
    """DELETE …/builds/{id} → 204 when nothing of it runs any more, 202 while its node still ends it"""
    build, cluster = named_build(request), site_of(request).cluster
    ended = await cancel(cluster, caller(request), build)
    return nothing() if ended.is_finished else answer(build_document(cluster, ended), status=202)


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
