"""A supervisor with a real sandbox and real processes, over a cluster of the test's own making."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from builders.archive import pack
from pinode.apps.build import abilities
from pinode.apps.commands import (
    CompleteBuild,
    CreateApp,
    Place,
    RequestVariant,
    SetConfig,
    StartBuild,
    Unplace,
)
from pinode.apps.cron import CronEntry
from pinode.apps.health_check import HealthCheck
from pinode.apps.observed import DynoReport
from pinode.dynos.dyno import DynoTimings
from pinode.dynos.proc import processes_under
from pinode.dynos.supervisor import Supervisor
from pinode.sandbox.sandbox import find_isolation
from pinode.settings import LimitsSettings, ListenSettings, NodeSettings, PortRange, Settings
from pinode.slugs.replication import SlugReplication
from pinode.slugs.slug_store import SlugStore
from replicated_queue.queue.commands import Reserve
from tests.pinode.fake_cluster import FakeCluster
from tests.pinode.router_world import free_ports

QUICK = DynoTimings(
    start_seconds=5,
    stop_seconds=1,
    drain_seconds=0.05,
    settle_seconds=0.1,
    backoff_seconds=0.05,
    longest_backoff_seconds=0.1,
    crash_limit=3,
)
MIB = 1024**2
SERVER = """
import http.server, os, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = "\\n".join(f"{k}={v}" for k, v in sorted({**os.environ, "~": ""}.items())).encode("utf-8", "surrogateescape")
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
def end(*args):
    print("got SIGTERM", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("hello from the app", flush=True)
port = int(sys.argv[1]) if len(sys.argv) > 1 else int(os.environ["PORT"])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@dataclass
class World:
    """One node's data directory and its cluster; supervisors come and go over it."""

    cluster: FakeCluster
    data_dir: Path
    slug_digest: str
    rows: dict[int, DynoReport] = field(default_factory=dict)
    is_caught_up: bool = True
    supervisor: Supervisor | None = None

    def deploy(
        self,
        *,
        checks: Mapping[str, tuple[HealthCheck, ...]] | None = None,
        schedule: tuple[CronEntry, ...] = (),
        arch: str = "aarch64",
        **process_types: str,
    ) -> int:
        """A release of the app `blog` with these commands; its version."""
        build_id = self.cluster.start_build("blog")
        build = self.cluster.state.registry.build(build_id)
        assert build is not None
        version: int = self.cluster.apply(
            CompleteBuild(
                build_id=build_id,
                token=build.token,
                commit="c" * 40,
                slug_digest=self.slug_digest,
                slug_bytes=1000,
                arch=arch,
                python=None,
                holders=(self.cluster.node_id,),
                process_types=process_types,
                default_formation={},
                health_checks=checks or {},
                cron=schedule,
            )
        )
        return version

    async def add_slug(self, version: int, *, server: str = SERVER) -> str:
        """A further slug of the release, for nodes like this one; its digest."""
        registry = self.cluster.state.registry
        (build,) = (one for one in registry.builds("blog") if one.version == version)
        arch = self.cluster.views[self.cluster.node_id].arch
        build_id: int = self.cluster.apply(RequestVariant(build_id=build.id, arch=arch))
        reserve = Reserve(("pinode.builds",), platform=True, has=abilities(arch, ()))
        token = self.cluster.do_on_queue(reserve).token
        self.cluster.apply(StartBuild(build_id=build_id, token=token, node_id=self.cluster.node_id))
        digest = await _stored(self.data_dir, server)
        self.cluster.apply(
            CompleteBuild(
                build_id=build_id,
                token=token,
                commit="c" * 40,
                slug_digest=digest,
                slug_bytes=1000,
                arch=arch,
                python=None,
                holders=(self.cluster.node_id,),
                process_types={"web": "x"},
                default_formation={},
            )
        )
        return digest

    def place(self, version: int, process_type: str = "web", *, ordinal: int = 1) -> int:
        """Place a dyno of the release here; the placement's number."""
        self.cluster.apply(
            Place(
                app="blog",
                version=version,
                process_type=process_type,
                ordinal=ordinal,
                node_id=self.cluster.node_id,
            )
        )
        return max(one.number for one in self.cluster.state.registry.placements())

    def configure(self, **values: str) -> None:
        sealed = {name: self.cluster.seal(value) for name, value in values.items()}
        self.cluster.apply(SetConfig(app="blog", set_values=sealed, actor="ada"))

    def unplace(self, number: int) -> None:
        self.cluster.apply(Unplace(number=number))

    def is_in(self, number: int, state: str) -> Callable[[], bool]:
        return lambda: number in self.rows and self.rows[number].state == state

    def is_gone(self, number: int) -> Callable[[], bool]:
        return lambda: number not in self.rows

    @asynccontextmanager
    async def running(self, **options: object) -> AsyncIterator[Supervisor]:
        """A supervisor, as long as a node process lives; its end leaves the dynos running."""
        slugs = SlugStore(self.data_dir / "slugs", most_bytes=10_000_000)
        values = {"timings": QUICK, **options}
        supervisor = Supervisor(
            self.cluster,
            directory=self.data_dir / "dynos",
            log_directory=self.data_dir / "logs",
            slugs=slugs,
            replication=SlugReplication(self.cluster, slugs),
            isolation=find_isolation(required=True),
            is_caught_up=lambda: self.is_caught_up,
            on_reports=self._take,
            **values,  # type: ignore[arg-type]
        )
        task = asyncio.create_task(supervisor.run())
        try:
            yield supervisor
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def ask(self, number: int) -> str:
        """What the dyno answers on its port."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.rows[number].port)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        answer = await reader.read(-1)
        writer.close()
        return answer.decode("utf-8", "surrogateescape")

    def log(self, number: int) -> str:
        (log,) = (self.data_dir / "logs" / "blog").glob(f"*.{number}.log")
        return log.read_text()

    def processes_of(self, number: int) -> set[int]:
        """The dyno's processes as this machine knows them."""
        return processes_under(_child_in(self.data_dir / "dynos" / str(number) / "status"))

    def end_processes(self) -> None:
        """Leave nothing behind, whatever failed."""
        for status in (self.data_dir / "dynos").glob("*/status"):
            with suppress(OSError, ValueError, LookupError):
                os.kill(_child_in(status), signal.SIGKILL)

    def _take(self, rows: tuple[DynoReport, ...]) -> None:
        self.rows = {row.placement: row for row in rows}


def _child_in(status: Path) -> int:
    return int(json.loads(status.read_text().splitlines()[0])["child-pid"])


async def make_world(directory: Path, *, server: str = SERVER, memory_bytes: int = 512 * MIB) -> World:
    """A node with the slug of a small server in its store, known to the registry as the app `blog`."""
    (first,) = free_ports(1)
    ports = PortRange(min(first, 60_000), min(first, 60_000) + 40)
    settings = Settings(
        listen=ListenSettings(dyno_ports=ports),
        node=NodeSettings(data_dir=directory),
        limits=LimitsSettings(dyno_memory_bytes=memory_bytes),
    )
    cluster = FakeCluster(nodes=["pi1"], settings=settings)
    cluster.add_user("ada")
    cluster.apply(CreateApp(name="blog", owner="ada"))
    return World(cluster, directory, await _stored(directory, server))


async def _stored(directory: Path, server: str) -> str:
    """A slug with this one file is in the node's store; its digest."""
    source = directory / "source"
    source.mkdir(exist_ok=True)
    (source / "server.py").write_text(server)
    archive = directory / "slug.tar.gz"
    pack(source, archive, most_bytes=1_000_000)
    stored = await SlugStore(directory / "slugs", most_bytes=10_000_000).add(archive)
    return stored.digest
