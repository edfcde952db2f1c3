"""Bodies of requests: small ones in memory; pushes and uploads piece by piece, on their way to the disk."""

import asyncio
import zlib
from collections.abc import AsyncIterator

from aiohttp import web

from pinode.errors import InvalidInput, TooLarge
from pinode.web.messages import shown
from pinode.web.site import site_of

IDLE_SECONDS = 60.0  # between two pieces
PIECE_BYTES = 256 * 1024
GZIP_WINDOW = 31  # zlib's way to say: gzip, and nothing else
MIB = 1024 * 1024


async def read_body(request: web.Request) -> None:
    """Have the body here, bounded by size and time; handlers read it again from memory."""
    if request.content_type.startswith("multipart/"):
        raise InvalidInput(
            "files are taken nowhere here.", hint="Send a form or JSON.", code="wrong_media_type"
        )
    if (coding := request.headers.get("Content-Encoding", "identity")) != "identity":
        raise InvalidInput(
            f"a body packed with {shown(coding)} is not taken.",
            hint="Send it plain.",
            code="wrong_media_type",
        )
    try:
        async with asyncio.timeout(site_of(request).body_seconds):
            await request.read()
    except TimeoutError as error:
        raise InvalidInput("the request's body came too slowly.", code="too_slow") from error


async def body_pieces(request: web.Request, *, most_bytes: int) -> AsyncIterator[bytes]:
    """The body, unpacked where it is packed with gzip, in pieces of at most 256 KiB.

    Raises `TooLarge`, and `InvalidInput` when it comes too slowly or is packed otherwise. A client that goes
    away in the middle ends the request.
    """
    total = 0
    async for data in _unpacked(request):
        total += len(data)
        if total > most_bytes:
            raise TooLarge(f"the request's body is larger than {most_bytes // MIB} MiB.")
        yield data


async def _unpacked(request: web.Request) -> AsyncIterator[bytes]:
    coding = request.headers.get("Content-Encoding", "identity").lower()
    if coding == "identity":
        async for data in _pieces(request):
            yield data
        return
    if coding not in ("gzip", "x-gzip"):
        raise InvalidInput(
            f"a body packed with {shown(coding)} is not taken.",
            hint="Send it plain.",
            code="wrong_media_type",
        )
    unpacker = zlib.decompressobj(GZIP_WINDOW)
    async for data in _pieces(request):
        while data:
            try:
                yield unpacker.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise InvalidInput("the body is not what gzip makes.") from error
            data = unpacker.unconsumed_tail
    if not unpacker.eof:
        raise InvalidInput("the body is not what gzip makes: it ends too early.")


async def _pieces(request: web.Request) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                data = await request.content.read(PIECE_BYTES)
        except TimeoutError as error:
            raise InvalidInput("the request's body came too slowly.", code="too_slow") from error
        if not data:
            return
        yield data
