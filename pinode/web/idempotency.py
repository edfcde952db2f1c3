"""`Idempotency-Key`: a write that is repeated under one key is done once, and answered as the first time.

What a request asks of the cluster goes into the log under the key (`under_key`): each node remembers its
first result, and a repeated request is handled with these results, whatever became of the node that was asked
first. The answer that was made of them is put into the log too, and given again as it was. `Repeated` says
of each operation what of this it needs.
"""

import hashlib
import hmac
import json
import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import cast

import msgpack
from aiohttp import web

from pinode.cluster import Cluster
from pinode.cluster_state import ANSWERS, SAID_BYTES, refusal_of
from pinode.errors import Conflict, InvalidInput
from pinode.web.caller import SAFE_METHODS, address_of
from pinode.web.messages import shown
from pinode.web.operation import Content, Operation, Repeated
from pinode.web.problems import REFUSALS
from pinode.web.shapes import has_secrets, without_secrets
from pinode.web.site import SITE, SITE_UNDER_KEY, Site, visitor
from pinode.web.under_key import ClusterUnderKey, WriteKey
from replicated_queue.errors import KeyReused, QueueError
from replicated_queue.sessions import EXPIRED, NO_ANSWERS, REUSED

logger = logging.getLogger(__name__)

HEADER = "Idempotency-Key"
KEY = web.RequestKey("write_key", WriteKey)
KEEP_SECONDS = 3.0  # for the answer to be agreed on, once all is done
NONCE_BYTES = 16

Answering = Callable[[], Awaitable[web.StreamResponse]]


class AnswerNotKept(Conflict):
    """It was asked before under this key, and what was answered is not known any more, or never was kept."""

    code = "answer_not_kept"

    def __init__(self) -> None:
        super().__init__(
            "this was asked before under the same Idempotency-Key; it was not done again, and what was "
            "answered is not kept.",
            hint="Look at what there is now. To do it again, take another key.",
        )


async def answered_once(
    request: web.Request, declared: Operation | None, answer: Answering, *, has_body: bool
) -> web.StreamResponse:
    """What `answer` gives, or what was answered the first time. Without a key: what it gives.

    `has_body`: the request's body is in memory. Raises `InvalidInput` for what is no key, `KeyReused`,
    `AnswerNotKept`, or what `answer` raises.
    """
    if declared is None or request.method in SAFE_METHODS or HEADER not in request.headers:
        return await answer()
    body = await request.read() if has_body else b""
    key, site = _key_of(request, declared, body), request.app[SITE]
    if declared.repeated is Repeated.AGAIN:
        return await answer()
    if declared.repeated is Repeated.KEPT and has_body:
        if visitor(request) is None:  # who knows the key could try names
            site.tries_by_address.take(address_of(request), now=site.clock())
        kept = await _kept(site, key)
        if kept is not None:
            return kept
    request[KEY] = key
    request[SITE_UNDER_KEY] = replace(site, cluster=cast(Cluster, ClusterUnderKey(site.cluster, key)))
    try:
        answered = await answer()
    except REFUSALS as refusal:
        raise await _instead_of(refusal, site, key, declared) from refusal
    return await _keep(site, key, answered) if declared.repeated is Repeated.KEPT else answered


def covers(request: web.Request, content: bytes) -> None:
    """The body, which was not in memory when the request came in, is this."""
    if KEY in request:
        request[KEY].fingerprint = _fingerprint(request, request[KEY].fingerprint.to_bytes(8, "big"), content)


async def begin_once(request: web.Request) -> None:
    """What follows is no change of what is agreed: it is begun once under a key. Raises `AnswerNotKept`."""
    if KEY in request:
        begun = secrets.token_bytes(NONCE_BYTES)
        key, queue = request[KEY], request.app[SITE].cluster.queue
        if await queue.submit(ANSWERS, begun, once=key.next()) != begun:
            raise AnswerNotKept


def _key_of(request: web.Request, declared: Operation, body: bytes) -> WriteKey:
    given, who = request.headers[HEADER], visitor(request)
    if not re.fullmatch(r"[\x21-\x7e]{1,200}", given):
        raise InvalidInput(
            f"the {HEADER} {shown(given)} is not 1 to 200 visible ASCII characters.",
            hint="For example a random UUID.",
            code="invalid_key",
        )
    owner = f"user {who.name if who else ''}".encode()
    name = hashlib.sha256(owner + b"\n" + given.encode()).digest()
    if declared.repeated is Repeated.SECRET:
        return WriteKey(
            name, secrets.randbits(63), owner=owner
        )  # like no other: so a repeated one is refused
    asked = request.method.encode(), request.path_qs.encode(), _told(declared, body)
    return WriteKey(name, _fingerprint(request, *asked), owner=owner)


def _told(declared: Operation, body: bytes) -> bytes:
    """The body without its secrets: of a hash of them, who has a backup could find them by trying."""
    if declared.body is None or isinstance(declared.body, Content) or not has_secrets(declared.body):
        return body
    try:
        return json.dumps(without_secrets(declared.body, json.loads(body)), sort_keys=True).encode()
    except (ValueError, RecursionError):
        return b""  # it is refused where it is read


def _fingerprint(request: web.Request, *parts: bytes) -> int:
    """63 bits of a hash of what is asked for."""
    digest = hmac.new(request.headers[HEADER].encode(), digestmod=hashlib.sha256)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return int.from_bytes(digest.digest()[:8], "big") >> 1


async def _kept(site: Site, key: WriteKey) -> web.Response | None:
    """The first answer, if it is kept. Raises `KeyReused`."""
    await site.cluster.queue.be_current()  # what any node has answered by now is known here then
    said = site.cluster.state.sessions.first_answer(key.answer, now=site.cluster.now_ms)
    if said is REUSED:
        raise KeyReused
    return None if said is EXPIRED else _response(said)


async def _keep(site: Site, key: WriteKey, answered: web.StreamResponse) -> web.StreamResponse:
    """Have the answer remembered; the one that is given: the first."""
    said = _said(answered)
    if said is None:
        return answered
    try:
        first = await site.cluster.queue.submit(ANSWERS, said, once=key.answer, timeout_seconds=KEEP_SECONDS)
    except QueueError as error:
        logger.warning("answer not kept for who repeats the request reason=%s", error)
        return answered
    return answered if first == said else _response(first)


async def _instead_of(refusal: Exception, site: Site, key: WriteKey, declared: Operation) -> Exception:
    """A repeated request may be refused because it was done: that is said then, or why it was not."""
    is_repeated = isinstance(refusal, KeyReused) and declared.repeated is Repeated.SECRET
    if key.asked and not is_repeated:
        return refusal
    await site.cluster.queue.be_current()
    known = site.cluster.state.sessions.first_answer(key.first, now=site.cluster.now_ms, to_any=is_repeated)
    if known in NO_ANSWERS:
        return AnswerNotKept() if is_repeated else refusal
    return refusal_of(known) or AnswerNotKept()


def _said(answered: web.StreamResponse) -> bytes | None:
    """An answer as it is remembered; None for one that is not: a stream, or a long one."""
    if not isinstance(answered, web.Response):
        return None
    body = answered.body if answered.body is not None else b""
    assert isinstance(body, bytes), type(body)
    said: bytes = msgpack.packb((answered.status, answered.headers.get("Content-Type", ""), body))
    return said if len(said) <= SAID_BYTES else None


def _response(said: bytes) -> web.Response:
    status, content_type, body = msgpack.unpackb(said)
    headers = {"Content-Type": content_type} if content_type else {}
    return web.Response(status=status, body=body or None, headers=headers)
