"""Requests into values and values into answers: JSON, bounded and checked, what is wrong named."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from aiohttp import web

from pinode.apps.observed import NodeView
from pinode.errors import InvalidInput, NotFound
from pinode.web.operation import OPERATION
from pinode.web.problems import REFUSALS
from pinode.web.shapes import Record
from pinode.web.site import site_of

logger = logging.getLogger(__name__)

T = TypeVar("T")
SHOWN_CHARACTERS = 100  # of an offending value
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
MAX_PAGE = 1000
SECONDS_AT_MOST = 2**32
MISSING = object()
GONE_SECONDS = 2.0  # between looks whether somebody still waits for a long answer


def answer(document: Mapping[str, Any] | Sequence[Any], *, status: int = 200) -> web.Response:
    """JSON."""
    return web.json_response(
        document, status=status, dumps=lambda value: json.dumps(value, ensure_ascii=False)
    )


def list_answer(request: web.Request, items: Sequence[dict[str, Any]]) -> web.Response:
    """One page of a list: `?limit=` items after `?cursor=`, and the cursor of the next page."""
    start = query_number(request, "cursor", default=0, low=0, high=10**9)
    limit = query_number(request, "limit", default=MAX_PAGE, low=1, high=MAX_PAGE)
    end = start + limit
    return answer({"items": items[start:end], "next": str(end) if end < len(items) else None})


def nothing() -> web.Response:
    """Done, and there is nothing to tell."""
    return web.Response(status=204)


async def json_body(request: web.Request) -> dict[str, Any]:
    """The request's JSON object, with no field but what its operation declares: a typing error should not
    be taken for success. Where none is needed, no body is an empty one. Raises `InvalidInput`.
    """
    declared, data = request[OPERATION], await request.read()
    if not data and not declared.needs_body:
        return {}
    try:
        document = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        raise InvalidInput(
            f"the body is not JSON in UTF-8: {reason[:SHOWN_CHARACTERS]}.", code="invalid_json"
        ) from error
    if not isinstance(document, dict):
        raise InvalidInput(f"the body is {shown(document)}, not a JSON object.", code="invalid_json")
    if isinstance(declared.body, Record):
        _only(document, declared.body.names)
    return document


def _only(document: Mapping[str, Any], names: Sequence[str]) -> None:
    for name in document:
        if name not in names:
            known = f"Known are {', '.join(names)}." if names else "It takes none."
            raise InvalidInput(f"unknown field {shown(name)}.", hint=known)


def text_of(document: Mapping[str, Any], name: str, *, default: Any = MISSING) -> Any:
    """A text; `default` where it is missing or null."""
    value = document.get(name)
    if value is None:
        if default is MISSING:
            raise InvalidInput(f"the field {name!r} is missing.")
        return default
    if not isinstance(value, str) or LONE_SURROGATE.search(value):
        raise InvalidInput(f"{name} is {shown(value)}, not a text.")
    return value


def number_of(document: Mapping[str, Any], name: str, *, default: Any = MISSING, whole: bool = True) -> Any:
    """A number; `default` where it is missing or null. Its bounds are checked by whom it concerns."""
    value = document.get(name)
    if value is None:
        if default is MISSING:
            raise InvalidInput(f"the field {name!r} is missing.")
        return default
    allowed = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, allowed) or abs(value) > 2**63:
        raise InvalidInput(f"{name} is {shown(value)}, not a {'whole ' if whole else ''}number.")
    return value


def seconds_of(document: Mapping[str, Any], name: str) -> float | None:
    """A duration; what is far too long for any is refused here, the rest by whom it concerns."""
    value = number_of(document, name, default=None, whole=False)
    if value is not None and not 0 <= value <= SECONDS_AT_MOST:
        raise InvalidInput(f"{name} is {shown(value)}, not from 0 to {SECONDS_AT_MOST}.")
    return None if value is None else float(value)


def texts_of(document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of texts; none where it is missing or null."""
    value = document.get(name)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InvalidInput(f"{name} is {shown(value)}, not a list of texts.")
    return tuple(text_of({name: element}, name) for element in value)


def flag_of(document: Mapping[str, Any], name: str) -> bool | None:
    """True or false; None where it is missing or null."""
    value = document.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidInput(f"{name} is {shown(value)}, neither true nor false.")
    return value


def path_number(request: web.Request, name: str) -> int:
    """The number in the path. Raises `InvalidInput`."""
    text = request.match_info[name]
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise InvalidInput(f"{shown(text)} in the path is not a number.")
    return int(text)


def query_number(request: web.Request, name: str, *, default: int, low: int, high: int) -> int:
    """A number after the question mark."""
    text = request.query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
        raise InvalidInput(f"{name}={shown(text)} is not a number from {low} to {high}.")
    return int(text)


def query_flag(request: web.Request, name: str) -> bool:
    """`?name=1`."""
    text = request.query.get(name, "0")
    if text not in ("0", "1", "true", "false"):
        raise InvalidInput(f"{name}={shown(text)} is neither 0 nor 1.")
    return text in ("1", "true")


def shown(value: object) -> str:
    """An offending value as it stands in a message: quoted and bounded."""
    text = value if isinstance(value, str) else json.dumps(value)
    text = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
    return ascii(text) if LONE_SURROGATE.search(text) or not text.isprintable() else repr(text)


async def stream_text(
    request: web.Request, chunks: AsyncGenerator[bytes, None], *, content_type: str = "text/plain"
) -> web.StreamResponse:
    """Text as it comes; empty chunks are not sent. The first one decides: an answer or an error."""
    with site_of(request).streams.one_more():
        async with aclosing(chunks):
            first = await while_asked(request, anext(chunks, None))
            response = web.StreamResponse(headers={"Content-Type": f"{content_type}; charset=utf-8"})
            await response.prepare(request)
            try:
                await _send_all(request, response, first, chunks)
            except ConnectionResetError:
                pass  # who read has gone
            except REFUSALS as error:
                # An answer without its end is the only way left to say that it is not whole.
                logger.info("stream broke off path=%s error=%s", request.path, error)
                if request.transport is not None:
                    request.transport.abort()
    return response


async def _send_all(
    request: web.Request,
    response: web.StreamResponse,
    chunk: bytes | None,
    chunks: AsyncGenerator[bytes, None],
) -> None:
    while chunk is not None:
        if chunk:
            await response.write(chunk)
        chunk = await while_asked(request, anext(chunks, None))
    await response.write_eof()


async def while_asked(request: web.Request, work: Awaitable[T]) -> T | None:
    """The result of `work`, which is given up when who asked has gone."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=GONE_SECONDS))[0]:
            if is_gone(request):
                return None
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


def is_gone(request: web.Request) -> bool:
    """Whether nobody waits for the answer any more."""
    return request.transport is None or request.transport.is_closing()


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def node_in_path(request: web.Request) -> NodeView:
    """The node in the path. Raises `NotFound`."""
    return node_called(request, request.match_info["node"])


def node_called(request: web.Request, wanted: str) -> NodeView:
    """The node of this name or id. Raises `NotFound`."""
    for node in site_of(request).cluster.nodes():
        if wanted in (node.name, node.node_id):
            return node
    raise NotFound(
        f"there is no node {shown(wanted)}.", hint="`pinode nodes` lists them.", code="node_not_found"
    )
