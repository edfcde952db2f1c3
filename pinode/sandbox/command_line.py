"""From a `SandboxSpec` to an argument list: limits, then the child's user, then bubblewrap, then the command.

The order matters. Limits and user are set by trusted programs with an empty environment, before bubblewrap,
which run as root would keep all capabilities. The child's own environment (it may name a library to preload)
is given to bubblewrap through a file descriptor and set only for what runs inside.
"""

from collections.abc import Iterable, Mapping, Sequence

from pinode.sandbox.limits import limit_arguments
from pinode.sandbox.spec import SandboxSpec, Tools

# What of the system is seen, read-only, if it is there. Nothing under /home, /root, /var, /run or /srv.
SYSTEM_FILES = (
    "/usr", "/etc/alternatives", "/etc/ca-certificates", "/etc/gai.conf", "/etc/hosts", "/etc/ld.so.cache",
    "/etc/localtime", "/etc/mime.types", "/etc/nsswitch.conf", "/etc/pki", "/etc/protocols",
    "/etc/resolv.conf", "/etc/services", "/etc/ssl/certs", "/etc/ssl/openssl.cnf",
)  # fmt: skip
USR_LINKS = ("bin", "lib", "lib32", "lib64", "sbin")
STAGE_SCRIPT = """\
mount -t tmpfs -o mode=0755,size=64k stage "$1"
shift
while [ "$1" != -- ]; do
    if [ -d "$1" ]; then mkdir "$2"; else : > "$2"; fi
    mount --bind "$1" "$2"
    shift 2
done
shift
exec "$@"
"""
SHARED_MEMORY_BYTES = 16 * 1024 * 1024


def environment_arguments(env: Mapping[str, str]) -> bytes:
    """The child's environment as bubblewrap reads it from a file descriptor: arguments, each ended by NUL."""
    words = [word for name, value in env.items() for word in ("--setenv", name, value)]
    return b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)


def passwd_text(uid: int) -> bytes:
    """An /etc/passwd that knows only the child; ssh and getpwuid() want one."""
    return f"root:x:0:0::/:/bin/sh\napp:x:{uid}:{uid}::/app:/bin/sh\n".encode()


def group_text(gid: int) -> bytes:
    """An /etc/group that knows only the child's group."""
    return f"root:x:0:\napp:x:{gid}:\n".encode()


def command_line(
    spec: SandboxSpec,
    tools: Tools,
    *,
    present: Iterable[str],
    environment_fd: int,
    passwd_fd: int,
    group_fd: int,
    staged: Mapping[str, str] | None = None,
) -> list[str]:
    """The whole argument list. `present` says which of SYSTEM_FILES and USR_LINKS (as `/bin`) this system
    has.

    `staged` names another path at which the child's user can reach a bind's source; see `stage_arguments`.
    """
    staged = staged or {}
    known = set(present)
    words = [*privilege_arguments(spec, tools), tools.bwrap]
    for path in SYSTEM_FILES:
        if path in known:
            words += ["--ro-bind", path, path]
    for name in USR_LINKS:
        if f"/{name}" in known:
            words += ["--symlink", f"usr/{name}", f"/{name}"]
    words += ["--proc", "/proc", "--dev", "/dev", "--size", str(SHARED_MEMORY_BYTES), "--tmpfs", "/dev/shm"]
    if spec.tmp_bytes is not None:
        words += ["--size", str(spec.tmp_bytes), "--tmpfs", "/tmp"]
    # Targets in order, so that a bind below another one is not covered by it.
    for bind in sorted(spec.binds, key=lambda bind: bind.target):
        kind = "--bind" if bind.writable else "--ro-bind"
        words += [kind, staged.get(bind.source, bind.source), bind.target]
    words += ["--ro-bind-data", str(passwd_fd), "/etc/passwd", "--ro-bind-data", str(group_fd), "/etc/group"]
    words += ["--remount-ro", "/dev", "--remount-ro", "/"]
    words += [
        "--unshare-user",
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
        "--hostname",
        spec.hostname,
    ]
    # A session of its own: its process group holds the child alone, not bubblewrap, so that it can be
    # signalled.
    words += ["--new-session"]
    if spec.die_with_parent:
        words += ["--die-with-parent"]
    if spec.status_fd is not None:
        words += ["--json-status-fd", str(spec.status_fd)]
    words += ["--args", str(environment_fd), "--chdir", spec.cwd, "--", *spec.command]
    return words


def privilege_arguments(spec: SandboxSpec, tools: Tools) -> list[str]:
    """The words before bubblewrap: limits and, where the child has a user of its own, that user without any
    right.
    """
    words = [tools.prlimit, *limit_arguments(spec.limits, own_uid=spec.uid is not None), "--"]
    if spec.limits.niceness:
        words = [tools.nice, "-n", str(spec.limits.niceness), *words]
    words += [tools.setpriv]
    if spec.uid is not None:
        words += ["--reuid", str(spec.uid), "--regid", str(spec.uid), "--clear-groups", "--bounding-set=-all"]
    words += ["--inh-caps=-all", "--no-new-privs", "--"]
    return words


def stage_arguments(tools: Tools, stage: str, staged: Mapping[str, str]) -> list[str]:
    """Words that go before all others, run as root: they show sources that a foreign user cannot reach at
    `stage`.

    A user of its own may not pass through somebody's home directory (0700), where a demo's Python may lie.
    Opening the home to everybody is refused; this opens the named directories, to this child only, in a mount
    namespace of its own. The script is ours and constant; the paths are its arguments.
    """
    if not staged:
        return []
    words = [
        tools.unshare,
        "--mount",
        "--propagation",
        "private",
        "--",
        "/bin/sh",
        "-euc",
        STAGE_SCRIPT,
        "stage",
        stage,
    ]
    for source, place in staged.items():
        words += [source, place]
    return [*words, "--"]


def unsandboxed_command(spec: SandboxSpec, tools: Tools) -> Sequence[str]:
    """The same child without walls. Its user, environment and directory are set by whoever starts it."""
    words = [tools.prlimit, *limit_arguments(spec.limits, own_uid=spec.uid is not None), "--"]
    if spec.limits.niceness:
        words = [tools.nice, "-n", str(spec.limits.niceness), *words]
    return [*words, *spec.command]
