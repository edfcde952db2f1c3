"""The demo's nodes: settings with free ports, real `pinode start` processes, and their end."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pinode.cli.api_client import ApiClient
from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.dynos.dyno_record import read_records
from pinode.dynos.proc import processes_under, start_time
from pinode.peers.cluster_key import new_cluster_key, write_cluster_key
from pinode.settings import load_settings

PORT_FIRST, PORT_LAST = 10_000, 32_000  # below those that the kernel gives to outgoing connections
LISTENERS = ("peer", "web", "apps", "apps_tls", "router")
DYNO_PORTS = 60  # for each node
APP_PORTS = 50
STOP_SECONDS = 15.0
STOP_LOOK_SECONDS = 0.1


@dataclass(slots=True)
class DemoNode:
    """One node of the demo: its folder, its address and, once started, its process."""

    name: str
    host: str
    folder: Path
    ports: dict[str, int]
    app_ports: tuple[int, int]
    dyno_ports: tuple[int, int]
    process: subprocess.Popen[bytes] | None = None

    @property
    def web_url(self) -> str:
        """Where its web UI answers."""
        return f"https://{self.host}:{self.ports['web']}"

    def client(self) -> ApiClient:
        """Its API, as administrator."""
        return ApiClient(self.invocation())

    def invocation(self) -> Invocation:
        """A command line that names this node."""
        return Invocation(config=self.folder / "cluster.toml", environment={})

    def start(self, *flags: str) -> None:
        """Start its process; what it says goes to `node.log` in its folder."""
        log = (self.folder / "node.log").open("ab")
        command = [
            sys.executable,
            "-P",  # a folder named pinode where we were started is not us
            "-m",
            "pinode",
            "start",
            "--config",
            str(self.folder / "cluster.toml"),
            *flags,
        ]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PINODE_")}
        with log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def runs(self) -> bool:
        """Whether its process runs: ours, or one that somebody started by hand in its place."""
        if self.process is not None and self.process.poll() is None:
            return True
        with contextlib.suppress(Failure):
            self.client().get("/api/v1/me")
            return True
        return False

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join((self.folder / "node.log").read_text(errors="replace").splitlines()[-8:])


def free_ports(hosts: Sequence[str], count: int, *, start: int) -> int:
    """The first port of a run of `count` that nobody listens on, on any of the hosts."""
    first = start
    while first + count < PORT_LAST:
        taken = next((port for port in range(first, first + count) if not _is_free(hosts, port)), None)
        if taken is None:
            return first
        first = taken + 1
    raise Failure(
        f"no {count} free ports in a row between {start} and {PORT_LAST}", hint="end what holds them"
    )


def _is_free(hosts: Sequence[str], port: int) -> bool:
    for host in hosts:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as probe:
                if kind == socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, port))
                except OSError:
                    return False
    return True


def make_nodes(folder: Path, count: int, *, sandboxed: bool) -> list[DemoNode]:
    """Write `cluster.toml` and the shared key for `count` nodes on 127.0.0.1, 127.0.0.2, …

    A folder that was kept is used as it is: its nodes know each other by their addresses.
    """
    kept = sorted(path.parent for path in folder.glob("n*/cluster.toml"))
    if kept:
        if len(kept) != count:
            raise Failure(
                f"{folder} has {len(kept)} nodes, not {count}",
                hint=f"--nodes {len(kept)}, or another --dir",
                code=ExitCode.CONFLICT,
            )
        return [_kept_node(node_folder) for node_folder in kept]
    hosts = [f"127.0.0.{number}" for number in range(1, count + 1)]
    start = PORT_FIRST + secrets.randbelow(18_000)
    fixed = free_ports(hosts, len(LISTENERS) + APP_PORTS, start=start)
    ports = {name: fixed + place for place, name in enumerate(LISTENERS)}
    app_ports = (fixed + len(LISTENERS), fixed + len(LISTENERS) + APP_PORTS - 1)
    dynos = free_ports(["127.0.0.1"], DYNO_PORTS * count, start=app_ports[1] + 1)
    key = new_cluster_key()
    nodes = []
    for place, host in enumerate(hosts):
        first = dynos + place * DYNO_PORTS
        node = DemoNode(
            f"n{place + 1}", host, folder / f"n{place + 1}", ports, app_ports, (first, first + DYNO_PORTS - 1)
        )
        node.folder.mkdir(parents=True, exist_ok=True)
        write_cluster_key(node.folder / "cluster.key", key)
        join = [f"{other}:{ports['peer']}" for other in hosts if other != host]
        (node.folder / "cluster.toml").write_text(
            _settings(node, expect=count, join=join, sandboxed=sandboxed)
        )
        nodes.append(node)
    return nodes


def _kept_node(folder: Path) -> DemoNode:
    settings = load_settings(folder / "cluster.toml", {})
    listen = settings.listen
    return DemoNode(
        name=settings.node.name,
        host=settings.node.advertise,
        folder=folder,
        ports={name: getattr(listen, name).port for name in LISTENERS},
        app_ports=(listen.app_ports.first, listen.app_ports.last),
        dyno_ports=(listen.dyno_ports.first, listen.dyno_ports.last),
    )


def _settings(node: DemoNode, *, expect: int, join: Sequence[str], sandboxed: bool) -> str:
    listen = "\n".join(f'{name} = "{node.host}:{port}"' for name, port in node.ports.items())
    quoted = ", ".join(f'"{address}"' for address in join)
    return f"""\
[cluster]
name = "demo"
expect = {expect}
join = [{quoted}]
discovery = "off"
key_file = "cluster.key"

[node]
name = "{node.name}"
data_dir = "data"
advertise = "{node.host}"
trust_clock = true

[listen]
{listen}
app_ports = "{node.app_ports[0]}-{node.app_ports[1]}"
dyno_ports = "{node.dyno_ports[0]}-{node.dyno_ports[1]}"

[sandbox]
required = {str(sandboxed).lower()}

[builds]
home_python = true
"""


def stop_nodes(nodes: Sequence[DemoNode]) -> None:
    """End the nodes, their routers and their dynos; what does not go by itself is killed."""
    by_hand: list[int] = []
    for node in nodes:
        with contextlib.suppress(Failure):
            pid = node.client().post("/api/v1/local/stop", {"all": True})["pid"]
            if node.process is None or node.process.pid != pid:
                by_hand.append(pid)
    deadline = time.monotonic() + STOP_SECONDS
    for pid in by_hand:
        while _is_running(pid) and time.monotonic() < deadline:
            time.sleep(STOP_LOOK_SECONDS)
    for node in nodes:
        if node.process:
            try:
                node.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                node.process.kill()
                node.process.wait()
    for node in nodes:
        _end_leftovers(node.folder)


def _is_running(pid: int) -> bool:
    """Of a process that has ended, and that nobody has waited for, the command line is empty."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def _end_leftovers(folder: Path) -> None:
    """Kill the router and the dynos of a node that was killed and could not end them."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes()
                if b"pinode.router\0" + str(folder).encode() + b"/" in words:
                    os.kill(int(entry.name), signal.SIGKILL)
    dynos = folder / "data" / "dynos"
    for _, record in read_records(dynos) if dynos.is_dir() else ():
        if record and start_time(record.process.pid) == record.process.start_time:
            for pid in processes_under(record.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
