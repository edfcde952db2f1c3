"""Whether a dyno answers: any HTTP answer on its own port is one."""

import asyncio
from dataclasses import dataclass

from pinode.dynos.proc import listening_ports
from pinode.dynos.process import DynoProcess

CONNECT_SECONDS = 0.5
ANSWER_SECONDS = 5.0
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Health:
    """What a look at a dyno found; `reason` says what is wrong, for people."""

    answers: bool
    reason: str = ""


async def look(process: DynoProcess, *, port: int, host: str, is_last: bool) -> Health:
    """Ask the dyno on `port` as `host`, once. The last time, find out where it listens instead."""
    health = await _look(process, port=port, host=host)
    if health.answers or not is_last:
        return health
    others = await asyncio.to_thread(_ports_of, process)
    if port in others or not others:
        return health
    named = ", ".join(str(found) for found in sorted(others))
    return Health(False, f"it listens on {named} instead of {port}. Let it use the environment variable PORT")


async def _look(process: DynoProcess, *, port: int, host: str) -> Health:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
    except (OSError, TimeoutError):
        return Health(False, f"nothing listens on {port}")
    try:
        if port not in await asyncio.to_thread(_ports_of, process):
            return Health(False, f"port {port} is held by another program")
        request = (
            f"GET / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: pinode-health\r\nAccept: */*\r\n"
            "X-Forwarded-Proto: https\r\nConnection: close\r\n\r\n"
        )
        writer.write(request.encode())
        async with asyncio.timeout(ANSWER_SECONDS):
            start = await reader.readexactly(5)
        return Health(start == b"HTTP/", f"what answers on {port} does not speak HTTP")
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return Health(False, f"it listens on {port} and does not answer")
    finally:
        writer.transport.abort()


def _ports_of(process: DynoProcess) -> set[int]:
    return listening_ports(process.pids())


def is_listening(process: DynoProcess, port: int) -> bool:
    """Whether the dyno itself listens on the port, as the kernel says."""
    return port in _ports_of(process)
