"""The API about people: registering, logging in and out, who am I."""

from aiohttp import web

from pinode.web.accounts import end_session, register_user, start_session
from pinode.web.answer_shapes import ROLE, USER, USER_NAME_TEXT
from pinode.web.caller import address_of
from pinode.web.messages import answer, json_body, nothing, text_of
from pinode.web.operation import Repeated, operation
from pinode.web.shapes import SECRET, TEXT, Record, maybe, one_of
from pinode.web.site import caller, site_of, visitor

LABEL_CHARACTERS = 100


@operation(
    "Register; the first user needs the setup code, later ones an administrator",
    body=Record(
        {"username": USER_NAME_TEXT, "password": SECRET}, {"email": maybe(TEXT), "setup_code": maybe(SECRET)}
    ),
    answers={201: USER},
    refusals=(401, 429),
)
async def register(request: web.Request) -> web.StreamResponse:
    """POST /users {username, password, email?, setup_code?}"""
    body = await json_body(request)
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


@operation(
    "Log in",
    body=Record({"username": TEXT, "password": SECRET}, {"label": maybe(TEXT)}),
    repeated=Repeated.SECRET,
    answers={201: Record({"token": TEXT, "username": TEXT})},
    refusals=(401, 429),
)
async def log_in(request: web.Request) -> web.StreamResponse:
    """POST /sessions {username, password} → {token}"""
    body = await json_body(request)
    username = text_of(body, "username")
    token = await start_session(
        site_of(request),
        address=address_of(request),
        username=username,
        password=text_of(body, "password"),
        label=(text_of(body, "label", default=None) or "api")[:LABEL_CHARACTERS],
    )
    return answer({"token": token, "username": username}, status=201)


@operation("End the login this request came with", repeated=Repeated.AGAIN, answers={204: None})
async def log_out(request: web.Request) -> web.StreamResponse:
    """DELETE /sessions: the login this request came with."""
    await end_session(site_of(request), caller(request))
    return nothing()


@operation(
    "Who asks",
    answers={
        200: Record(
            {"username": TEXT, "role": ROLE, "email": maybe(TEXT), "by": one_of("session", "token", "socket")}
        )
    },
)
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
