"""What all pages share."""

import secrets
from typing import Any
from urllib.parse import quote

from aiohttp import web

from pinode import __version__
from pinode.errors import NotFound
from pinode.web.caller import CSRF_FIELD, FORM_COOKIE, csrf_token
from pinode.web.problems import Problem
from pinode.web.rendering import CONTENT_TYPES
from pinode.web.site import site_of, visitor

YEAR_SECONDS = 365 * 24 * 3600
HEADINGS = {
    403: "Not allowed",
    404: "Not found",
    429: "Too many attempts",
    503: "Not now",
    500: "Something went wrong",
}
NOTES = {
    "deployed": "The build is on its way.",
    "cron-runs": "It runs now; what it says is in the log.",
    "rolled-back": "The release before is coming up again.",
    "restart": "The dynos are started again, one after another.",
    "stop": "The dynos are stopped. A restart, or a deploy, starts them again.",
    "maintenance-on": "Visitors now see a page that says the app is being worked on.",
    "maintenance-off": "Visitors see the app again.",
    "cordon": "The node takes nothing new.",
    "drain": "The node is being emptied: its dynos move, one after another.",
    "uncordon": "The node takes dynos and builds again.",
    "remove": "The node is removed for good. Is it in bad hands? Rotate the cluster key, too.",
    "rotate": "The cluster key is being replaced on all nodes.",
    "scaled": "Scaled. The dynos follow.",
    "configured": "The config vars are changed.",
    "kicked": "The buried jobs are ready again.",
    "cancelled": "The build is cancelled.",
    "cancelling": "The build is being ended.",
    "renamed": "The app has its new name.",
    "destroyed": "The app is destroyed.",
    "revoked": "The token opens nothing any more.",
    "added": "They can log in now. Tell them their password.",
    "registered": "You are registered. Log in.",
}
ADDRESSES = {
    "account": "/account",
    "app": "/apps/{app}",
    "build": "/apps/{app}/builds/{id}",
    "cluster": "/cluster",
    "topic": "/queue/{topic}",
    "problem": "/",
}  # of templates that answer forms, too


def show(request: web.Request, template: str, *, code: int = 200, **values: Any) -> web.Response:
    """A page with what every page needs; a browser without a login gets a cookie that its forms hang on."""
    site, who = site_of(request), visitor(request)
    secret = who.secret if who is not None else request.cookies.get(FORM_COOKIE)
    fresh = secrets.token_urlsafe(24) if secret is None else None
    text = site.rendering.page(
        template,
        caller=who,
        csrf=_hidden_field(csrf_token(fresh or secret or "")),
        cluster_name=site.cluster.cluster_name,
        node_name=site.cluster.node_name,
        version=__version__,
        stale=not site.cluster.has_quorum,
        revision=site.cluster.revision,
        page_address=_address_of(request, template),
        note=NOTES.get(request.query.get("note", "")),
        **{"section": None, "error": None, **values},
    )
    response = web.Response(text=text, content_type="text/html", charset="utf-8", status=code)
    if fresh is not None:
        set_cookie(response, FORM_COOKIE, fresh)
    return response


def set_cookie(response: web.StreamResponse, name: str, value: str, *, max_age: int | None = None) -> None:
    """A cookie that no script reads, no other site sends and no plain connection carries."""
    response.set_cookie(name, value, path="/", secure=True, httponly=True, samesite="Lax", max_age=max_age)


def forget_cookie(response: web.StreamResponse, name: str) -> None:
    """Have the browser drop it."""
    response.set_cookie(name, "", path="/", secure=True, httponly=True, samesite="Lax", max_age=0)


def problem_page(request: web.Request, problem: Problem) -> web.Response:
    """An error that has no form to be shown in."""
    stale_form = "Please send it again" if problem.code == "wrong_csrf_token" else None
    heading = stale_form or HEADINGS.get(problem.status, "That did not work")
    response = show(request, "problem", code=problem.status, error=problem, heading=heading)
    response.headers.update(problem.headers())
    return response


async def static_file(request: web.Request) -> web.StreamResponse:
    """GET /static/{name}: kept by browsers for ever, as its address changes with its content."""
    name = request.match_info["name"]
    if name not in CONTENT_TYPES:
        raise NotFound("there is no such file.")
    return web.Response(
        body=site_of(request).rendering.asset(name),
        content_type=CONTENT_TYPES[name],
        charset="utf-8",
        headers={"Cache-Control": f"public, max-age={YEAR_SECONDS}, immutable"},
    )


def _address_of(request: web.Request, template: str) -> str:
    """Where this page can be fetched again: what answers a form stands at the form's address."""
    if request.method == "GET":
        return str(request.rel_url)
    names = {name: quote(value, safe="") for name, value in request.match_info.items()}
    return ADDRESSES.get(template, request.path).format_map(names)


def _hidden_field(token: str) -> Any:
    from markupsafe import Markup

    return Markup('<input type="hidden" name="{}" value="{}">').format(CSRF_FIELD, token)
