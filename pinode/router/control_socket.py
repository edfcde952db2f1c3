"""The unix socket between a node and its router; its directory may have a longer path than sockets may."""

import asyncio
import os
import socket
import struct
from pathlib import Path

from pinode.router.control_codec import FRAME_BYTES, LENGTH_BYTES, Control, MalformedControl, decode_control

SOCKET_NAME = "control.sock"


def listen_in(directory: Path) -> socket.socket:
    """Listen on the socket of this directory, in place of one that was left behind."""
    (directory / SOCKET_NAME).unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    handle = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        listening.bind(f"/proc/self/fd/{handle}/{SOCKET_NAME}")
    finally:
        os.close(handle)
    (directory / SOCKET_NAME).chmod(0o600)
    listening.listen(8)
    listening.setblocking(False)
    return listening


async def connect_in(
    directory: Path, *, timeout_seconds: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to whoever listens in this directory. Raises `OSError` or `TimeoutError`."""
    handle = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        async with asyncio.timeout(timeout_seconds):
            return await asyncio.open_unix_connection(f"/proc/self/fd/{handle}/{SOCKET_NAME}")
    finally:
        os.close(handle)


def pid_behind(writer: asyncio.StreamWriter) -> int:
    """The process at the other end, as the kernel says."""
    sock = writer.get_extra_info("socket")
    pid, _, _ = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(pid)


async def read_control(reader: asyncio.StreamReader) -> Control | None:
    """The next message that this program knows; None at the end. Raises `MalformedControl`."""
    while True:
        try:
            length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
            if length > FRAME_BYTES:
                raise MalformedControl(f"a frame of {length} bytes")
            message = decode_control(await reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        if message is not None:
            return message
