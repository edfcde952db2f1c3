"""The API about who is in the cluster; for administrators."""

import secrets

from aiohttp import web

from pinode.errors import InvalidInput
from pinode.operations.join_tokens import make_join_token, revoke_join_tokens
from pinode.peers.join_token import SECRET_BYTES
from pinode.web.messages import answer, json_body, number_of
from pinode.web.operation import operation
from pinode.web.shapes import COUNT, SECONDS, TEXT, Record, maybe, whole
from pinode.web.site import caller, site_of

HOUR_SECONDS = 3600
LONGEST_SECONDS = 30 * 24 * HOUR_SECONDS


@operation(
    "Make a token with which a machine joins; shown this once",
    body=Record({}, {"expires_seconds": maybe(whole(1, LONGEST_SECONDS))}),
    needs_body=False,
    answers={201: Record({"token": TEXT, "expires_in_seconds": SECONDS})},
)
async def create_join_token(request: web.Request) -> web.StreamResponse:
    """POST /join-tokens {expires_seconds?} → 201 {token, expires_in_seconds}; it is shown this once."""
    body = await json_body(request)
    seconds = number_of(body, "expires_seconds", default=HOUR_SECONDS)
    if not 1 <= seconds <= LONGEST_SECONDS:
        raise InvalidInput(f"expires_seconds is {seconds}, not from 1 to {LONGEST_SECONDS} (30 days).")
    made = await make_join_token(
        site_of(request).cluster,
        expires_seconds=seconds,
        secret=secrets.token_bytes(SECRET_BYTES),
        by=caller(request).name,
    )
    return answer({"token": made.text, "expires_in_seconds": made.expires_in_seconds}, status=201)


@operation("Revoke all join tokens", answers={200: Record({"revoked": COUNT})})
async def revoke_tokens(request: web.Request) -> web.StreamResponse:
    """DELETE /join-tokens → {revoked}"""
    return answer({"revoked": await revoke_join_tokens(site_of(request).cluster, by=caller(request).name)})
