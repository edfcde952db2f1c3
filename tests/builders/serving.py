"""An app's web process started as its slug names it, and asked."""

import http.client
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import until


@contextmanager
def serving(app: Path, command: str) -> Iterator[int]:
    """Run it as a dyno does, without walls; gives its port once it answers, and ends it."""
    port = _free_port()
    process = subprocess.Popen(
        ["/bin/sh", "-c", command],
        cwd=app,
        env={"PATH": f"{app}/.venv/bin:{app}/bin:/usr/bin:/bin", "HOME": str(app), "PORT": str(port)},
        start_new_session=True,
    )
    try:
        until(lambda: get(port, "/") is not None, within_seconds=60, saying=f"{command} answers")
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def get(port: int, path: str) -> bytes:
    """The body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
