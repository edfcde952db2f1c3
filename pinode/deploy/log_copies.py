"""Logs of builds on a second node, so that they can be read when the node that built is away."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping
from pathlib import Path

from pinode.apps.build import Build
from pinode.apps.errors import BuildNotFound
from pinode.apps.observed import NodeView
from pinode.cluster import Cluster
from pinode.errors import InvalidInput, PinodeError

logger = logging.getLogger(__name__)

METHOD = "builds.keep_log"
CHUNK_BYTES = 512 * 1024
SEND_SECONDS = 10.0
SPARE_BYTES = 1024 * 1024  # a log may be so much over its bound: what the node itself says


def serve_log_copies(cluster: Cluster, directory: Path) -> None:
    """Take copies of logs of builds that were done elsewhere."""

    async def keep(node_id: str, payload: bytes) -> bytes:
        head, _, data = payload.partition(b"\n")
        asked = json.loads(head)
        build_id, offset = int(asked["build"]), int(asked["offset"])
        build = cluster.state.registry.build(build_id)
        if build is None:
            raise BuildNotFound(build_id=build_id)
        most = cluster.settings.limits.build_log_bytes + SPARE_BYTES
        if build.node_id == cluster.node_id or not 0 <= offset <= offset + len(data) <= most:
            raise InvalidInput(f"the log of build {build_id} is not for here.")
        await asyncio.to_thread(_write, directory, build_id, offset, data)
        if offset == 0:
            await asyncio.to_thread(forget_old_logs, directory, known_builds(cluster))
        return b""

    cluster.peers.serve(METHOD, keep)


async def keep_log(cluster: Cluster, directory: Path, build_id: int) -> None:
    """After a build of this node: its log on a second node too; the logs of builds that are forgotten go."""
    await asyncio.to_thread(forget_old_logs, directory, known_builds(cluster))
    build, path = cluster.state.registry.build(build_id), directory / f"{build_id}.log"
    if build is not None and build.node_id == cluster.node_id and path.exists():
        await copy_log(cluster, path, build_id)


async def copy_log(cluster: Cluster, path: Path, build_id: int) -> str | None:
    """Have another node keep the log too, the one with the most room first; its id, None if none could."""
    others = [node for node in cluster.nodes() if node.state == "alive" and node.node_id != cluster.node_id]
    for node in sorted(others, key=lambda node: (-node.stats.disk_free_bytes, node.node_id)):
        try:
            await _send(cluster, node, path, build_id)
            return node.node_id
        except (PinodeError, OSError, TimeoutError) as error:
            logger.info("build log not copied build=%d node=%s reason=%s", build_id, node.name, error)
    return None


async def read_copy(
    cluster: Cluster, build: Build, method: str, asked: Mapping[str, object]
) -> AsyncGenerator[bytes, None]:
    """Yield the log from whichever node has a copy, this one at the latest; nothing when none has.

    `asked` is what `method` answers with the log of this node.
    """
    for node in cluster.nodes():
        if node.node_id == build.node_id or node.state not in ("alive", "suspect"):
            continue
        found = False
        stream = cluster.peers.stream(
            node.node_id, method, json.dumps(dict(asked)).encode(), timeout_seconds=SEND_SECONDS
        )
        try:
            async for chunk in stream:
                found = found or bool(chunk)
                yield chunk
        except (PinodeError, OSError, TimeoutError) as error:
            logger.info("no copy of a build log build=%d node=%s reason=%s", build.id, node.name, error)
        if found:
            return


def known_builds(cluster: Cluster) -> set[int]:
    """Ids of all builds that are kept, of all apps."""
    registry = cluster.state.registry
    return {build.id for app in registry.apps() for build in registry.builds(app.name)}


def forget_old_logs(directory: Path, kept: Collection[int]) -> None:
    """Delete the logs of builds that are not kept."""
    for path in _logs_in(directory):
        if int(path.stem) not in kept:
            path.unlink(missing_ok=True)


def _logs_in(directory: Path) -> Iterable[Path]:
    return [path for path in directory.glob("*.log") if path.stem.isdecimal()]


async def _send(cluster: Cluster, node: NodeView, path: Path, build_id: int) -> None:
    offset = 0
    while True:
        data = await asyncio.to_thread(_read, path, offset)
        if offset and not data:
            return
        head = json.dumps({"build": build_id, "offset": offset}).encode()
        await cluster.peers.call(node.node_id, METHOD, head + b"\n" + data, timeout_seconds=SEND_SECONDS)
        offset += len(data)
        if not data:
            return


def _read(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(CHUNK_BYTES)


def _write(directory: Path, build_id: int, offset: int, data: bytes) -> None:
    directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    with (directory / f"{build_id}.log").open("wb" if offset == 0 else "r+b") as file:
        file.seek(offset)
        file.write(data)
