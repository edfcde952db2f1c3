"""A node that apps are pushed to: its web server, its intake, the build worker behind them, and the real git."""

import asyncio
import contextlib
import os
import ssl
import subprocess
import tarfile
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

from pinode.apps.commands import CreateApp, FailRelease, MakeReleaseLive
from pinode.deploy.build_worker import BuildWorker
from pinode.deploy.intake import Intake
from pinode.local_door import LocalDoor
from pinode.people.commands import StartSession
from pinode.sandbox.sandbox import find_isolation
from pinode.settings import Address, Settings
from pinode.slugs.replication import SlugReplication
from pinode.slugs.slug_store import SlugStore
from pinode.web.caller import token_hash
from pinode.web.server import WebServer
from tests.builders.repositories import IDENTITY, Repository
from tests.pinode.fake_cluster import FakeCluster
from tests.pinode.linked_clusters import linked_clusters, peers_of
from tests.pinode.test_build_worker import PatientQueue
from tests.pinode.web_certificate import free_port, make_certificate
from tests.pinode.web_stage import HOUR_MS, token_of
from tests.waiting import eventually

GIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Pushed:
    """How a push ended and what git said."""

    code: int
    said: str

    @property
    def remote(self) -> list[str]:
        """What came from the node."""
        lines = [line.removeprefix("remote: ").rstrip() for line in self.said.splitlines()]
        return [
            said
            for said, line in zip(lines, self.said.splitlines(), strict=True)
            if line.startswith("remote:")
        ]


