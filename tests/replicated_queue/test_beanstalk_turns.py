"""A beanstalk client that asks much at once leaves the others their turns."""

import asyncio
import socket
from types import SimpleNamespace
from typing import Any, cast

from replicated_queue.beanstalk.connection import ANSWERS_A_TURN, MAX_AHEAD_BYTES, Connection
from replicated_queue.beanstalk.listening import listen
from replicated_queue.beanstalk.session import Session
from replicated_queue.queue.job import Job
from tests.waiting import eventually


class Wire(asyncio.Transport):
    """What was written, and whether the client is read."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0
        self.is_read = True

    def write(self, data: Any) -> None:
        self.written += 1

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True


async def _answer(request: object) -> bytes:
    return b"UNKNOWN_COMMAND\r\n"


async def _close(*, was_reserving: bool) -> None:
    pass


def connected() -> tuple[Connection, Wire]:
    hall = SimpleNamespace(enter=lambda session: True, leave=lambda session: None)
    session = SimpleNamespace(answer=_answer, close=_close)
    connection = Connection(cast(Any, hall), cast(Any, session), spawn=asyncio.ensure_future)
    wire = Wire()
    connection.connection_made(wire)
    return connection, wire


async def test_what_is_answered_without_waiting_is_answered_in_parts() -> None:
    connection, wire = connected()
    connection.data_received(b"\r\n" * 1_000)
    parts = []

    while wire.written < 1_000:
        before = wire.written
        await asyncio.sleep(0)
        parts.append(wire.written - before)

    assert max(parts) <= ANSWERS_A_TURN
    connection.connection_lost(None)


async def test_a_client_that_is_ahead_is_not_read_until_all_of_it_was_answered() -> None:
    connection, wire = connected()
    connection.data_received(b"use a\r\n" * (MAX_AHEAD_BYTES // 7 + 1))
    assert not wire.is_read

    await eventually(lambda: wire.is_read, within_seconds=20)

    assert wire.written == MAX_AHEAD_BYTES // 7 + 1
    connection.connection_lost(None)


async def test_a_client_that_leaves_forgets_nothing_of_who_has_its_job_now() -> None:
    hall = SimpleNamespace(clock=lambda: 100.0, deadlines={})
    first, second = (Session(cast(Any, hall), worker=worker) for worker in ("w1", "w2"))
    first._hold(Job(1, "mail", b"", 0, 1, 5, 10.0))
    second._hold(Job(1, "mail", b"", 0, 2, 6, 20.0))

    first._drop(1)
    assert hall.deadlines == {1: 120.0}
    second._drop(1)
    assert hall.deadlines == {}


async def test_the_kernel_finds_out_that_a_client_is_silent_for_ever() -> None:
    listener = listen("127.0.0.1", 0)
    client = socket.create_connection(listener.getsockname())
    accepted, _ = listener.accept()

    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60

    for each in (client, accepted, listener):
        each.close()
