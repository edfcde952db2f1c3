"""The pages and the API as one application of aiohttp. `server` imports this at the first connection."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from pinode.web.guard import add_headers, answer_always, guarded
from pinode.web.openapi import describe
from pinode.web.operation import OPENAPI
from pinode.web.routes import ROUTES
from pinode.web.site import SITE, Site

BODY_BYTES = 1024 * 1024
HEAD_BYTES = 16 * 1024
KEEP_ALIVE_SECONDS = 60.0
STOP_SECONDS = 2.0


def make_application(site: Site) -> web.Application:
    """Return the application: every route behind its guard."""
    application = web.Application(client_max_size=BODY_BYTES, middlewares=[answer_always])
    application[SITE] = site
    application[OPENAPI] = describe(ROUTES)
    application.on_response_prepare.append(add_headers)
    application.on_shutdown.append(_end_streams)
    for route in ROUTES:
        handler = guarded(route)
        if route.method == "GET":
            application.router.add_get(route.path, handler)
        else:
            application.router.add_route(route.method, route.path, handler)
    return application


async def _end_streams(application: web.Application) -> None:
    application[SITE].streams.end()
    application[SITE].receptions.end()
    application[SITE].pushes.end()


@asynccontextmanager
async def handling(application: web.Application) -> AsyncIterator[Callable[[], asyncio.BaseProtocol]]:
    """What makes the protocol of each connection; at the end requests have `STOP_SECONDS` left."""
    runner = web.AppRunner(
        application,
        access_log=None,
        auto_decompress=False,  # a stranger's megabyte could be a gigabyte; see `guard`
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        max_line_size=HEAD_BYTES,
        max_field_size=HEAD_BYTES,
        shutdown_timeout=STOP_SECONDS,
    )
    await runner.setup()
    try:
        assert runner.server is not None
        yield runner.server
    finally:
        await runner.cleanup()
