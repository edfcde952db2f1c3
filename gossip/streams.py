"""Full exchanges over TCP for programs that have no links of their own, sealed with a shared key.

The side that listens begins with a fresh value, the side that calls adds one; the keys of both directions
follow from the shared key and both values. So a recording opens nothing on either side, and who does not have
the key can neither read nor answer.

    listener → 16 random bytes;  caller → 16 random bytes, frame;  listener → frame
    frame: length 4, encrypted state, tag 16
"""

import asyncio
import logging
import struct
from collections.abc import Callable
from random import Random

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from gossip.codec import MAX_STATE_BYTES
from gossip.member import Address
from gossip.messages import GossipError
from gossip.sealing import TAG_BYTES, Derive

logger = logging.getLogger(__name__)

VALUE_BYTES = 16
LENGTH = struct.Struct(">I")
NONCE = bytes(12)  # every key is used once
MAX_CALLERS = 32
CALL_SECONDS = 5.0


class SealedStreams:
    """`exchange` is what `Gossip` wants; `serve` answers the others' at the same port."""

    def __init__(self, *, derive: Derive, random: Random) -> None:
        self._derive = derive
        self._random = random  # must be the system's
        self._callers = 0

    async def exchange(self, host: str, port: int, payload: bytes) -> bytes:
        """Give our state, return theirs. Raises `OSError` or `EOFError`."""
        reader, writer = await asyncio.open_connection(host, port)
        try:
            values = await reader.readexactly(VALUE_BYTES)
            own = self._random.randbytes(VALUE_BYTES)
            values += own
            writer.write(own + self._sealed(payload, b"ask", values))
            return await self._read(reader, b"answer", values)
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
        state = await self._read(reader, b"ask", values)
        writer.write(self._sealed(answer(state), b"answer", values))
        await writer.drain()

    def _sealed(self, payload: bytes, direction: bytes, values: bytes) -> bytes:
        body = self._cipher(direction, values).encrypt(NONCE, payload, None)
        return LENGTH.pack(len(body)) + body

    async def _read(self, reader: asyncio.StreamReader, direction: bytes, values: bytes) -> bytes:
        (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
        if not TAG_BYTES <= length <= MAX_STATE_BYTES + TAG_BYTES:
            raise ConnectionError(f"a frame of {length} bytes")
        try:
            return self._cipher(direction, values).decrypt(NONCE, await reader.readexactly(length), None)
        except InvalidTag as error:
            raise ConnectionError("the other side has not the same key") from error

    def _cipher(self, direction: bytes, values: bytes) -> ChaCha20Poly1305:
        return ChaCha20Poly1305(self._derive(b"stream " + direction + values))
