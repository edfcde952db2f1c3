"""What every request goes through: who asks, may they, was it forged; errors become answers."""

import logging
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from aiohttp import web

from pinode.apps.app import App
from pinode.apps.checks import check_app_name
from pinode.apps.errors import AppNotFound
from pinode.cluster import Cluster
from pinode.errors import InvalidInput, NotAllowed, NotFound, NotLoggedIn
from pinode.web.bodies import read_body
from pinode.web.caller import (
    FORM_COOKIE,
    SAFE_METHODS,
    Caller,
    caller_of,
    caller_of_git,
    check_not_forged,
    on_socket,
)
from pinode.web.idempotency import answered_once
from pinode.web.operation import OPERATION, operation_of
from pinode.web.pages import problem_page
from pinode.web.problems import REFUSALS, Problem, problem_of, problem_of_http
from pinode.web.routes import Route
from pinode.web.shapes import Record
from pinode.web.site import CALLER, MANAGED_APP, SITE, not_the_owner, site_of, visitor

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Nothing but this site's own files is loaded, run or sent to; nobody shows these pages in a frame.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# No Strict-Transport-Security: it would hold for all ports of the host, where apps answer over plain HTTP.
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def guarded(route: Route) -> Handler:
    """Return the route's handler behind its access rule."""
    declared = operation_of(route.handler)

    async def handle(request: web.Request) -> web.StreamResponse:
        async def answer() -> web.StreamResponse:
            _check_allowed(route, request)
            return await route.handler(request)

        if declared is not None:
            request[OPERATION] = declared
        try:
            await _check_caller(route, request)
            has_body = not _is_streamed(route, request)
            return await answered_once(request, declared, answer, has_body=has_body)
        except NotLoggedIn as error:
            if route.is_page:
                raise web.HTTPSeeOther(_login_address(request)) from error
            return _problem(request, problem_of(error), is_page=route.is_page)
        except REFUSALS as error:
            return _problem(request, problem_of(error), is_page=route.is_page)

    async def handle_git(request: web.Request) -> web.StreamResponse:
        try:
            _check_git(request)
            return await route.handler(request)
        except REFUSALS as error:
            return _problem_for_git(problem_of(error))

    return handle_git if route.access == "git" else handle


@web.middleware
async def answer_always(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what aiohttp refuses, and our own bugs, into an answer like all others."""
    is_page = not request.path.startswith(("/api/", "/static/", "/healthz", "/readyz", "/ca.pem", "/git/"))
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _problem(request, problem_of_http(error, request.path), is_page=is_page)
    except ConnectionError:
        raise  # who asked is gone; there is nobody to answer
    except Exception:  # one request must not end the node; the traceback says which bug it was
        logger.exception("request failed method=%s path=%s", request.method, request.path)
        problem = Problem(
            status=500, code="bug", message="something went wrong on this node; its log has the details."
        )
        return _problem(request, problem, is_page=is_page)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Before any answer is sent: what browsers must not do with it, and whether it may be out of date."""
    response.headers.update(SECURITY_HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
    if not request.app[SITE].cluster.has_quorum:
        response.headers["Pinode-Stale"] = "1"


def _check_git(request: web.Request) -> None:
    """Raises `NotLoggedIn`, and `AppNotFound` for whatever app the caller may not push to."""
    cluster, name = site_of(request).cluster, request.match_info["app"]
    caller = request[CALLER] = caller_of_git(request, cluster)
    try:
        request[MANAGED_APP] = app_managed_by(cluster, caller, name)
    except (NotAllowed, InvalidInput, NotFound) as error:
        raise AppNotFound(app=name) from error


async def _check_caller(route: Route, request: web.Request) -> None:
    cluster = site_of(request).cluster
    if route.access == "local" and not on_socket(request):
        raise NotFound("this is answered on the node's own socket only.", hint="Run the command on the node.")
    caller = _checked_caller(route, request, cluster)
    if request.method not in SAFE_METHODS and not _is_streamed(route, request):
        await read_body(request)
        caller = _checked_caller(route, request, cluster)  # a login can end while a body arrives
    if caller is not None:
        request[CALLER] = caller
    if request.method not in SAFE_METHODS:
        if caller is not None and caller.by == "session":
            await check_not_forged(request, caller.secret)
        elif caller is None and route.is_page:
            await check_not_forged(request, request.cookies.get(FORM_COOKIE))


def _is_streamed(route: Route, request: web.Request) -> bool:
    """Whether the handler reads the body piece by piece: not the JSON of a route that takes that too."""
    declared = operation_of(route.handler)
    if declared is not None and isinstance(declared.body, Record):
        others = [one.media_type for one in declared.other_bodies]
        return route.streams_body and request.content_type in others
    return route.streams_body


def _check_allowed(route: Route, request: web.Request) -> None:
    caller = visitor(request)
    if route.access == "admin" and not (caller and caller.is_admin):
        raise NotAllowed("this is for administrators.", hint="Ask one.")
    if route.access == "app":
        assert caller is not None
        request[MANAGED_APP] = app_managed_by(site_of(request).cluster, caller, request.match_info["app"])


def _checked_caller(route: Route, request: web.Request, cluster: Cluster) -> Caller | None:
    """Who asks; nobody only where anybody may. Raises `NotLoggedIn`."""
    try:
        caller = caller_of(request, cluster)
    except NotLoggedIn:
        if route.access == "public":
            return None
        raise
    if caller is None and route.access != "public":
        raise NotLoggedIn(
            "you are not logged in.", hint="Log in, or send a token: POST /api/v1/sessions gives one."
        )
    return caller


def app_managed_by(cluster: Cluster, caller: Caller, name: str) -> App:
    """Return the app, if the caller may manage it. Raises `InvalidName`, `AppNotFound` or `NotAllowed`."""
    check_app_name(name)
    app = cluster.state.registry.app(name)
    if app is None:
        raise AppNotFound(app=name)
    if not caller.is_admin and app.owner != caller.name:
        raise not_the_owner(app)
    return app


def _login_address(request: web.Request) -> str:
    if request.path == "/" or request.method not in SAFE_METHODS:
        return "/login"
    return f"/login?next={quote(request.path_qs, safe='/')}"


def _problem(request: web.Request, problem: Problem, *, is_page: bool) -> web.Response:
    if is_page:
        return problem_page(request, problem)
    return web.json_response(problem.document(), status=problem.status, headers=problem.headers())


def _problem_for_git(problem: Problem) -> web.Response:
    """As text, which git shows line by line; a 401 makes it ask for, or look up, a password."""
    text = "\n".join(line for line in (problem.message, problem.hint) if line)
    headers = dict(problem.headers())
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="pinode"'
    return web.Response(text=f"{text}\n", status=problem.status, headers=headers)
