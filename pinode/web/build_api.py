"""The API about builds."""

from aiohttp import web

from pinode.apps.build import Build
from pinode.apps.commands import CancelBuild
from pinode.apps.errors import BuildNotFound
from pinode.deploy.build_job import request_build
from pinode.deploy.build_log import build_log
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
    """DELETE …/builds/{id}"""
    build = named_build(request)
    await site_of(request).cluster.execute(CancelBuild(build_id=build.id, actor=caller(request).name))
    return nothing()


async def show_build_log(request: web.Request) -> web.StreamResponse:
    """GET …/builds/{id}/log?follow=1: plain text, until the build has ended"""
    build = named_build(request)
    follow = query_flag(request, "follow")
    return await stream_text(request, build_log(site_of(request).cluster, build.id, follow=follow))


def named_build(request: web.Request) -> Build:
    """The build in the path, of the app in the path; another app's is as unknown as none."""
    build_id = path_number(request, "id")
    build = site_of(request).cluster.state.registry.build(build_id)
    if build is None or build.app != managed_app(request).name:
        raise BuildNotFound(build_id=build_id)
    return build
