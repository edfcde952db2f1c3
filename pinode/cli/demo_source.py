"""The demo's example app as a real git repository, served over HTTP on loopback by git's own backend."""

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pinode.settings import Address

EXAMPLE = Path(__file__).parent / "example"
BODY_BYTES = 1 << 20  # a clone's request is small


def make_repository(folder: Path) -> None:
    """Turn the example app that comes with pinode into a git repository with one commit."""
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    identity = [
        "-c",
        "user.name=pinode",
        "-c",
        "user.email=demo@pinode.invalid",
        "-c",
        "commit.gpgsign=false",
    ]
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "Hello from pinode"]):
        subprocess.run(["git", *identity, *words], cwd=folder, check=True, timeout=30, env=_git_environment())


@contextlib.contextmanager
def served(root: Path, *, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve the git repositories below `root` for reading while the block runs; gives `http://host:port`."""

    class Handler(_GitHandler):
        """Serves below this root."""

        repositories = root

    class Server(ThreadingHTTPServer):
        """Speaks the family of `host`."""

        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    server = Server((host, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{Address(host, server.server_port)}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class _GitHandler(BaseHTTPRequestHandler):
    """One request of git's smart HTTP, answered by `git http-backend`."""

    repositories = Path()

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > BODY_BYTES:
            self.send_error(413)
            return
        self._answer(self.rfile.read(length))

    def log_message(self, format: str, *args: object) -> None:
        """The demo's terminal is for people."""

    def _answer(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        environment = {
            **_git_environment(),
            "GIT_PROJECT_ROOT": str(self.repositories),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(
            ["git", "http-backend"], input=body, capture_output=True, env=environment, timeout=60
        )
        head, _, payload = done.stdout.partition(b"\r\n\r\n")
        fields = [line.partition(":")[::2] for line in head.decode("latin-1").split("\r\n") if ":" in line]
        status = next((int(value.split()[0]) for name, value in fields if name.lower() == "status"), 200)
        self.send_response(status)
        for name, value in fields:
            if name.lower() != "status":
                self.send_header(name, value.strip())
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


def _git_environment() -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
    }
