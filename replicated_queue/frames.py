"""Length-prefixed frames over a stream, joined so that one turn of the loop makes one write."""

import asyncio
from collections.abc import Iterator

from replicated_queue.errors import MalformedMessage
from replicated_queue.request_codec import LENGTH, MAX_FRAME_BYTES

MAX_UNSENT_BYTES = 4 * 1024 * 1024  # a reader that lets so much pile up is cut off


class FrameReader:
    """Cuts what a socket gave into frames of at most `most_bytes`; raised once its sender is known."""

    def __init__(self, most_bytes: int = MAX_FRAME_BYTES) -> None:
        self.most_bytes = most_bytes
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that are complete now. Raises `MalformedMessage` for one over its bound."""
        buffer = self._rest + data if self._rest else data
        position = 0
        while len(buffer) - position >= LENGTH.size:
            (length,) = LENGTH.unpack_from(buffer, position)
            if length > self.most_bytes:
                self._rest = b""
                raise MalformedMessage(f"a frame of {length} bytes, more than {self.most_bytes}")
            end = position + LENGTH.size + length
            if end > len(buffer):
                break
            yield buffer[position + LENGTH.size : end]
            position = end
        self._rest = buffer[position:]


class FrameWriter:
    """Collects frames and writes them once in the loop's next turn, or at once with what was collected."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        self._frames: list[bytes] = []

    def write(self, frame: bytes, *, at_once: bool = False) -> None:
        """`at_once` is for the last of what goes together."""
        if not self._frames and not at_once:
            asyncio.get_running_loop().call_soon(self.flush)
        self._frames += (LENGTH.pack(len(frame)), frame)
        if at_once:
            self.flush()

    def flush(self) -> None:
        """Write now what was collected."""
        if not self._frames:
            return
        data = b"".join(self._frames)
        self._frames.clear()
        if self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self._transport.abort()
            return
        self._transport.write(data)
