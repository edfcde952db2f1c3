"""A `Cluster` of one process: real agreed state and real codecs, no log, no network and a clock that tests set."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from pinode.apps.commands import (
    CompleteBuild,
    MakeReleaseLive,
    Place,
    RequestBuild,
    StartBuild,
)
from pinode.apps.cron import CronEntry
from pinode.apps.observed import DynoReport, NodeStats, NodeView
from pinode.apps.placement import Placement
from pinode.cluster_state import QUEUE, AgreedCommand, ClusterState, decode_result, encode_command
from pinode.errors import Unreachable
from pinode.nodes.node import RegisteredNode
from pinode.people.commands import Register
from pinode.people.setup_code import setup_code_hash
from pinode.settings import Settings
from replicated_queue.errors import NoQuorum
from replicated_queue.operations import QueueOperations
from replicated_queue.queue.codec import command_values, result_of
from replicated_queue.queue.commands import Command, Put, Reserve, Result
from replicated_queue.queue.job import Job
from replicated_queue.queue.views import all_stats, page_of_jobs, peek_job, topic_stats
from replicated_queue.request_codec import encode_bundle, encode_stats, encode_views
from replicated_queue.requests import ExtendLease, ReadJob, ReadJobs, ReadStats
from replicated_queue.sessions import SingleShot, open_answer, single

SETUP_CODE = "ABCD-EFGH"
SLUG = "5" * 64
MIB = 1024 * 1024


class FakePeers:
    """`PeerCalls` to oneself: every node id answers, but for those in `unreachable`; `others` for
    themselves.
    """

    def __init__(self) -> None:
        self.unreachable: set[str] = set()
        self.others: dict[str, FakePeers] = {}
        self._handlers: dict[str, Callable[[str, bytes], Awaitable[bytes]]] = {}
        self._streams: dict[str, Callable[[str, bytes], AsyncIterator[bytes]]] = {}

    def serve(self, method: str, handler: Callable[[str, bytes], Awaitable[bytes]]) -> None:
        self._handlers[method] = handler

    def serve_stream(self, method: str, handler: Callable[[str, bytes], AsyncIterator[bytes]]) -> None:
        self._streams[method] = handler

    async def call(self, node_id: str, method: str, payload: bytes, *, timeout_seconds: float) -> bytes:
        if node_id in self.unreachable or method not in self._of(node_id)._handlers:
            raise Unreachable(f"{node_id} does not answer.")
        async with asyncio.timeout(timeout_seconds):
            return await self._of(node_id)._handlers[method]("caller", payload)

    def _of(self, node_id: str) -> "FakePeers":
        return self.others.get(node_id, self)

    async def stream(
        self, node_id: str, method: str, payload: bytes, *, timeout_seconds: float
    ) -> AsyncIterator[bytes]:
        if node_id in self.unreachable or method not in self._of(node_id)._streams:
            raise Unreachable(f"{node_id} does not answer.")
        async for chunk in self._of(node_id)._streams[method]("caller", payload):
            yield chunk


class FakeQueue(QueueOperations):
    """`Broker` for members, without a log in between. A reserve answers at once, if it may."""

    def __init__(self, cluster: "FakeCluster", *, platform: bool = False) -> None:
        self._cluster = cluster
        self.platform = platform
        self.may_answer = asyncio.Event()  # reserves; until then their jobs are leased, and nobody knows
        self.may_answer.set()
        if not platform:
            self.platform_queue = FakeQueue(cluster, platform=True)

    async def submit(self, domain: str, command: Any, *, once: SingleShot | None = None, **_: Any) -> Any:
        values = command_values(command) if domain == QUEUE else command
        return self._cluster.apply_encoded(domain, values, once=once)

    async def be_current(self) -> bool:
        return self._cluster.has_quorum

    async def _command(self, command: Command) -> Result:
        return decode_result(QUEUE, self._cluster.apply_encoded(QUEUE, command_values(command)))

    async def _reserve(self, command: Reserve, *, wait: float) -> list[Job]:
        reserved = await self._command(command)
        await self.may_answer.wait()
        return self._reserved(reserved)

    async def reserve_once(self, command: Reserve, once: SingleShot, **_: Any) -> list[Job]:
        reserved = result_of(await self.submit(QUEUE, command, once=once))
        await self.may_answer.wait()
        return self._reserved(reserved)

    def _reserved(self, reserved: Any) -> list[Job]:
        jobs = [self._cluster.state.queue.jobs[job_id] for job_id in reserved.job_ids]
        return [
            Job(job.id, job.topic, job.data, job.priority, job.attempts, job.token, job.granted_ms / 1000)
            for job in jobs
        ]

    async def _extend(self, request: ExtendLease) -> None:
        self._cluster.check_quorum()
        self._cluster.state.queue.check_lease(request.job_id, request.token, platform=request.platform)

    async def _read(self, question: object) -> bytes:
        queue, now = self._cluster.state.queue, self._cluster.now_ms
        match question:
            case ReadStats(topic=None):
                return encode_stats(all_stats(queue, now=now, platform=question.platform))
            case ReadStats():
                stats = topic_stats(queue, question.topic, now=now, platform=question.platform)
                return encode_stats({question.topic: stats})
            case ReadJob():
                job_id, platform = question.job_id, question.platform
                return encode_views([peek_job(queue, job_id, now=now, platform=platform)])
            case ReadJobs():
                views = page_of_jobs(
                    queue,
                    question.topic,
                    state=question.state,
                    after=question.after,
                    limit=question.limit,
                    now=now,
                    platform=question.platform,
                )
                return encode_views(views)
        raise AssertionError(question)


class FakeCluster:
    """See `pinode.cluster.Cluster`. Tests change what they need: `has_quorum`, `views`, `rows`, `now_ms`."""

    def __init__(
        self, *, nodes: Sequence[str] = ("pi1", "pi2", "pi3"), settings: Settings | None = None
    ) -> None:
        self.settings = settings or Settings()
        self.views = {f"{number:016x}": node_view(number, name) for number, name in enumerate(nodes, 1)}
        self.node_id = next(iter(self.views))
        self.node_name = nodes[0]
        self.cluster_name, self.cluster_id = "home", "c0ffee"
        self.peer_authority_hash = b"a" * 32
        founders = [
            RegisteredNode(node_id=view.node_id, name=view.name, host=view.host, peer_port=view.peer_port)
            for view in self.views.values()
        ]
        self.state = ClusterState(founders=founders, setup_code_hash=setup_code_hash(SETUP_CODE))
        self.queue = FakeQueue(self)
        self.peers = FakePeers()
        self.rows: dict[int, DynoReport] = {}
        self.now_ms = 1_000_000
        self.term, self.commit_index, self.revision = 3, 0, 0
        self.has_quorum = True
        self.leader_id: str | None = self.node_id
        self.commands: list[AgreedCommand] = []
        self._changed = asyncio.Event()

    async def execute(
        self,
        command: AgreedCommand,
        *,
        once: SingleShot | None = None,
        timeout_seconds: float = 10.0,
    ) -> Any:
        self.commands.append(command)
        domain, data = encode_command(command)
        return decode_result(domain, self.apply_encoded(domain, data, once=once))

    def apply(self, command: AgreedCommand) -> Any:
        """As `execute`, at once: for tests that set a stage."""
        domain, data = encode_command(command)
        return decode_result(domain, self.apply_encoded(domain, data))

    def apply_encoded(self, domain: str, command: Any, *, once: SingleShot | None = None) -> Any:
        self.check_quorum()
        self.commit_index += 1
        self.now_ms += 1
        bundle = single(domain, command)
        if once is not None:
            bundle = single(
                domain,
                command,
                once.client_id,
                sequence=once.sequence,
                since=once.fingerprint,
                single_shot=True,
            )
        answer = self.state.apply(encode_bundle(bundle), index=self.commit_index, now=self.now_ms)
        self.note_change()
        return open_answer(answer)

    def check_quorum(self) -> None:
        if not self.has_quorum:
            raise NoQuorum(waited_seconds=1.0)

    def note_change(self) -> None:
        self.revision += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self, since: int, *, timeout_seconds: float = 30.0) -> int:
        if self.revision <= since:
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._changed.wait()
            except TimeoutError:
                pass
        return self.revision

    @property
    def is_leader(self) -> bool:
        return self.leader_id == self.node_id

    @property
    def view_age_seconds(self) -> float:
        return 0.0 if self.has_quorum else 12.5

    def nodes(self) -> Sequence[NodeView]:
        table = self.state.nodes
        views = [
            replace(self.views[known.node_id], availability=known.availability)
            for known in table.all()
            if known.node_id in self.views
        ]
        return sorted(views, key=lambda view: view.name)

    def node(self, node_id: str) -> NodeView | None:
        return next((view for view in self.nodes() if view.node_id == node_id), None)

    def reports(self) -> Sequence[DynoReport]:
        return list(self.rows.values())

    def seal(self, value: str) -> bytes:
        return b"sealed:" + value.encode()[::-1]

    def reveal(self, sealed: bytes) -> str:
        return sealed.removeprefix(b"sealed:")[::-1].decode()

    def change_node(self, name: str, **fields: Any) -> None:
        """Observe something else of a node."""
        node_id = next(view.node_id for view in self.views.values() if view.name == name)
        self.views[node_id] = replace(self.views[node_id], **fields)
        self.note_change()

    def add_user(self, name: str, password_hash: bytes = b"none") -> None:
        """The first one becomes administrator and creates the others."""
        users = self.state.people.users()
        self.apply(
            Register(
                name=name,
                password_hash=password_hash,
                setup_code_hash=setup_code_hash(SETUP_CODE),
                created_by=(users and next(user.name for user in users if user.role == "admin")) or None,
            )
        )

    def start_build(
        self, app: str, *, git_url: str = "https://git.example.org/ada/blog.git", node: str = "pi1"
    ) -> int:
        """Request a build and have a node begin it, under a real lease."""
        build_id: int = self.apply(
            RequestBuild(app=app, git_url=git_url, ref=None, subdirectory=None, actor="ada")
        )
        self.take_build(build_id, node=node)
        return build_id

    def take_build(self, build_id: int, *, node: str = "pi1") -> None:
        """Have a node begin a build that waits."""
        command = Reserve(("pinode.builds",), node, None, 1, True)
        reserved = decode_result(QUEUE, self.apply_encoded(QUEUE, command_values(command)))
        node_id = next(view.node_id for view in self.views.values() if view.name == node)
        self.apply(StartBuild(build_id=build_id, token=reserved.token, node_id=node_id))

    def complete_build(
        self, build_id: int, *, schedule: tuple[CronEntry, ...] = (), **process_types: str
    ) -> int:
        """Finish it; the new release's version."""
        build = self.state.registry.build(build_id)
        assert build is not None
        version: int = self.apply(
            CompleteBuild(
                build_id=build_id,
                token=build.token,
                commit="c" * 40,
                slug_digest=SLUG,
                slug_bytes=MIB,
                arch="aarch64",
                python="3.11",
                holders=(build.node_id or "",),
                process_types=process_types or {"web": "gunicorn app:app"},
                default_formation={"web": 1},
                cron=schedule,
            )
        )
        return version

    def bring_up(self, app: str, version: int, *, node: str = "pi1") -> Placement:
        """Place the release's only web dyno, report it up, make the release live."""
        node_id = next(view.node_id for view in self.views.values() if view.name == node)
        number = self.apply(Place(app=app, version=version, process_type="web", ordinal=1, node_id=node_id))
        placement = next(one for one in self.state.registry.placements_of(app) if one.version == version)
        self.report(placement, "up")
        self.apply(MakeReleaseLive(app=app, version=version))
        assert number in (None, placement.number)
        return placement

    def report(self, placement: Placement, state: str, **fields: Any) -> None:
        """Have the placement's node say how its dyno is."""
        self.rows[placement.number] = DynoReport(
            placement=placement.number,
            app=placement.app,
            version=placement.version,
            process_type=placement.process_type,
            ordinal=placement.ordinal,
            node_id=placement.node_id,
            state=state,  # type: ignore[arg-type]
            since_ms=self.now_ms,
            **fields,
        )
        self.note_change()

    def do_on_queue(self, command: Command) -> Any:
        """Run a command of a member on the queue, and return its result."""
        return decode_result(QUEUE, self.apply_encoded(QUEUE, command_values(command)))

    def put_job(self, topic: str, data: bytes = b"", *, platform: bool = False) -> int:
        """Put a job at once."""
        encoded = command_values(Put(topic, data, platform=platform))
        job_id: int = decode_result(QUEUE, self.apply_encoded(QUEUE, encoded)).job_ids[0]
        return job_id


def node_view(number: int, name: str) -> NodeView:
    """A node that is well."""
    return NodeView(
        node_id=f"{number:016x}",
        name=name,
        host=f"192.0.2.{number}",
        peer_port=7300,
        web_port=8000,
        router_port=7301,
        state="alive",
        incarnation=0,
        version="0.1.0",
        arch="aarch64",
        python="3.11.2",
        started_at_unix=1_700_000_000.0,
        stats=NodeStats(
            cpu_percent=12.0 * number,
            load_1m=0.2 * number,
            memory_percent=40.0 + number,
            memory_bytes=400 * MIB,
            disk_percent=50.0,
            disk_free_bytes=10 * 1024 * MIB,
            net_tx_bytes_per_s=1500.0,
            net_rx_bytes_per_s=2500.0,
            temperature_celsius=51.5,
            throttled=False,
        ),
        stats_age_seconds=1.0,
    )
