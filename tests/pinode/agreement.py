"""A cluster's agreed state under test: commands go through bytes and back, as they do in the log."""

from collections.abc import Mapping
from typing import Any

from pinode.apps.build import BUILD_TOPIC
from pinode.apps.commands import CompleteBuild, CreateApp, RequestBuild, RequestVariant, StartBuild
from pinode.apps.cron import CronEntry
from pinode.apps.health_check import HealthCheck
from pinode.apps.registry import Registry
from pinode.cluster_state import AgreedCommand, ClusterState, decode_result, encode_command
from pinode.people.people import People
from replicated_queue.queue import codec as queue_codec
from replicated_queue.queue import commands as queue_commands
from replicated_queue.queue.limits import QueueLimits
from replicated_queue.queue.priority_queue import PriorityQueue
from replicated_queue.request_codec import encode_bundle
from replicated_queue.sessions import Bundle, open_answer, single

SETUP_CODE_HASH = b"setup"
GIT_URL = "https://example.org/hello.git"


class Agreement:
    """One replica and its log."""

    def __init__(self, *, queue_limits: QueueLimits = QueueLimits()) -> None:  # noqa: B008 (frozen)
        self.state = ClusterState(setup_code_hash=SETUP_CODE_HASH, queue_limits=queue_limits)
        self.log: list[tuple[bytes, int]] = []
        self.now = 1_000

    @property
    def registry(self) -> Registry:
        return self.state.registry

    @property
    def people(self) -> People:
        return self.state.people

    @property
    def queue(self) -> PriorityQueue:
        return self.state.queue

    @property
    def index(self) -> int:
        return len(self.log)

    def do(self, command: AgreedCommand) -> Any:
        """Agree on a command and return its result, or raise its refusal."""
        domain, encoded = encode_command(command)
        return decode_result(domain, self.propose(single(domain, encoded)))

    def do_on_queue(self, command: queue_commands.Command) -> Any:
        return decode_result("queue", self.propose(single("queue", queue_codec.command_values(command))))

    def propose(self, bundle: Bundle) -> Any:
        entry = encode_bundle(bundle)
        self.log.append((entry, self.now))
        return open_answer(self.state.apply(entry, index=self.index, now=self.now))

    def replay(self) -> ClusterState:
        """Another replica that applies the same log."""
        other = ClusterState(setup_code_hash=SETUP_CODE_HASH)
        for index, (entry, now) in enumerate(self.log, 1):
            other.apply(entry, index=index, now=now)
        return other

    def create(self, name: str = "blog", owner: str = "ada") -> None:
        self.do(CreateApp(name=name, owner=owner))

    def request(self, app: str = "blog", git_url: str = GIT_URL) -> int:
        return int(self.do(RequestBuild(app=app, git_url=git_url, ref=None, subdirectory=None, actor="ada")))

    def take_job(self, worker: str = "a", *, has: tuple[str, ...] = ()) -> tuple[int, int]:
        """Reserve the next build; its build id (0: there is none) and the lease's token."""
        reserve = queue_commands.Reserve((BUILD_TOPIC,), worker=worker, platform=True, has=has)
        taken = self.do_on_queue(reserve)
        if not taken.job_ids:
            return 0, taken.token
        return int(self.queue.jobs[taken.job_ids[0]].data), taken.token

    def start(self, node_id: str = "a", *, has: tuple[str, ...] = ()) -> tuple[int, int]:
        """Reserve and start the next build; its id and token."""
        build_id, token = self.take_job(node_id, has=has)
        self.do(StartBuild(build_id=build_id, token=token, node_id=node_id))
        return build_id, token

    def vary(self, build_id: int, *, arch: str = "x86_64", interpreters: tuple[str, ...] = ()) -> int:
        """Ask for a further slug of what this build built; the new build's id."""
        command = RequestVariant(build_id=build_id, arch=arch, interpreters=interpreters)
        return int(self.do(command))

    def expire(self, build_id: int, token: int) -> None:
        build = self.registry.build(build_id)
        assert build is not None
        self.do_on_queue(queue_commands.ExpireLease(build.job_id or 0, token))

    def complete(self, build_id: int, token: int, **fields: Any) -> int:
        return int(self.do(completion(build_id, token, **fields)))

    def deploy(self, app: str = "blog", **fields: Any) -> int:
        """A build from request to release; its version."""
        self.request(app)
        build_id, token = self.start()
        return self.complete(build_id, token, **fields)


def completion(
    build_id: int,
    token: int,
    *,
    slug: str = "1",
    slug_bytes: int = 1_000,
    process_types: Mapping[str, str] | None = None,
    holders: tuple[str, ...] = ("a", "b"),
    arch: str = "aarch64",
    interpreter: str | None = None,
    commit: str = "c0ffee" * 6,
    default_formation: Mapping[str, int] | None = None,
    health_checks: Mapping[str, tuple[HealthCheck, ...]] | None = None,
    cron: tuple[CronEntry, ...] = (),
    first_config: Mapping[str, bytes] | None = None,
) -> CompleteBuild:
    return CompleteBuild(
        build_id=build_id,
        token=token,
        commit=commit,
        slug_digest=slug * 64,
        slug_bytes=slug_bytes,
        arch=arch,
        interpreter=interpreter,
        python="3.11",
        holders=holders,
        process_types=process_types or {"web": "gunicorn app:app"},
        default_formation=default_formation or {},
        health_checks=health_checks or {},
        cron=cron,
        first_config=first_config or {},
    )
