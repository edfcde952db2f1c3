"""Large bodies: unpacked on their way, bounded in what comes and in what it becomes, and in time."""

import gzip
import os
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from pinode.errors import InvalidInput, TooLarge
from pinode.web.bodies import body_pieces

BOUND = 1024 * 1024
PACKED = {"Content-Encoding": "gzip"}


async def count(request: web.Request) -> web.Response:
    """How many bytes came out, or why none did."""
    try:
        sizes = [len(piece) async for piece in body_pieces(request, most_bytes=BOUND)]
    except (InvalidInput, TooLarge) as refused:
        return web.Response(status=400, text=refused.message)
    return web.Response(text=str(sum(sizes)))


@pytest.fixture
async def client() -> AsyncIterator[TestClient[web.Request, web.Application]]:
    application = web.Application()
    application.router.add_post("/", count)
    server = TestServer(application)
    await server.start_server(auto_decompress=False)  # as the web server: packed until it is read in pieces
    async with TestClient(server) as client:
        yield client


async def said(client: TestClient[web.Request, web.Application], body: bytes, *, packed: bool = True) -> str:
    answer = await client.post("/", data=body, headers=PACKED if packed else {})
    return await answer.text()


async def test_a_packed_body_is_unpacked_and_a_plain_one_left_alone(
    client: TestClient[web.Request, web.Application],
) -> None:
    content = os.urandom(700_000)

    assert await said(client, gzip.compress(content)) == "700000"
    assert await said(client, content, packed=False) == "700000"


async def test_what_follows_a_packed_body_is_refused_and_not_kept(
    client: TestClient[web.Request, web.Application],
) -> None:
    packed = gzip.compress(b"x")

    assert "follows" in await said(client, packed + b"garbage" * 100_000)
    assert "follows" in await said(client, packed + gzip.compress(b"y"))


async def test_a_body_is_bounded_as_it_comes_and_as_it_is_unpacked(
    client: TestClient[web.Request, web.Application],
) -> None:
    empty_blocks = gzip.compress(b"")[:10] + b"\x00\x00\x00\xff\xff" * 300_000  # never gives a byte

    assert "larger than 1 MiB" in await said(client, gzip.compress(bytes(50_000_000)))
    assert "larger than 1 MiB" in await said(client, empty_blocks)
    assert "larger than 1 MiB" in await said(client, bytes(BOUND + 1), packed=False)
