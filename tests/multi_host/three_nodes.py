"""Real nodes on loopback for tests: real processes of `pinode start`, found through their sockets and ports."""

import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pinode.cli.build_commands import wait_for_release
from pinode.cli.demo_nodes import DemoNode, make_nodes, stop_nodes
from pinode.cli.target import app_path
from pinode.dynos.dyno_record import read_records
from pinode.dynos.proc import processes_under, start_time
from tests.waiting import until

PASSWORD = "correct horse battery"

FLASK_APP = {
    "requirements.txt": "flask\ngunicorn\n",
    "app.py": (
        "import os\nfrom flask import Flask\napp = Flask(__name__)\n\n"
        "@app.get('/')\ndef hello():\n"
        "    return f\"{os.environ['PINODE_APP']} {os.environ['PINODE_NODE']} {os.environ['PINODE_RELEASE']}\"\n"
    ),
    "Procfile": "web: gunicorn app:app\n",
}
TINY_APP = {  # no packages: builds in a second
    "requirements.txt": "",
    "app.py": (
        "import os, http.server\n\nclass Hello(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n"
        "        body = f\"{os.environ['PINODE_APP']} {os.environ['PINODE_NODE']} {os.environ['PINODE_RELEASE']}\".encode()\n"
        "        self.send_response(200)\n        self.send_header('Content-Length', str(len(body)))\n"
        "        self.end_headers()\n        self.wfile.write(body)\n\n"
        "    def log_message(self, *_): pass\n\n"
        "http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), Hello).serve_forever()\n"
    ),
    "Procfile": "web: python app.py\n",
}


def make_repository(folder: Path, files: dict[str, str]) -> Path:
    """A real git repository with one commit of these files."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    identity = ["-c", "user.name=test", "-c", "user.email=test@pinode.invalid", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "test"]):
        subprocess.run(["git", *identity, *words], cwd=folder, check=True, timeout=30)
    return folder


class Nodes:
    """Some nodes on loopback. `alive` are those whose process we did not end."""

    def __init__(self, folder: Path, count: int = 3) -> None:
        self.folder = folder
        self.nodes = make_nodes(folder, count, sandboxed=True)

    @property
    def alive(self) -> list[DemoNode]:
        """Nodes whose process runs."""
        return [node for node in self.nodes if node.process and node.process.poll() is None]

    def start(self) -> None:
        """Start all and wait until they agree on a leader."""
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            self.until(
                lambda node=node: self.status(node)["cluster"]["leader"],
                seconds=40,
                what=f"{node.name} knows a leader",
            )

    def register_admin(self) -> None:
        """Make the first user."""
        client = self.nodes[0].client()
        code = self.until(
            lambda: client.get("/api/v1/local/setup-code")["setup_code"],
            seconds=20,
            what="the setup code is known",
        )
        client.post("/api/v1/users", {"username": "admin", "password": PASSWORD, "setup_code": code})

    def until(self, ask: Any, *, seconds: float, what: str) -> Any:
        """The first true answer of `ask`."""
        return until(ask, within_seconds=seconds, saying=what, describe=self._logs)

    def _logs(self) -> str:
        return "\n".join(f"--- {node.name}\n{node.last_words()}" for node in self.nodes)

    def status(self, node: DemoNode) -> dict[str, Any]:
        """What `pinode status --json` says there."""
        document: dict[str, Any] = node.client().get("/api/v1/status")
        return document

    def leader(self) -> DemoNode:
        """The node that all living nodes hold for the leader."""

        def agreed() -> DemoNode | None:
            names = {self.status(node)["cluster"]["leader"] for node in self.alive}
            return self.named(names.pop()) if len(names) == 1 and None not in names else None

        found: DemoNode = self.until(agreed, seconds=20, what="one leader")
        return found

    def named(self, name: str) -> DemoNode:
        """The node of this name."""
        return next(node for node in self.nodes if node.name == name)

    def kill(self, node: DemoNode) -> None:
        """`kill -9` of the node process; its dynos and its router go on."""
        assert node.process
        node.process.send_signal(signal.SIGKILL)
        node.process.wait(10)

    def cut_power(self) -> None:
        """`kill -9` of all at once: nodes, routers and dynos."""
        for node in self.nodes:
            assert node.process
            for pid in (node.process.pid, *self.routers(node), *self.dyno_processes(node)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            node.process.wait(10)
        for node in self.nodes:
            self.until(
                lambda node=node: not self.routers(node) and not self.dyno_processes(node),
                seconds=10,
                what=f"all of {node.name} is off",
            )

    def routers(self, node: DemoNode) -> list[int]:
        """Pids of the node's router."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and f"{node.folder}/data/router".encode() in (
                    entry / "cmdline"
                ).read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        return found

    def dyno_processes(self, node: DemoNode) -> set[int]:
        """Pids of the node's dynos, the outermost ones and all within."""
        found: set[int] = set()
        for _, record in read_records(node.folder / "data" / "dynos"):
            if record and start_time(record.process.pid) == record.process.start_time:
                found |= processes_under(record.process.pid)
        return found

    def create(self, app: str, git_url: str, *, through: DemoNode | None = None) -> None:
        """Create an app."""
        (through or self.alive[0]).client().post("/api/v1/apps", {"name": app, "git_url": git_url})

    def request_build(self, app: str, *, through: DemoNode | None = None) -> int:
        """Ask for a build; its id."""
        build = (through or self.alive[0]).client().post(app_path(app, "builds"), {})
        return int(build["id"])

    def deploy(self, app: str, git_url: str) -> dict[str, Any]:
        """Create, build and wait until it serves; the build."""
        self.create(app, git_url)
        build = self.request_build(app)
        return wait_for_release(self.alive[0].client(), app, build, within_seconds=180)

    def dynos(self, app: str, *, through: DemoNode | None = None) -> list[dict[str, Any]]:
        """What `pinode ps` says."""
        found: list[dict[str, Any]] = (through or self.alive[0]).client().get(app_path(app, "dynos"))["items"]
        return found

    def get(self, app: str, node: DemoNode, *, path: str = "/") -> tuple[int, str]:
        """Ask the app at its port on that node."""
        return self.get_at(node.host, self.port(app), path=path)

    def port(self, app: str) -> int:
        """The app's port, the same on every node."""
        url = str(self.alive[0].client().get(app_path(app))["url"])
        return int(url.rstrip("/").rpartition(":")[2])

    def get_at(self, host: str, port: int, *, path: str = "/") -> tuple[int, str]:
        """One HTTP request."""
        connection = http.client.HTTPConnection(host, port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")

    def stop(self) -> None:
        """End everything that was started here."""
        stop_nodes(self.nodes)


@contextlib.contextmanager
def running_nodes(count: int = 3, *, below: Path = Path("/var/tmp")) -> Iterator[Nodes]:
    """Nodes with an administrator, gone after the block, dynos and routers too."""
    folder = Path(tempfile.mkdtemp(prefix="pinode-test-", dir=below))
    nodes = Nodes(folder, count)
    try:
        nodes.start()
        nodes.register_admin()
        yield nodes
    finally:
        nodes.stop()
        if os.environ.get("PINODE_KEEP_TEST_FOLDERS"):
            print(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
