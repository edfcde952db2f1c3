"""The page about oneself: the tokens one has; and for administrators who else there is."""

from typing import Any

from aiohttp import web

from pinode.web.accounts import register_user
from pinode.web.caller import address_of
from pinode.web.forms import form_of
from pinode.web.pages import show
from pinode.web.problems import REFUSALS, Problem, problem_of
from pinode.web.site import caller, site_of
from pinode.web.tokens_api import DAYS, make_token, revoke, token_document


async def show_account(request: web.Request) -> web.StreamResponse:
    """GET /account"""
    return _page(request)


async def change_tokens(request: web.Request) -> web.StreamResponse:
    """POST /account/tokens {label} or {revoke}: a new one is shown on the page that answers, nowhere else."""
    form, cluster, who = await form_of(request), site_of(request).cluster, caller(request)
    try:
        if "revoke" not in form:
            token, _ = await make_token(cluster, who.name, label=form.get("label", "").strip(), days=DAYS)
            return _page(request, new_token=token)
        await revoke(cluster, who.name, form["revoke"])
    except REFUSALS as error:
        return _page(request, problem_of(error), label=form.get("label", ""))
    raise web.HTTPSeeOther("/account?note=revoked#tokens")


async def add_person(request: web.Request) -> web.StreamResponse:
    """POST /account/people {username, password, email?}"""
    form = await form_of(request)
    try:
        await register_user(
            site_of(request),
            address=address_of(request),
            by=caller(request),
            username=form.get("username", "").strip(),
            password=form.get("password", ""),
            email=form.get("email", "").strip() or None,
            setup_code=None,
        )
    except REFUSALS as error:
        return _page(request, problem_of(error), **form)
    raise web.HTTPSeeOther("/account?note=added#people")


def _page(request: web.Request, error: Problem | None = None, **typed: Any) -> web.Response:
    cluster, who = site_of(request).cluster, caller(request)
    people, now_ms = cluster.state.people, cluster.now_ms
    user = people.user(who.name)
    return show(
        request,
        "account",
        code=error.status if error else 200,
        section="Account",
        error=error,
        email=user.email if user is not None else None,
        tokens=[token_document(token, now_ms) for token in people.tokens_of(who.name, now_ms)],
        new_token=typed.get("new_token"),
        values={name: typed.get(name, "") for name in ("label", "username", "email")},
        people=[
            {
                "name": one.name,
                "role": one.role,
                "email": one.email,
                "age": (now_ms - one.created_at_ms) / 1000,
            }
            for one in people.users()
        ]
        if who.is_admin
        else [],
    )
