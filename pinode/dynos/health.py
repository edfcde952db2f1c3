"""Whether a dyno answers: any HTTP answer on its own port is one, unless its app.json wants more."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pinode.apps.health_check import HealthCheck
from pinode.dynos.proc import listening_ports
from pinode.dynos.process import DynoProcess

CONNECT_SECONDS = 0.5
ANSWER_BYTES = 256 * 1024  # looked at of the answer to a health check
LOOPBACK = "127.0.0.1"
ANY_ANSWER = HealthCheck()  # also 302, 401, 404 or 422: it is up


@dataclass(frozen=True, slots=True)
class Health:
    """What a look at a dyno found; `reason` says what is wrong, for people."""

    answers: bool
    reason: str = ""
    is_wrong_answer: bool = False  # it answered over HTTP, but not as a health check wants


async def look(
    process: DynoProcess, *, port: int, host: str, is_last: bool, checks: Sequence[HealthCheck] = ()
) -> Health:
    """Ask the dyno on `port` as `host`, once for each check. The last time, find out where it listens
    instead.
    """
    health = Health(False)
    for check in [check for check in checks if check.path] or [ANY_ANSWER]:
        health = await _look(process, check, port=port, host=host)
        if not health.answers:
            break
    if health.answers or health.is_wrong_answer or not is_last:
        return health
    others = await asyncio.to_thread(_ports_of, process)
    if port in others or not others:
        return health
    named = ", ".join(str(found) for found in sorted(others))
    return Health(False, f"it listens on {named} instead of {port}. Let it use the environment variable PORT")


async def _look(process: DynoProcess, check: HealthCheck, *, port: int, host: str) -> Health:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
    except (OSError, TimeoutError):
        return Health(False, f"nothing listens on {port}")
    try:
        if port not in await asyncio.to_thread(_ports_of, process):
            return Health(False, f"port {port} is held by another program")
        writer.write(_question(check, host))
        async with asyncio.timeout(check.timeout_seconds):
            start = await reader.readexactly(5)
            if start != b"HTTP/":
                return Health(False, f"what answers on {port} does not speak HTTP")
            return Health(True) if not check.path else _judged(check, await _answer(reader))
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return Health(False, f"it listens on {port} and does not answer")
    finally:
        writer.transport.abort()


def _question(check: HealthCheck, host: str) -> bytes:
    own = {"host": host, "user-agent": "pinode-health", "accept": "*/*", "x-forwarded-proto": "https"}
    headers = {**own, **{name.lower(): value for name, value in check.headers}, "connection": "close"}
    lines = [f"GET {check.path or '/'} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """What comes after `HTTP/`, up to the end or a bound."""
    content = b""
    while len(content) < ANSWER_BYTES and (more := await reader.read(ANSWER_BYTES - len(content))):
        content += more
    return content


def _judged(check: HealthCheck, answer: bytes) -> Health:
    """Whether a whole answer, without its first five bytes, is as the check wants it."""
    head, _, body = answer.partition(b"\r\n\r\n")
    found = re.match(rb"[0-9.]+ ([0-9]{3})", head)
    status = found[1].decode() if found else "?"
    if not found or not 200 <= int(status) < 400:
        return Health(False, f"{check.path} is answered with status {status}", is_wrong_answer=True)
    if check.content and check.content.encode() not in body:
        reason = f"{check.path} is answered without {check.content[:80]!r} in it"
        return Health(False, reason, is_wrong_answer=True)
    return Health(True)


def _ports_of(process: DynoProcess) -> set[int]:
    return listening_ports(process.pids())


def is_listening(process: DynoProcess, port: int) -> bool:
    """Whether the dyno itself listens on the port, as the kernel says."""
    return port in _ports_of(process)
