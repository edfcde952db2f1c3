"""The log of a build, read from whichever node builds it, while it is being written or after.

The builder appends to `<directory>/<build id>.log`; `serve_build_logs` lets the other nodes read it as a stream, and
`build_log` finds the node and reads.
"""

from collections.abc import AsyncIterator
from pathlib import Path

from pinode.cluster import Cluster

METHOD = "builds.log"


def serve_build_logs(cluster: Cluster, directory: Path) -> None:
    """Answer other nodes (and this one) that ask for logs of builds done here."""


async def build_log(cluster: Cluster, build_id: int, *, follow: bool) -> AsyncIterator[bytes]:
    """Yield the log from its beginning; with `follow`, until the build has ended. Raises `NotFound`."""
    yield b""
