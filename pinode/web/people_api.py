"""The API about people: registering, logging in and out, who am I."""

from aiohttp import web

from pinode.web.accounts import end_session, register_user, start_session
from pinode.web.messages import answer, json_body, nothing, only, text_of
from pinode.web.site import caller, site_of, visitor

LABEL_CHARACTERS = 100


async def register(request: web.Request) -> web.StreamResponse:
    """POST /users {username, password, email?, setup_code?}"""
    body = await json_body(request)
    only(body, "username", "password", "email", "setup_code")
    username = text_of(body, "username")
    await register_user(
        site_of(request),
        address=address_of(request),
        by=visitor(request),
        username=username,
        password=text_of(body, "password"),
        email=text_of(body, "email", default=None),
        setup_code=text_of(body, "setup_code", default=None),
    )
    user = site_of(request).cluster.state.people.user(username)
    assert user is not None
    return answer({"username": user.name, "role": user.role, "email": user.email}, status=201)


async def log_in(request: web.Request) -> web.StreamResponse:
    """POST /sessions {username, password} → {token}"""
    body = await json_body(request)
    only(body, "username", "password", "label")
    username = text_of(body, "username")
    token = await start_session(
        site_of(request),
        address=address_of(request),
        username=username,
        password=text_of(body, "password"),
        label=(text_of(body, "label", default=None) or "api")[:LABEL_CHARACTERS],
    )
    return answer({"token": token, "username": username}, status=201)


async def log_out(request: web.Request) -> web.StreamResponse:
    """DELETE /sessions: the login this request came with."""
    await end_session(site_of(request), caller(request))
    return nothing()


async def me(request: web.Request) -> web.StreamResponse:
    """GET /me"""
    found = caller(request)
    user = site_of(request).cluster.state.people.user(found.name)
    return answer(
        {
            "username": found.name,
            "role": "admin" if found.is_admin else "member",
            "email": user.email if user is not None else None,
            "by": found.by,
        }
    )


def address_of(request: web.Request) -> str:
    """What counts as one guesser: an IPv4 address, the /64 of an IPv6 one."""
    remote = request.remote or "socket"
    return ":".join(remote.split(":")[:4]) if remote.count(":") > 3 else remote
