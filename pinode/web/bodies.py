"""Bodies of requests: small ones in memory; pushes and uploads piece by piece, on their way to the disk."""

import asyncio
import zlib
from collections.abc import AsyncIterator

from aiohttp import web

from pinode.errors import InvalidInput, TooLarge
from pinode.web.messages import shown
from pinode.web.site import site_of

IDLE_SECONDS = 60.0  # between two pieces
RECEIVE_SECONDS = 3600.0  # for all of a push or an upload: 500 MiB at about 1 Mbit/s
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
        raise _wrong_coding(coding)
    try:
        async with asyncio.timeout(site_of(request).body_seconds):
            await request.read()
    except TimeoutError as error:
        raise _too_slow() from error


async def plain_body(request: web.Request, *, most_bytes: int) -> bytes:
    """The body of a call that has proven nothing yet, in memory: not packed, and soon here.

    Raises `TooLarge` and `InvalidInput`.
    """
    if (coding := request.headers.get("Content-Encoding", "identity")).lower() != "identity":
        raise _wrong_coding(coding)
    deadline = asyncio.get_running_loop().time() + site_of(request).body_seconds
    return b"".join([data async for data in _pieces(request, most_bytes=most_bytes, deadline=deadline)])


async def body_pieces(request: web.Request, *, most_bytes: int) -> AsyncIterator[bytes]:
    """The body, unpacked where it is packed with gzip, in pieces of at most 256 KiB.

    Raises `TooLarge`, and `InvalidInput` when it comes too slowly or is packed otherwise. A client that goes
    away in the middle ends the request.
    """
    total = 0
    async for data in _unpacked(request, most_bytes=most_bytes):
        total += len(data)
        if total > most_bytes:
            raise _too_large(most_bytes)
        yield data


async def _unpacked(request: web.Request, *, most_bytes: int) -> AsyncIterator[bytes]:
    deadline = asyncio.get_running_loop().time() + RECEIVE_SECONDS
    pieces = _pieces(request, most_bytes=most_bytes, deadline=deadline)
    coding = request.headers.get("Content-Encoding", "identity").lower()
    if coding == "identity":
        async for data in pieces:
            yield data
        return
    if coding not in ("gzip", "x-gzip"):
        raise _wrong_coding(coding)
    unpacker = zlib.decompressobj(GZIP_WINDOW)
    async for data in pieces:
        if unpacker.eof:
            raise InvalidInput("something follows what gzip made.")
        while data:
            try:
                yield unpacker.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise InvalidInput("the body is not what gzip makes.") from error
            if unpacker.unused_data:  # zlib would keep all of it, and copy it at each call
                raise InvalidInput("something follows what gzip made.")
            data = unpacker.unconsumed_tail
            await asyncio.sleep(0)  # a little packed data makes much work
    if not unpacker.eof:
        raise InvalidInput("the body is not what gzip makes: it ends too early.")


async def _pieces(request: web.Request, *, most_bytes: int, deadline: float) -> AsyncIterator[bytes]:
    """What the client sends, as it is; `deadline` for all of it, by the event loop's clock."""
    loop, received = asyncio.get_running_loop(), 0
    while True:
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + IDLE_SECONDS)):
                data = await request.content.read(PIECE_BYTES)
        except TimeoutError as error:
            raise _too_slow() from error
        if not data:
            return
        received += len(data)
        if received > most_bytes:
            raise _too_large(most_bytes)
        yield data


def _too_slow() -> InvalidInput:
    return InvalidInput("the request's body came too slowly.", code="too_slow")


def _too_large(most_bytes: int) -> TooLarge:
    return TooLarge(f"the request's body is larger than {most_bytes // MIB} MiB.")


def _wrong_coding(coding: str) -> InvalidInput:
    return InvalidInput(
        f"a body packed with {shown(coding)} is not taken.", hint="Send it plain.", code="wrong_media_type"
    )
