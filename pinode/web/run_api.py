"""The API about one-off dynos: a command of a person's own in the app's sandbox."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from aiohttp import web

from pinode.dynos.one_off import run_command
from pinode.errors import InvalidInput
from pinode.web.idempotency import begin_once
from pinode.web.messages import json_body, shown, stream_text, text_of
from pinode.web.operation import Content, Repeated, operation
from pinode.web.shapes import FLAG, SECRET, Record
from pinode.web.site import managed_app, site_of


@operation(
    "Run a command in a dyno of its own: lines of JSON, {name}, {output} …, {exit_code}",
    body=Record({"command": SECRET}, {"detach": FLAG}),  # of others: a password may be in it
    repeated=Repeated.BEGUN,
    answers={200: Content("application/x-ndjson")},
    refusals=(429, 502),
)
async def run(request: web.Request) -> web.StreamResponse:
    """POST …/run {command, detach?} → lines of JSON: {name}, {output} …, {exit_code}"""
    body = await json_body(request)
    detach = body.get("detach", False)
    if not isinstance(detach, bool):
        raise InvalidInput(f"detach is {shown(detach)}, neither true nor false.")
    return await stream_text(
        request, _lines(request, text_of(body, "command"), detach=detach), content_type="application/x-ndjson"
    )


async def _lines(request: web.Request, command: str, *, detach: bool) -> AsyncGenerator[bytes, None]:
    cluster, app = site_of(request).cluster, managed_app(request)
    pending = b""
    await begin_once(request)
    async with aclosing(run_command(cluster, app.name, command, detach=detach)) as parts:
        async for kind, data in parts:
            match kind:
                case "name":
                    yield _line({"name": data.decode()})
                case "output":
                    text, pending = _text(pending + data)
                    yield _line({"output": text}) if text else b""
                case "exit":
                    if pending:
                        yield _line({"output": pending.decode("utf-8", "replace")})
                    yield _line({"exit_code": int(data)})
                case _:
                    yield b""


def _text(data: bytes) -> tuple[str, bytes]:
    """Text of bytes that may end within a character, and what is left of that."""
    for cut in range(min(3, len(data)) + 1):
        try:
            return data[: len(data) - cut].decode("utf-8"), data[len(data) - cut :]
        except UnicodeDecodeError:
            continue
    return data.decode("utf-8", "replace"), b""


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"
