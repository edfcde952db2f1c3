"""A log that is written beside the event loop: an SD card may stall for seconds, and nobody waits for it."""

import asyncio
from pathlib import Path
from types import TracebackType


class LogFile:
    """A new file at `path`; `write` returns at once, the end of the `async with` block when all is
    written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[str] = []
        self._news = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._is_closed = False

    async def __aenter__(self) -> "LogFile":
        await asyncio.to_thread(self._path.write_bytes, b"")
        self._writer = asyncio.create_task(self._write_all(), name=f"log {self._path.name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._writer is not None
        self._is_closed = True
        self._news.set()
        await self._writer

    def write(self, line: str) -> None:
        """Add a line."""
        self._waiting.append(line + "\n")
        self._news.set()

    async def _write_all(self) -> None:
        with await asyncio.to_thread(self._path.open, "ab") as file:
            while self._waiting or not self._is_closed:
                await self._news.wait()
                self._news.clear()
                text, self._waiting = "".join(self._waiting), []
                await asyncio.to_thread(file.write, text.encode("utf-8", "replace"))
                await asyncio.to_thread(file.flush)
                if self._is_closed:
                    self._news.set()
