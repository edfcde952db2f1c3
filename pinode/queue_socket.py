"""The queue's door on the node itself: `QueueClient.local()` comes in here, without a token."""

import asyncio
import contextlib
import os
from pathlib import Path

from replicated_queue.broker import Broker
from replicated_queue.client_server import queue_protocol


class QueueSocket:
    """A unix socket that only this node's own user (or root) can open."""

    def __init__(self, broker: Broker, path: Path) -> None:
        self._path = path
        self._door = queue_protocol(broker, authenticate=_whoever_opened_it, platform=True)

    async def run(self) -> None:
        """Serve until cancelled; the file is removed at the end."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()  # of a process that was killed; the data directory is locked by us
        mask = os.umask(0o177)
        try:
            server = await asyncio.get_running_loop().create_unix_server(self._door, str(self._path))
        finally:
            os.umask(mask)
        async with server:
            try:
                await server.serve_forever()
            finally:
                with contextlib.suppress(FileNotFoundError):
                    self._path.unlink()


async def _whoever_opened_it(_: bytes) -> bool:
    return True
