"""Starting a child inside its walls: what this system offers, and what is handed to the new process."""

import logging
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from pinode.sandbox.command_line import (
    SYSTEM_FILES,
    USR_LINKS,
    command_line,
    environment_arguments,
    group_text,
    passwd_text,
    stage_arguments,
    unsandboxed_command,
)
from pinode.sandbox.firewall import Firewall
from pinode.sandbox.spec import APP_DIRECTORY, SYSTEM_PATH, SandboxError, SandboxSpec, Tools

STAGE = "/mnt"  # covered for this child only, see stage_arguments
PROBE_SECONDS = 10

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Isolation:
    """What this system can do. Without `tools.bwrap` children run without walls; `reason` then says why."""

    available: bool
    tools: Tools
    own_uids: bool  # a user per app: pinode is root here
    reason: str = ""
    hint: str = ""
    firewall: Firewall = field(default_factory=Firewall)  # closes nothing until it is put up

    def home(self, app_directory: Path) -> str:
        """The app's directory as its processes see it."""
        return APP_DIRECTORY if self.available else str(app_directory)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What to hand to `subprocess.Popen` or `asyncio.create_subprocess_exec`, with
    `start_new_session=True`.
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    pass_fds: tuple[int, ...]
    cwd: str
    user: int | None  # also the group; only without walls, where no setpriv does it


def find_isolation(*, required: bool, path: str = SYSTEM_PATH) -> Isolation:
    """Look, and try it once. Raises `SandboxError` where there must be walls and cannot be."""
    found = {
        name: shutil.which(name, path=path) for name in ("bwrap", "setpriv", "prlimit", "nice", "unshare")
    }
    tools = Tools(**{name: path for name, path in found.items() if path})
    own_uids = os.geteuid() == 0
    missing = [name for name in ("prlimit", "nice", "setpriv", "unshare") if not found[name]]
    if missing:
        raise SandboxError(f"{', '.join(missing)} is not installed.", hint="apt install util-linux coreutils")
    if found["bwrap"]:
        isolation = Isolation(True, tools, own_uids)
        reason, hint = (
            try_inside(isolation, ("/bin/true",)),
            "Allow user namespaces (sysctl kernel.unprivileged_userns_clone=1)",
        )
    else:
        reason, hint = "bubblewrap is not installed", "apt install bubblewrap"
    if not reason:
        return isolation
    if required:
        raise SandboxError(
            f"builds and dynos cannot be isolated here: {reason}.",
            hint=f"{hint}, or write `required = false` under [sandbox] to run them without.",
        )
    return Isolation(False, tools, own_uids, reason, hint)


def try_inside(isolation: Isolation, command: tuple[str, ...]) -> str:
    """Empty when the command really runs inside walls here and ends well, else what was said."""
    spec = SandboxSpec(command=command, cwd="/", uid=65_534 if isolation.own_uids else None)
    with prepared(spec, isolation) as ready:
        try:
            ended = subprocess.run(
                ready.argv,
                env=ready.env,
                pass_fds=ready.pass_fds,
                cwd=ready.cwd,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PROBE_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
    return (
        ""
        if ended.returncode == 0
        else ended.stderr.decode(errors="replace").strip()[-300:] or "bwrap failed"
    )


@contextmanager
def prepared(spec: SandboxSpec, isolation: Isolation) -> Iterator[Prepared]:
    """What starts the child. Inside the block the process is made; its descriptors are closed after it."""
    if not isolation.own_uids:
        spec = replace(spec, uid=None)
    if not isolation.available:
        yield _without_walls(spec, isolation.tools)
        return
    uid = os.geteuid() if spec.uid is None else spec.uid
    gid = os.getegid() if spec.uid is None else spec.uid
    staged = _staged(spec)
    contents = (environment_arguments(spec.env), passwd_text(uid), group_text(gid))
    descriptors = [_memory_file(content) for content in contents]
    try:
        argv = stage_arguments(isolation.tools, STAGE, staged)
        argv += command_line(
            spec,
            isolation.tools,
            present=[
                path for path in (*SYSTEM_FILES, *(f"/{name}" for name in USR_LINKS)) if os.path.exists(path)
            ],
            environment_fd=descriptors[0],
            passwd_fd=descriptors[1],
            group_fd=descriptors[2],
            staged=staged,
        )
        status = () if spec.status_fd is None else (spec.status_fd,)
        yield Prepared(argv, {"PATH": SYSTEM_PATH}, (*descriptors, *status), "/", None)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _without_walls(spec: SandboxSpec, tools: Tools) -> Prepared:
    def seen(path: str) -> str:
        """A path inside as the system knows it: the longest bind that holds it."""
        for bind in sorted(spec.binds, key=lambda bind: len(bind.target), reverse=True):
            if path == bind.target or path.startswith(bind.target.rstrip("/") + "/"):
                return bind.source + path[len(bind.target.rstrip("/")) :]
        return path

    user = spec.uid
    if user is not None and _staged(spec):
        # Only walls could show it what lies in a home directory; whoever allowed to do without them gets this
        # too.
        logger.warning("child runs as root, without sandbox command=%s", spec.command[0])
        user = None
    return Prepared(unsandboxed_command(spec, tools), spec.env, (), seen(spec.cwd), user)


def _memory_file(content: bytes) -> int:
    descriptor = os.memfd_create("pinode-sandbox")
    with open(os.dup(descriptor), "wb") as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _staged(spec: SandboxSpec) -> dict[str, str]:
    """All binds' sources at places the child's user can reach, if it cannot reach one of them where it is."""
    if spec.uid is None or all(_is_reachable(Path(bind.source), spec.uid) for bind in spec.binds):
        return {}
    sources = dict.fromkeys(bind.source for bind in spec.binds)
    return {source: f"{STAGE}/{number}" for number, source in enumerate(sources)}


def _is_reachable(path: Path, uid: int) -> bool:
    for folder in path.resolve().parents:
        found = folder.stat()
        allowed = stat.S_IXUSR if found.st_uid == uid else stat.S_IXOTH
        if not found.st_mode & allowed:
            return False
    return True
