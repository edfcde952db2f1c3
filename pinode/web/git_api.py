"""`/git/{app}.git`: what git asks of a node when somebody pushes an app to it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, aclosing

from aiohttp import web

from pinode.deploy.git_protocol import (
    SERVICE,
    PushAnswer,
    PushCommands,
    PushReader,
    advertisement,
)
from pinode.deploy.git_push import Pushed, check_push, deploy_push, take_in
from pinode.deploy.intake import Intake, Reception
from pinode.errors import InvalidInput, NotAllowed, NotFound, PinodeError
from pinode.web.bodies import body_pieces
from pinode.web.documents import app_urls, name_url
from pinode.web.messages import shown
from pinode.web.operation import Content, operation
from pinode.web.problems import REFUSALS, problem_of
from pinode.web.shapes import one_of
from pinode.web.site import caller, check_still_allowed, managed_app, site_of

ALIVE_SECONDS = 5.0  # between two signs of life, for the client and what is between
OVERRUN = 2  # so many times the bound are read and thrown away, to say so at the end; more is cut off

logger = logging.getLogger(__name__)

Say = Callable[[str], None]


@operation(
    "What git asks before a push",
    query={"service": one_of(SERVICE)},
    answers={200: Content(f"application/x-{SERVICE}-advertisement", is_binary=True)},
    refusals=(503, 507),
)
async def show_refs(request: web.Request) -> web.StreamResponse:
    """GET /git/{app}.git/info/refs?service=git-receive-pack"""
    if (service := request.query.get("service")) != SERVICE:
        what = "this is not asked by git" if service is None else f"{shown(service)} is not served"
        raise NotAllowed(
            f"{what}: apps are pushed here, not fetched.",
            hint="Keep the history in a repository of your own.",
        )
    intake = intake_of(request)
    await intake.check_room()
    known = await intake.known_commits(managed_app(request))
    return web.Response(body=advertisement(known), content_type=f"application/x-{SERVICE}-advertisement")


@operation(
    "A push, answered while the app is built",
    body=Content(f"application/x-{SERVICE}-request", is_binary=True),
    answers={200: Content(f"application/x-{SERVICE}-result", is_binary=True)},
    refusals=(429, 507),
)
async def receive_pack(request: web.Request) -> web.StreamResponse:
    """POST /git/{app}.git/git-receive-pack: the push itself, answered while the app is built"""
    site, app = site_of(request), managed_app(request)
    with site.pushes.one_more():
        async with AsyncExitStack() as receiving:
            receiving.enter_context(site.receptions.one_more(caller(request).name))
            reception = await receiving.enter_async_context(intake_of(request).reception(app))
            commands, refused = await _receive(request, reception)
            if not commands.updates:  # git asks whether it may, before it sends much
                return web.Response(content_type=f"application/x-{SERVICE}-result")

            async def work(say: Say) -> None:
                if refused is not None:
                    raise refused
                check_still_allowed(request)
                pushed = await take_in(site.cluster, reception, commands, app=app, say=say)
                await receiving.aclose()  # others may send while this one is built
                await _deploy(request, pushed, say)

            return await _answer(request, PushAnswer(commands), work)


def intake_of(request: web.Request) -> Intake:
    """Where pushes and uploads go. Raises `NotFound` on a node that takes none."""
    intake = site_of(request).intake
    if intake is None:
        raise NotFound("this node takes no pushes and no uploads.", hint="Use another node.")
    return intake


async def _receive(request: web.Request, reception: Reception) -> tuple[PushCommands, PinodeError | None]:
    """The whole push: what it says, and why it is refused, if it is; the rest is then thrown away."""
    most = OVERRUN * site_of(request).cluster.settings.limits.clone_bytes
    reader, refused = PushReader(), None
    async with aclosing(body_pieces(request, most_bytes=most)) as pieces:  # type: ignore[type-var]
        async for piece in pieces:
            if refused is not None:
                continue
            is_new = reader.commands is None
            pack = reader.feed(piece)  # what is wrong here cannot be reported as git wants it
            try:
                if is_new and reader.commands is not None and reader.commands.updates:
                    check_push(reader.commands)
                if pack:
                    await reception.write(pack)
            except PinodeError as error:
                refused = error
    if reader.commands is None:
        raise InvalidInput("the push ended before it said what to push.", hint="Push with git.")
    return reader.commands, refused


async def _deploy(request: web.Request, pushed: Pushed, say: Say) -> None:
    app, cluster = managed_app(request), site_of(request).cluster
    release = await deploy_push(cluster, pushed, app=app, actor=caller(request).name, say=say)
    by_name = name_url(cluster, app)
    also = f" and {by_name}" if by_name else ""
    say(f"-----> {app.name} v{release.version} answers at {app_urls(cluster, app)[0]}{also}")


async def _answer(
    request: web.Request, answer: PushAnswer, work: Callable[[Say], Awaitable[None]]
) -> web.StreamResponse:
    """Do the work while its lines are sent; at the end, whether it came to something."""
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    async def run() -> str | None:
        try:
            await work(lines.put_nowait)
            return None
        except REFUSALS as error:
            problem = problem_of(error)
            for text in (problem.message, problem.hint):
                if text:
                    lines.put_nowait(f" !     {text}")
            return problem.message
        finally:
            lines.put_nowait(None)

    response = web.StreamResponse(headers={"Content-Type": f"application/x-{SERVICE}-result"})
    await response.prepare(request)
    task = asyncio.create_task(run(), name="push")
    try:
        await _send_lines(response, answer, lines)
        await response.write(answer.end(await task))
        await response.write_eof()
    except ConnectionError:
        logger.info("push not watched to its end path=%s", request.path)
    finally:
        task.cancel()
        await asyncio.wait({task})
    return response


async def _send_lines(
    response: web.StreamResponse, answer: PushAnswer, lines: "asyncio.Queue[str | None]"
) -> None:
    while True:
        try:
            async with asyncio.timeout(ALIVE_SECONDS):
                line = await lines.get()
        except TimeoutError:
            await response.write(answer.alive())
            continue
        if line is None:
            return
        await response.write(answer.line(line))
