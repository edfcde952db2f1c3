"""The log of a build, read from whichever node builds it, while it is being written or after.

The builder appends to `<directory>/<build id>.log`; `serve_build_logs` lets the other nodes read it as a
stream, and `build_log` finds the node and reads.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from pinode.apps.build import Build
from pinode.apps.errors import BuildNotFound
from pinode.cluster import Cluster
from pinode.deploy.log_copies import read_copy
from pinode.errors import PinodeError

logger = logging.getLogger(__name__)

METHOD = "builds.log"
CHUNK_BYTES = 64 * 1024
LOOK_SECONDS = 0.25  # between looks at the file, while somebody follows a build that runs here
HEARTBEAT_LOOKS = 20  # an empty chunk after so many looks without news
NEXT_CHUNK_SECONDS = 15.0  # a node silent for longer has died
CHANGE_SECONDS = 10.0


def serve_build_logs(cluster: Cluster, directory: Path) -> None:
    """Answer other nodes (and this one) that ask for logs of builds done here."""

    async def answer(_: str, payload: bytes) -> AsyncIterator[bytes]:
        asked = json.loads(payload)
        part = _Part("", int(asked["token"]), offset=int(asked["offset"]))
        async for chunk in _read_file(
            cluster, directory, int(asked["build"]), part, follow=bool(asked["follow"])
        ):
            yield chunk

    cluster.peers.serve_stream(METHOD, answer)


async def build_log(cluster: Cluster, build_id: int, *, follow: bool) -> AsyncGenerator[bytes, None]:
    """Yield the log from its beginning; with `follow`, until the build has ended. Raises `BuildNotFound`.

    When the build goes to another node, what that one writes follows. A node that cannot be reached is named
    in the log; with `follow` it is asked again for the rest. An empty chunk says that nothing is new.
    """
    part: _Part | None = None
    said_waiting = False
    while True:
        revision = cluster.revision
        build = _build(cluster, build_id)
        if build.node_id is not None and (part is None or (build.node_id, build.token) != part.place):
            part = _Part(build.node_id, build.token)
        if part is not None and not part.is_read:
            async with aclosing(_read_part(cluster, build, part, follow=follow)) as chunks:
                async for chunk in chunks:
                    yield chunk
            if part.is_read:
                continue  # the build may have ended or moved meanwhile
        if build.is_finished or not follow:
            break
        if part is None and not said_waiting:
            said_waiting = True
            yield _line(f"Build {build_id} of {build.app} waits for {_awaited(cluster, build)}.")
        await cluster.changed(revision, timeout_seconds=CHANGE_SECONDS)
        yield b""
    if part is None and build.failure:
        yield _line(build.failure)


@dataclass(slots=True)
class _Part:
    """What one node wrote under one lease, and how much of it was read."""

    node_id: str
    token: int
    offset: int = 0
    failures: int = 0
    is_read: bool = False

    @property
    def place(self) -> tuple[str, int]:
        return self.node_id, self.token


async def _read_part(
    cluster: Cluster, build: Build, part: _Part, *, follow: bool
) -> AsyncGenerator[bytes, None]:
    asked = {"build": build.id, "token": part.token, "offset": part.offset, "follow": follow}
    stream = cluster.peers.stream(
        part.node_id, METHOD, json.dumps(asked).encode(), timeout_seconds=NEXT_CHUNK_SECONDS
    )
    try:
        async for chunk in stream:
            part.offset += len(chunk)
            yield chunk
        part.is_read = True
    except (OSError, TimeoutError, PinodeError) as error:
        logger.info("build log unreachable build=%d node=%s error=%s", build.id, part.node_id, error)
        if build.is_finished:
            asked = {**asked, "offset": part.offset, "follow": False}
            async with aclosing(read_copy(cluster, build, METHOD, asked)) as chunks:
                async for chunk in chunks:
                    part.offset += len(chunk)
                    part.is_read = True
                    yield chunk
            if part.is_read:
                return
        part.failures += 1
        if part.failures == 1:
            node = cluster.node(part.node_id)
            yield _line(
                f"{node.name if node else part.node_id}, which has this part of the log, does not answer."
            )


async def _read_file(
    cluster: Cluster, directory: Path, build_id: int, part: _Part, *, follow: bool
) -> AsyncIterator[bytes]:
    """Yield the file; with `follow` what is added too, until the build ends or another lease holds it."""
    path = directory / f"{build_id}.log"
    quiet_looks = 0
    while True:
        build = cluster.state.registry.build(build_id)
        goes_on = follow and build is not None and not build.is_finished and build.token <= part.token
        # The state is looked at before the file, so that what was written before the end is never missed.
        while chunk := await asyncio.to_thread(_read, path, part.offset):
            part.offset += len(chunk)
            quiet_looks = 0
            yield chunk
        if not goes_on:
            return
        quiet_looks += 1
        if quiet_looks % HEARTBEAT_LOOKS == 0:
            yield b""
        await asyncio.sleep(LOOK_SECONDS)


def _awaited(cluster: Cluster, build: Build) -> str:
    """What a build that has not begun waits for."""
    builds = cluster.state.registry.unfinished_builds()
    first = next((one for one in builds if one.app == build.app and one.state == "building"), None)
    return f"build {first.id} of the same app, which runs" if first is not None else "a node"


def _read(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(CHUNK_BYTES)
    except FileNotFoundError:
        return b""


def _build(cluster: Cluster, build_id: int) -> Build:
    build = cluster.state.registry.build(build_id)
    if build is None:
        raise BuildNotFound(build_id=build_id)
    return build


def _line(text: str) -> bytes:
    return f"-----> {text}\n".encode()
