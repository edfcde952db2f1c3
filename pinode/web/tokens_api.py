"""The API about tokens: what programs, and git, log in with."""

import re
from typing import Any

from aiohttp import web

from pinode.cluster import Cluster
from pinode.errors import InvalidInput, NotFound
from pinode.people.commands import EndSession, StartSession
from pinode.people.user import Session
from pinode.web.answer_shapes import TOKEN
from pinode.web.caller import new_token, token_hash
from pinode.web.messages import answer, json_body, list_answer, nothing, number_of, shown, text_of
from pinode.web.operation import Repeated, operation
from pinode.web.shapes import TEXT, Record, maybe, page_of, whole
from pinode.web.site import caller, site_of

DAY_MS = 24 * 3600 * 1000
DAYS = 365
DAYS_AT_MOST = 400
LABEL_CHARACTERS = 100


@operation("One's own tokens", is_paged=True, answers={200: page_of(TOKEN)})
async def list_tokens(request: web.Request) -> web.StreamResponse:
    """GET /tokens: the caller's own; what proves them is shown once only, when they are made"""
    cluster = site_of(request).cluster
    found = cluster.state.people.tokens_of(caller(request).name, cluster.now_ms)
    return list_answer(request, [token_document(session, cluster.now_ms) for session in found])


@operation(
    "Make a token, which is shown this once",
    body=Record({}, {"label": maybe(TEXT), "expires_days": maybe(whole(1, DAYS_AT_MOST))}),
    needs_body=False,
    repeated=Repeated.SECRET,
    answers={201: Record({**TOKEN.fields, "token": TEXT})},
)
async def create_token(request: web.Request) -> web.StreamResponse:
    """POST /tokens {label?, expires_days?} → 201 {id, token, …}"""
    body = await json_body(request)
    days = number_of(body, "expires_days", default=DAYS)
    if not 1 <= days <= DAYS_AT_MOST:
        raise InvalidInput(f"expires_days is {days}, not from 1 to {DAYS_AT_MOST}.")
    cluster, label = site_of(request).cluster, text_of(body, "label", default=None) or ""
    token, made = await make_token(cluster, caller(request).name, label=label, days=days)
    document = {} if made is None else token_document(made, cluster.now_ms)
    return answer({**document, "token": token}, status=201)


@operation("Revoke one", answers={204: None})
async def revoke_token(request: web.Request) -> web.StreamResponse:
    """DELETE /tokens/{id}"""
    await revoke(site_of(request).cluster, caller(request).name, request.match_info["token"])
    return nothing()


async def make_token(cluster: Cluster, user: str, *, label: str, days: int) -> tuple[str, Session | None]:
    """A new token of `user`, and what is remembered of it. Raises `TooManyTokens`."""
    token = new_token()
    await cluster.execute(
        StartSession(
            token_hash=token_hash(token),
            user=user,
            lifetime_ms=days * DAY_MS,
            label=(label or "token")[:LABEL_CHARACTERS],
            is_token=True,
        )
    )
    return token, cluster.state.people.session(token_hash(token), cluster.now_ms)


async def revoke(cluster: Cluster, user: str, token_id: str) -> None:
    """End a token of `user`. Raises `NotFound`."""
    found = cluster.state.people.tokens_of(user, cluster.now_ms)
    session = next((one for one in found if one.id == token_id), None)
    if session is None or not re.fullmatch(r"[0-9a-f]{12}", token_id):
        raise NotFound(
            f"you have no token {shown(token_id)}.",
            hint="`pinode tokens` lists them.",
            code="token_not_found",
        )
    await cluster.execute(EndSession(token_hash=session.token_hash))


def token_document(session: Session, now_ms: int) -> dict[str, Any]:
    """A token as its owner sees it; what proves it is nowhere."""
    return {
        "id": session.id,
        "label": session.label,
        "created_at_ms": session.created_at_ms,
        "age_seconds": max(0.0, (now_ms - session.created_at_ms) / 1000),
        "expires_in_seconds": max(0.0, (session.expires_at_ms - now_ms) / 1000),
    }
