"""Who asks and does not read the answers is cut off: nothing piles up for it in a node."""

import asyncio
import socket
from pathlib import Path

from replicated_queue.client_server import ClientConnection, queue_protocol
from replicated_queue.queue.views import MAX_PAGE_BYTES
from replicated_queue.request_codec import LENGTH, encode_ask, encode_hello
from replicated_queue.requests import Hello, ReadJobs
from tests.replicated_queue.fake_group import FakeGroup
from tests.waiting import eventually


async def _anybody(token: bytes) -> bool:
    return True


def framed(frame: bytes) -> bytes:
    return LENGTH.pack(len(frame)) + frame


async def test_a_client_that_reads_no_answers_is_cut_off_and_others_are_served(tmp_path: Path) -> None:
    """Checklist 3.14: cut, not buffered."""
    async with FakeGroup(size=1) as group:
        broker, loop = group.brokers[1], asyncio.get_running_loop()
        await broker.put_many("mail", [bytes(60_000)] * 16)
        made: list[ClientConnection] = []
        door = queue_protocol(broker, authenticate=_anybody, patience_seconds=0.3)

        def accept() -> ClientConnection:
            made.append(door())
            return made[-1]

        server = await loop.create_unix_server(accept, tmp_path / "queue.sock")
        deaf = socket.socket(socket.AF_UNIX)
        deaf.setblocking(False)
        await loop.sock_connect(deaf, str(tmp_path / "queue.sock"))
        await loop.sock_sendall(deaf, framed(encode_hello(Hello(b"", b"c" * 16))))
        await eventually(lambda: made and made[0]._is_welcome)
        asks = [framed(encode_ask(number, 1_000, ReadJobs("mail"))) for number in range(300)]
        await loop.sock_sendall(deaf, b"".join(asks))  # all of them are proven current at once

        transport, writer = made[0]._transport, made[0]._writer
        assert transport is not None and writer is not None
        most_bytes = 0

        def is_cut() -> bool:
            nonlocal most_bytes
            kept = transport.get_write_buffer_size() + sum(map(len, writer._frames))
            most_bytes = max(most_bytes, kept)
            return transport.is_closing()

        await eventually(is_cut)
        assert MAX_PAGE_BYTES / 2 < most_bytes <= 2 * MAX_PAGE_BYTES
        assert await broker.put("mail", b"still served")
        deaf.close()
        server.close()