class Node:
    """One node of a cluster in memory."""

    def __init__(self, cluster: FakeCluster, folder: Path, certificate: tuple[Path, Path]) -> None:
        self.cluster, self.folder, self.port = cluster, folder, free_port()
        self.authority = certificate[0]
        listen = replace(cluster.settings.listen, web=Address("127.0.0.1", self.port))
        node = replace(cluster.settings.node, data_dir=folder)
        cluster.settings = replace(cluster.settings, listen=listen, node=node)
        cluster.queue.platform_queue = PatientQueue(cluster, platform=True)
        isolation = find_isolation(required=True)
        self.slugs = SlugStore(folder / "slugs")
        self.sources = SlugStore(folder / "sources", kind="source")
        copies = SlugReplication(cluster, self.slugs)
        self.source_copies = SlugReplication(cluster, self.sources)
        copies.serve()
        self.source_copies.serve()
        self.intake = Intake(
            cluster,
            directory=folder / "intake",
            store=self.sources,
            copies=self.source_copies,
            isolation=isolation,
        )
        self.worker = BuildWorker(
            cluster,
            directory=folder / "builds",
            slugs=self.slugs,
            replication=copies,
            sources=self.source_copies,
            isolation=isolation,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        self.web = WebServer(
            cluster,
            ssl_context=context,
            ca_pem=b"",
            local_door=LocalDoor(path=folder / "pinode.sock"),
            intake=self.intake,
        )

    def url(self, app: str = "blog", *, token: str = token_of("bob"), user: str = "x") -> str:
        return f"https://{user}:{token}@127.0.0.1:{self.port}/git/{app}.git"

    def nothing_is_left(self) -> bool:
        """No intake under way."""
        return not list((self.folder / "intake" / "work").glob("*"))

    def let_releases_live(self) -> None:
        """As the scheduler would, at once; but for apps whose command is `false`."""
        registry = self.cluster.state.registry
        for app in registry.apps():
            pending = registry.pending_release(app.name)
            if pending is None:
                continue
            if pending.process_types.get("web") == "false":
                self.cluster.apply(
                    FailRelease(app=app.name, version=pending.version, failure="web.1 ended with 1.")
                )
            else:
                self.cluster.apply(MakeReleaseLive(app=app.name, version=pending.version))


class PushStage:
    """Nodes pi1, pi2, ...; ada is administrator, bob owns the app blog, eve owns nothing."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.git_seconds = GIT_SECONDS

    @property
    def node(self) -> Node:
        return self.nodes[0]

    @property
    def cluster(self) -> FakeCluster:
        return self.node.cluster

    async def git(
        self, repository: Repository, *words: str, node: Node | None = None, **environment: str
    ) -> Pushed:
        """Run git in the repository, trusting the cluster's authority and nothing else."""
        process = await self.start_git(repository, *words, node=node, **environment)
        said, _ = await asyncio.wait_for(process.communicate(), self.git_seconds)
        return Pushed(process.returncode or 0, said.decode(errors="replace"))

    async def start_git(
        self, repository: Repository, *words: str, node: Node | None = None, **environment: str
    ) -> asyncio.subprocess.Process:
        env = {
            **os.environ,
            **IDENTITY,
            "GIT_SSL_CAINFO": str((node or self.node).authority),
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C",
            **environment,
        }
        return await asyncio.create_subprocess_exec(
            "git",
            *words,
            cwd=repository.path,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    async def push(self, repository: Repository, *words: str, node: Node | None = None, **url: str) -> Pushed:
        """`git push` to the app blog by bob, or as `url` says."""
        target = (node or self.node).url(**url)
        return await self.git(repository, "push", target, *(words or ("main",)), node=node)

    def received_bytes(self) -> int:
        """Of packs that the first node has taken in."""
        return sum(path.stat().st_size for path in (self.node.folder / "intake" / "pushed").rglob("*.pack"))

    def live_commit(self) -> str | None:
        """Of what serves."""
        release = self.cluster.state.registry.live_release("blog")
        return release.commit if release is not None else None

    def laid_out(self) -> dict[str, str]:
        """The files of the newest build's source."""
        build = self.cluster.state.registry.builds("blog")[0]
        path = self.node.sources.path(build.source_digest or "")
        with tarfile.open(path) as tar:
            return {
                member.name: cast(IO[bytes], tar.extractfile(member)).read().decode(errors="replace")
                for member in tar
                if member.isfile()
            }

    def cut_off(self, node: Node) -> None:
        """The others reach it no more."""
        peers_of(self.cluster).unreachable.add(node.cluster.node_id)

    def version(self, app: str = "blog") -> int | None:
        """The release that serves."""
        found = self.cluster.state.registry.app(app)
        assert found is not None
        return found.live_version


@contextlib.asynccontextmanager
async def push_stage(
    folder: Path, *, names: Iterable[str] = ("pi1",), limits: Mapping[str, Any] | None = None
) -> AsyncIterator[PushStage]:
    """Nodes that serve and build while the block runs."""
    clusters = linked_clusters(*names)
    settings = Settings()
    settings = replace(settings, limits=replace(settings.limits, **(limits or {})))
    certificate = make_certificate(folder)
    nodes = []
    for cluster in clusters:
        cluster.settings = settings
        nodes.append(Node(cluster, folder / cluster.node_name, certificate))
    agree(clusters)
    stage = PushStage(nodes)
    for name in ("ada", "bob", "eve"):
        stage.cluster.add_user(name)
        stage.cluster.apply(
            StartSession(token_hash=token_hash(token_of(name)), user=name, lifetime_ms=HOUR_MS)
        )
    stage.cluster.apply(CreateApp(name="blog", owner="bob"))
    tasks = [asyncio.create_task(part.run()) for node in nodes for part in (node.web, node.worker)]
    tasks.append(asyncio.create_task(_let_live(stage)))
    try:
        for node in nodes:
            await eventually(lambda node=node: (node.folder / "pinode.sock").exists())  # type: ignore[misc]
        yield stage
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def agree(clusters: list[FakeCluster]) -> None:
    """One log for all of them, applied at once everywhere."""
    first = clusters[0]

    def note_everywhere() -> None:
        for cluster in clusters:
            FakeCluster.note_change(cluster)

    first.note_change = note_everywhere  # type: ignore[method-assign]
    for other in clusters[1:]:
        other.state = first.state
        other.apply_encoded = first.apply_encoded  # type: ignore[method-assign]


async def _let_live(stage: PushStage) -> None:
    revision = 0
    while True:
        stage.node.let_releases_live()
        revision = await stage.cluster.changed(revision)
