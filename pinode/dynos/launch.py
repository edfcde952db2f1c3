"""From a launch to a process: what the app sees as its environment and its files."""

import socket
from collections.abc import Mapping
from pathlib import Path

from pinode.apps.release import Release
from pinode.apps.slug_kinds import slug_for
from pinode.cluster import Cluster
from pinode.dynos.dyno_record import Launch
from pinode.sandbox.interpreters import interpreter_binds
from pinode.sandbox.limits import Limits, uid_of_app
from pinode.sandbox.sandbox import Isolation
from pinode.sandbox.spec import APP_DIRECTORY, Bind, SandboxSpec, app_command

APP_FOLDER = "app"
HOSTNAME_LENGTH = 63
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


def digest_for_here(cluster: Cluster, release: Release) -> str:
    """The slug of the release that this node runs; where none fits, the first, which then says what lacks."""
    here = cluster.node(cluster.node_id)
    slug = slug_for(cluster.state.registry.slugs_of(release), here) if here is not None else None
    return slug.digest if slug is not None else release.slug_digest


def digest_for(launch: Launch, cluster: Cluster) -> str:
    """The slug to start it from now: its release may have got one for this kind of node since."""
    release = cluster.state.registry.release(launch.placement.app, launch.placement.version)
    return digest_for_here(cluster, release) if release is not None else launch.slug_digest


def environment(
    launch: Launch, config: Mapping[str, str], *, port: int, node_name: str, home: str
) -> dict[str, str]:
    """Everything the dyno finds in its environment. Config vars are given byte for byte.

    They may change how Python or gunicorn behave, but not what the platform says of itself.
    """
    placement = launch.placement
    return {
        "PATH": f"{home}/.venv/bin:{home}/bin:{SYSTEM_PATH}",
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "GUNICORN_CMD_ARGS": f"--bind=127.0.0.1:{port}",
        **config,
        "HOME": home,
        "PORT": str(port),
        "PINODE_APP": placement.app,
        "PINODE_DYNO": placement.dyno,
        "PINODE_RELEASE": f"v{placement.version}",
        "PINODE_NODE": node_name,
    }


def sandbox_spec(
    launch: Launch,
    env: Mapping[str, str],
    isolation: Isolation,
    *,
    folder: Path,
    python_folder: Path,
    processes: int,
    status_fd: int,
) -> SandboxSpec:
    """The dyno's walls. Raises `SandboxError` when its interpreter is not here."""
    app = folder / APP_FOLDER
    return SandboxSpec(
        command=app_command(launch.command),
        env=env,
        binds=(
            Bind(str(app), APP_DIRECTORY, writable=True),
            *interpreter_binds(app, managed=python_folder),
        ),
        uid=uid_of_app(launch.folder_name) if isolation.own_uids else None,
        status_fd=status_fd if isolation.available else None,
        hostname=launch.placement.dyno.replace("_", "-")[:HOSTNAME_LENGTH],
        limits=Limits(processes=processes),
    )


def is_free(port: int) -> bool:
    """Whether nobody listens on the port, on any address."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("", port))
        except OSError:
            return False
        return True
