"""The pages to register, log in and out."""

import re

from aiohttp import web

from pinode.web.accounts import SESSION_MS, end_session, register_user, start_session
from pinode.web.caller import FORM_COOKIE, SESSION_COOKIE, address_of
from pinode.web.forms import form_of
from pinode.web.pages import forget_cookie, set_cookie, show
from pinode.web.problems import REFUSALS, Problem, problem_of
from pinode.web.site import caller, site_of, visitor

HERE = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,1000}")  # an address on this very site


async def show_login(request: web.Request) -> web.StreamResponse:
    """GET /login"""
    after = _local(request.query.get("next", ""))
    if visitor(request) is not None:
        raise web.HTTPSeeOther(after)
    if not site_of(request).cluster.state.people.has_users:
        raise web.HTTPSeeOther("/register")
    return _login_page(request, username="", after=after)


async def log_in(request: web.Request) -> web.StreamResponse:
    """POST /login"""
    form = await form_of(request)
    after = _local(form.get("next", ""))
    username = form.get("username", "").strip()
    try:
        token = await start_session(
            site_of(request),
            address=address_of(request),
            username=username,
            password=form.get("password", ""),
            label="browser",
        )
    except REFUSALS as error:
        return _login_page(request, username=username, after=after, error=problem_of(error))
    response = web.Response(status=303, headers={"Location": after})
    set_cookie(response, SESSION_COOKIE, token, max_age=SESSION_MS // 1000)
    forget_cookie(response, FORM_COOKIE)
    return response


async def log_out(request: web.Request) -> web.StreamResponse:
    """POST /logout"""
    await end_session(site_of(request), caller(request))
    response = web.Response(status=303, headers={"Location": "/login"})
    forget_cookie(response, SESSION_COOKIE)
    return response


async def show_register(request: web.Request) -> web.StreamResponse:
    """GET /register"""
    return _register_page(request, {})


async def register(request: web.Request) -> web.StreamResponse:
    """POST /register"""
    form = await form_of(request)
    try:
        await register_user(
            site_of(request),
            address=address_of(request),
            by=None,
            username=form.get("username", "").strip(),
            password=form.get("password", ""),
            email=form.get("email", "").strip() or None,
            setup_code=form.get("setup_code", ""),
        )
    except REFUSALS as error:
        return _register_page(request, form, problem_of(error))
    raise web.HTTPSeeOther("/login?note=registered")


def _login_page(
    request: web.Request, *, username: str, after: str, error: Problem | None = None
) -> web.Response:
    site = site_of(request)
    return show(
        request,
        "login",
        code=error.status if error else 200,
        error=error,
        values={"username": username, "next": after},
        is_new=not site.cluster.state.people.has_users,
        ca_fingerprint=site.ca_fingerprint,
    )


def _register_page(request: web.Request, form: dict[str, str], error: Problem | None = None) -> web.Response:
    return show(
        request,
        "register",
        code=error.status if error else 200,
        error=error,
        values={name: form.get(name, "") for name in ("setup_code", "username", "email")},
        is_new=not site_of(request).cluster.state.people.has_users,
    )


def _local(address: str) -> str:
    return address if HERE.fullmatch(address) else "/"
