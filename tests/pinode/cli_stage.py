"""A node's web server over an in-memory cluster, in a thread, and the command line to talk to it with."""

import asyncio
import contextlib
import io
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pinode.cli.main import exit_code
from pinode.deploy.build_log import serve_build_logs
from pinode.local_door import LocalDoor
from pinode.people.commands import StartSession
from pinode.settings import Address, Settings
from pinode.web.caller import token_hash
from pinode.web.server import WebServer
from tests.pinode.fake_cluster import FakeCluster
from tests.pinode.web_certificate import free_port, make_certificate
from tests.pinode.web_stage import HOUR_MS, token_of
from tests.waiting import until

T = TypeVar("T")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@dataclass
class Control:
    """What the node would do; `pid` is the process that ends when it is told to stop."""

    code: str | None = "ABCD-EFGH"
    process: subprocess.Popen[bytes] | None = None
    stopped: list[bool] = field(default_factory=list)
    left_by: str | None = None
    steps: list[str] = field(default_factory=list)
    failure: dict[str, str] | None = None
    starts_at_boot: bool = False

    def setup_code(self) -> str | None:
        return self.code

    def stop(self, *, everything: bool) -> int:
        self.stopped.append(everything)
        assert self.process
        self.process.terminate()
        return self.process.pid

    def leave(self, *, by: str) -> None:
        self.left_by = by

    def leaving(self) -> dict[str, Any]:
        """One step a look, and at the end its process is gone."""
        assert self.process
        waiting_for, *self.steps = self.steps or [""]
        if not waiting_for:
            self.process.terminate()
        return {
            "pid": self.process.pid,
            "waiting_for": waiting_for,
            "failure": self.failure,
            "starts_at_boot": self.starts_at_boot,
        }


class CliStage:
    """One node: its data directory with the socket, its port, its cluster."""

    def __init__(
        self,
        folder: Path,
        loop: asyncio.AbstractEventLoop,
        certificate: tuple[Path, Path] | None,
        people: Sequence[str],
    ) -> None:
        self.folder, self.control, self.port = folder, Control(), free_port()
        self.certificate = certificate or make_certificate(folder)
        self.authority = self.certificate[0]
        self._loop = loop
        listen = replace(Settings().listen, web=Address("127.0.0.1", self.port))
        self.cluster = FakeCluster(settings=replace(Settings(), listen=listen))
        for name in people:
            self.cluster.add_user(name)
        serve_build_logs(self.cluster, folder)  # type: ignore[arg-type]

    @property
    def socket(self) -> Path:
        return self.folder / "pinode.sock"

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def serve(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.certificate)
        await WebServer(
            self.cluster,  # type: ignore[arg-type]
            ssl_context=context,
            ca_pem=self.authority.read_bytes(),
            local_door=LocalDoor(path=self.socket),
            control=self.control,
        ).run()

    def answers(self) -> bool:
        """Whether it listens; its socket's file is there a moment earlier."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(self.socket))
        return True

    def do(self, change: Callable[[FakeCluster], T]) -> T:
        """Change the cluster in the thread it lives in."""

        async def change_it() -> T:
            return change(self.cluster)

        return asyncio.run_coroutine_threadsafe(change_it(), self._loop).result(10)

    def run(self, *words: str, **environment: str) -> Ran:
        """`pinode WORDS` on the node, in this process."""
        return run_here("--data-dir", str(self.folder), *words, **environment)

    def run_far(self, *words: str, by: str = "ada", **environment: str) -> Ran:
        """`pinode WORDS` from elsewhere, by a user with a token."""
        self.let_in(by)
        far = {"PINODE_SERVER": self.server, "PINODE_CA": str(self.authority), "PINODE_TOKEN": token_of(by)}
        return run_here(*words, **{**far, **environment})

    def let_in(self, name: str) -> None:
        """Give a user a token."""

        def start(cluster: FakeCluster) -> None:
            if cluster.state.people.user(name) is None:
                cluster.add_user(name)
            cluster.apply(StartSession(token_hash=token_hash(token_of(name)), user=name, lifetime_ms=HOUR_MS))

        self.do(start)

    def start(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """`python -m pinode WORDS` on the node, as a process of its own."""
        return start_process("--data-dir", str(self.folder), *words, **options)

    def finish(self, process: subprocess.Popen[bytes], stdin: bytes | None = None) -> Ran:
        """Wait for its end."""
        return finish(process, stdin)

    def add_app(self, name: str, *, git_url: str | None = "https://git.example.org/ada/blog.git") -> None:
        """An app of ada, through the command line."""
        source = ["--git", git_url] if git_url else []
        ran = self.run("apps:create", name, *source)
        assert ran.code == 0, ran

    def release(self, app: str) -> int:
        """Build it and bring its web dyno up, at once; the release's version."""
        build = self.do(lambda cluster: cluster.start_build(app))
        version = self.do(lambda cluster: cluster.complete_build(build, web="gunicorn app:app"))
        self.do(lambda cluster: cluster.bring_up(app, version))
        return version

    def values(self, app: str) -> dict[str, str]:
        """The config vars as the app would get them."""
        found = self.cluster.state.registry.app(app)
        assert found
        return {name: self.cluster.reveal(value) for name, value in found.config.values.items()}


def run_here(*words: str, **environment: str) -> Ran:
    """`pinode WORDS` in this process, with nothing but these variables."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = exit_code(words, environment)
    return Ran(int(code), out.getvalue(), err.getvalue())


def start_process(
    *words: str | bytes, environment: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[bytes]:
    """`python -m pinode WORDS`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PINODE_")}
    path = {"PYTHONPATH": str(ROOT), **(environment or {})}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, "-m", "pinode", *words], env={**inherited, **path}, **{**pipes, **options}
    )


def finish(process: subprocess.Popen[bytes], stdin: bytes | None = None) -> Ran:
    """Wait for its end."""
    out, err = process.communicate(stdin, timeout=30)
    return Ran(process.returncode, (out or b"").decode(), (err or b"").decode())


@contextlib.contextmanager
def cli_stage(
    folder: Path, *, certificate: tuple[Path, Path] | None = None, people: Sequence[str] = ("ada",)
) -> Iterator[CliStage]:
    """A node that serves while the block runs, under a certificate of its own or this one."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        stage = CliStage(folder, loop, certificate, people)
        serving = asyncio.run_coroutine_threadsafe(stage.serve(), loop)
        try:
            until(stage.answers, within_seconds=10, saying="the node serves")
            yield stage
        finally:
            serving.cancel()
            until(lambda: not stage.socket.exists(), within_seconds=10, saying="the node ended")
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
