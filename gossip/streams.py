"""Full exchanges over TCP for programs that have no links of their own, sealed with a shared key.

The side that listens begins with a fresh value, the side that calls adds one; the keys of both directions
follow from the caller's key in use and both values. So a recording opens nothing on either side, and who does
not have the key can neither read nor answer.

    listener → 16 random bytes;  caller → 16 random bytes, frame;  listener → frame
    frame: length 4, encrypted state, tag 16
"""

import asyncio
import logging
import struct
from collections.abc import Callable, Mapping
from random import Random

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from gossip.codec import MAX_STATE_BYTES
from gossip.keys import KeyRing
from gossip.member import Address
from gossip.messages import GossipError
from gossip.sealing import TAG_BYTES

logger = logging.getLogger(__name__)

VALUE_BYTES = 16
LENGTH = struct.Struct(">I")
NONCE = bytes(12)  # every key is used once
MAX_CALLERS = 32
CALL_SECONDS = 5.0


class SealedStreams:
    """`exchange` is what `Gossip` wants; `serve` answers the others' at the same port."""

    def __init__(self, *, keys: KeyRing, random: Random) -> None:
        self._keys = keys
        self._random = random  # must be the system's
        self._callers = 0

    async def exchange(self, host: str, port: int, payload: bytes) -> bytes:
        """Give our state, return theirs. Raises `OSError` or `EOFError`."""
        reader, writer = await asyncio.open_connection(host, port)
        try:
            values = await reader.readexactly(VALUE_BYTES)
            own = self._random.randbytes(VALUE_BYTES)
            values += own
            mark = self._keys.in_use
            answering = self._cipher(mark, b"answer", values)
            writer.write(own + self._sealed(payload, self._cipher(mark, b"ask", values)))
            _, answer = _opened(await _read(reader), {mark: answering})
            return answer
        finally:
            writer.close()

    async def serve(self, bind: Address, answer: Callable[[bytes], bytes]) -> None:
        """Answer until cancelled. Raises `OSError` when `bind` is taken."""

        async def call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._callers += 1
            try:
                if self._callers <= MAX_CALLERS:
                    async with asyncio.timeout(CALL_SECONDS):
                        await self._answer(reader, writer, answer)
            except (OSError, EOFError, GossipError) as error:
                logger.debug("exchange refused reason=%r", error)
            finally:
                self._callers -= 1
                writer.close()

        server = await asyncio.start_server(call, *bind)
        async with server:
            await server.serve_forever()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Callable[[bytes], bytes]
    ) -> None:
        own = self._random.randbytes(VALUE_BYTES)
        writer.write(own)
        values = own + await reader.readexactly(VALUE_BYTES)
        frame = await _read(reader)
        mark, state = _opened(frame, {mark: self._cipher(mark, b"ask", values) for mark in self._keys})
        writer.write(self._sealed(answer(state), self._cipher(mark, b"answer", values)))
        await writer.drain()

    def _sealed(self, payload: bytes, cipher: ChaCha20Poly1305) -> bytes:
        body = cipher.encrypt(NONCE, payload, None)
        return LENGTH.pack(len(body)) + body

    def _cipher(self, mark: str, direction: bytes, values: bytes) -> ChaCha20Poly1305:
        return ChaCha20Poly1305(self._keys.derive(mark, b"stream " + direction + values))


async def _read(reader: asyncio.StreamReader) -> bytes:
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    if not TAG_BYTES <= length <= MAX_STATE_BYTES + TAG_BYTES:
        raise ConnectionError(f"a frame of {length} bytes")
    return await reader.readexactly(length)


def _opened(frame: bytes, ciphers: Mapping[str, ChaCha20Poly1305]) -> tuple[str, bytes]:
    """By which of the keys it opens, and what it says."""
    for mark, cipher in ciphers.items():
        try:
            return mark, cipher.decrypt(NONCE, frame, None)
        except InvalidTag:
            continue
    raise ConnectionError("the other side has none of our keys")
