"""One build as a child process: in its sandbox, within its bounds, and gone with all it started when it
ends.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from builders.codec import OUTCOME_BYTES, decode_outcome, encode_request
from builders.command import Command, CommandBounds, run
from builders.errors import BoundHit
from builders.request import RESULT_FILE, SLUG_FILE, Bounds, BuildFailure, BuildRequest, Outcome
from pinode.deploy.build_machine import BuildMachine
from pinode.deploy.build_usage import BuildUsage
from pinode.deploy.result_file import read_result
from pinode.deploy.sandbox_end import await_end_of_namespace, kill_marked
from pinode.sandbox.firewall_rules import loopback_port, loopback_ports
from pinode.sandbox.limits import BUILD_UID, Limits
from pinode.sandbox.sandbox import prepared
from pinode.sandbox.spec import Bind, SandboxSpec

GRACE_SECONDS = 1.0  # the builder knows its bounds itself, and says it better
GRACE_BYTES = 256 * 1024
GRACE_PROCESSES = 4_096  # the kernel counts those of all builds here together
GRACE_DISK_BYTES = 256 * 1024 * 1024  # for one file between two looks; the kernel ends who writes more
NICENESS = 5
MARK = "PINODE_BUILD"
SOURCE = "/source.tar.gz"
FOLDERS = {"work": "/build", "app": "/app", "output": "/output", "tmp": "/tmp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOrder:
    """What to build. `folder` is this build's alone and must not exist; `shared_cache` is kept for the next
    build of any app, `own_cache` for the next one of this app.
    """

    app: str
    git_url: str = field(default="", repr=False)
    source: Path | None = None  # what was pushed or uploaded, instead of a git URL; readable for all
    commit: str = ""  # of that source
    deploy_key: str = field(default="", repr=False)
    ref: str = ""
    directory: str = ""
    administrator: bool = False
    machines: tuple[str, ...] = ()  # that may run the app, as in `uname -m`
    interpreters: tuple[str, ...] = ()  # paths of those it may be made for; none: all that are here
    config_vars: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_first: bool = False  # of the app that comes to be released
    folder: Path
    shared_cache: Path
    own_cache: Path
    bounds: Bounds = field(default_factory=Bounds)


async def run_build(order: BuildOrder, machine: BuildMachine, *, on_line: Callable[[str], None]) -> Outcome:
    """Build it and say what came of it; the slug is then at `slug_path(order.folder)`. The caller removes the
    folder.

    Each line of the log goes to `on_line`, without secrets. Cancelled, it returns when the whole process tree
    is gone; when this node's process dies, the tree dies with it.
    """
    build = _BuildProcess(order, machine)
    try:
        async with machine.isolation.firewall.open_to_builds(_ports_on_loopback(order, machine)):
            code = await build.run(on_line)
    except BoundHit as hit:
        on_line(f" !     the build was ended: {hit.message}")
        return BuildFailure(
            code=hit.code, message=f"the build was ended: {hit.message}", hint=hit.hint, bound=hit.bound
        )
    return read_outcome(order.folder / "output" / RESULT_FILE, code)


def slug_path(folder: Path) -> Path:
    """Where a successful build has left the slug. It was written by strangers' code: never follow it as a
    link.
    """
    return folder / "output" / SLUG_FILE


class _BuildProcess:
    """The process of one build: what it is given, what it takes, and its end."""

    def __init__(self, order: BuildOrder, machine: BuildMachine) -> None:
        self._order = order
        self._machine = machine
        self._uid = BUILD_UID if machine.isolation.own_uids else None

    async def run(self, on_line: Callable[[str], None]) -> int:
        usage = await asyncio.to_thread(self._make_folders)
        status = os.open(
            self._status_file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        try:
            with prepared(self._spec(status), self._machine.isolation) as ready:
                bounds = self._order.bounds
                command = Command(
                    argv=ready.argv,
                    env=ready.env,
                    cwd=ready.cwd,
                    pass_fds=ready.pass_fds,
                    user=ready.user,
                    given=encode_request(self._request()),
                    bounds=CommandBounds(
                        wall_seconds=bounds.wall_seconds + GRACE_SECONDS,
                        silence_seconds=bounds.silence_seconds + GRACE_SECONDS,
                        output_bytes=bounds.output_bytes + GRACE_BYTES,
                    ),
                    watch=usage.exceeded,
                )
                code = await run(command, on_line=on_line, after_end=self._end_all)
            hit = await asyncio.to_thread(usage.disk_exceeded) if code != 0 else None
            if hit is not None:  # the kernel was quicker to end who wrote
                raise hit
            return code
        finally:
            os.close(status)

    @property
    def _status_file(self) -> Path:
        return self._order.folder / "status"

    def _make_folders(self) -> BuildUsage:
        order = self._order
        order.folder.mkdir(mode=0o711, parents=True)
        for cache in (order.shared_cache, order.own_cache):
            cache.mkdir(mode=0o755, parents=True, exist_ok=True)
            if self._uid is not None and cache.stat().st_uid != self._uid:
                _give_away(cache, self._uid)
            os.utime(cache)  # it was used now
        for name in FOLDERS:
            (order.folder / name).mkdir()
            if self._uid is not None:
                os.chown(order.folder / name, self._uid, self._uid)
        return BuildUsage(
            folder=order.folder,
            own_cache=order.own_cache,
            shared_cache=order.shared_cache,
            bounds=order.bounds,
        )

    @property
    def _shared_cache(self) -> Path:
        """Where the app's own code could reach it, it is not shared."""
        return self._order.shared_cache if self._machine.inner_bwrap else self._order.own_cache

    def _seen(self, name: str) -> str:
        """A folder of ours as the child sees it."""
        if self._machine.isolation.available:
            return FOLDERS[name]
        return str(self._order.folder / name)

    def _request(self) -> BuildRequest:
        order, machine = self._order, self._machine
        return BuildRequest(
            git_url=order.git_url,
            archive=""
            if order.source is None
            else SOURCE
            if machine.isolation.available
            else str(order.source),
            commit=order.commit,
            deploy_key=order.deploy_key,
            ref=order.ref,
            directory=order.directory,
            administrator=order.administrator,
            work=self._seen("work"),
            app=self._seen("app"),
            output=self._seen("output"),
            cache="/cache" if machine.isolation.available else str(self._shared_cache),
            own_cache="/own" if machine.isolation.available else str(order.own_cache),
            uv=machine.uv,
            bwrap=machine.inner_bwrap,
            interpreters=tuple(
                item
                for item in machine.interpreters
                if not order.interpreters or item.path in order.interpreters
            ),
            nodejs=not order.interpreters or any(path.endswith("/node") for path in order.interpreters),
            python_downloads=machine.python_downloads,
            machines=order.machines,
            config_vars=order.config_vars,
            is_first=order.is_first,
            secrets=machine.index.secrets,
            bounds=order.bounds,
        )

    def _spec(self, status_fd: int) -> SandboxSpec:
        order, machine = self._order, self._machine
        binds = [Bind(str(order.folder / name), target, writable=True) for name, target in FOLDERS.items()]
        binds += [Bind(str(self._shared_cache), "/cache", writable=True)]
        binds += [Bind(str(order.own_cache), "/own", writable=True)]
        binds += [*machine.binds, *self._local_repository()]
        binds += [Bind(str(order.source), SOURCE)] if order.source is not None else []
        return SandboxSpec(
            command=(machine.python, "-P", "-m", "builders"),
            env={
                **machine.index.env,
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "HOME": self._seen("work"),
                "LANG": "C.UTF-8",
                "PYTHONPATH": machine.python_path,
                "PYTHONDONTWRITEBYTECODE": "1",
                MARK: str(order.folder),
            },
            cwd="/build",
            binds=tuple(binds),
            uid=self._uid,
            die_with_parent=True,
            status_fd=status_fd if machine.isolation.available else None,
            tmp_bytes=None,
            hostname="build",
            limits=Limits(
                # More than is allowed: we are to see it and say so, before the kernel refuses more.
                processes=2 * order.bounds.processes + GRACE_PROCESSES,
                file_bytes=order.bounds.disk_bytes + GRACE_DISK_BYTES,
                niceness=NICENESS,
            ),
        )

    def _local_repository(self) -> list[Bind]:
        """A repository on this disk, for administrators: seen only if it is one."""
        if not self._order.administrator or not self._order.git_url.startswith("file:///"):
            return []
        path = Path(urlsplit(self._order.git_url).path)
        is_repository = (path / "HEAD").is_file() or (path / ".git" / "HEAD").is_file()
        return [Bind(str(path), str(path))] if is_repository and len(path.parts) > 2 else []

    def _end_all(self) -> None:
        """Wait until what the killed processes had started is gone too; only then is the build over."""
        if self._machine.isolation.available:
            await_end_of_namespace(self._status_file)
        else:
            kill_marked(f"{MARK}={self._order.folder}".encode())


def _ports_on_loopback(order: BuildOrder, machine: BuildMachine) -> frozenset[int]:
    """Where a build has to go on this machine: the package index, the repository if it may be here."""
    port = loopback_port(order.git_url) if order.administrator else None
    ports = loopback_ports(machine.index.env)
    return ports if port is None else ports | {port}


def read_outcome(path: Path, code: int) -> Outcome:
    """What the builder left; it may be a link, a device, a lie or nothing."""
    try:
        return read_result(path, decode_outcome, most_bytes=OUTCOME_BYTES)
    except (OSError, ValueError) as error:
        return BuildFailure(
            code="build_failed",
            message=f"the build ended with status {code} and left no result ({error})",
            hint="The last lines of its log say more",
        )


def _give_away(folder: Path, owner: int) -> None:
    os.chown(folder, owner, owner)
    for path, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(os.path.join(path, name), owner, owner, follow_symlinks=False)
