"""An app's log: the newest lines of all its dynos on all nodes, or every line from now on."""

import asyncio
import heapq
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pinode.apps.observed import NodeView
from pinode.cluster import Cluster
from pinode.errors import PinodeError
from pinode.logs.dyno_log import dyno_of, log_files, old_path, read_from, read_tail
from pinode.logs.log_codec import (
    MOST_LINES,
    LogQuery,
    decode_lines,
    decode_query,
    encode_lines,
    encode_query,
)
from pinode.logs.log_line import LogLine, RawLine

TAIL_METHOD = "logs.tail"
FOLLOW_METHOD = "logs.follow"
TAIL_SECONDS = 3.0  # for a node to answer; half the nodes dead must not make people wait
LOOK_SECONDS = 0.25  # between looks at files, while somebody follows them
HEARTBEAT_LOOKS = 20  # an empty chunk after so many looks without a line
CHUNK_SECONDS = 15.0  # a node silent for longer has died
QUEUED_CHUNKS = 100
RECONNECT_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Of which node (None: all), and not older than when: milliseconds of the wall clock."""

    node_id: str | None = None
    since_ms: int = 0

    def nodes(self, cluster: Cluster) -> list[NodeView]:
        """Those to ask."""
        return [node for node in cluster.nodes() if self.node_id in (None, node.node_id)]

    def of(self, lines: Iterable[LogLine]) -> list[LogLine]:
        """Those that are young enough."""
        return [line for line in lines if line.time_ms >= self.since_ms]


ALL = Scope()


class AppLogs:
    """Answers other nodes (and this one) for the dynos that run or ran here.

    `directory` is `data_dir/logs`.
    """

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self._cluster = cluster
        self._directory = directory

    def serve(self) -> None:
        """Answer `logs.tail` and `logs.follow`."""
        self._cluster.peers.serve(TAIL_METHOD, self._tail)
        self._cluster.peers.serve_stream(FOLLOW_METHOD, self._follow)

    async def _tail(self, peer: str, payload: bytes) -> bytes:
        query = decode_query(payload)
        return encode_lines(await asyncio.to_thread(self._newest, query))

    async def _follow(self, peer: str, payload: bytes) -> AsyncIterator[bytes]:
        query = decode_query(payload)
        folder, since = self._place(query)
        follower = _Follower(self._directory, query, self._cluster.node_name, folder=folder, since=since)
        yield encode_lines(await asyncio.to_thread(self._newest, query))
        quiet_looks = 0
        while True:
            lines = await asyncio.to_thread(follower.look)
            quiet_looks = 0 if lines else quiet_looks + 1
            if lines or quiet_looks % HEARTBEAT_LOOKS == 0:
                yield encode_lines(lines)
            await asyncio.sleep(LOOK_SECONDS)

    def _place(self, query: LogQuery) -> tuple[str, int]:
        """The app's folder, and from which placement on what is in it is of this very app."""
        app = self._cluster.state.registry.app(query.app)
        return (app.folder_name, app.created_index) if app is not None else (query.app, 0)

    def _newest(self, query: LogQuery) -> list[LogLine]:
        folder, since = self._place(query)
        known = log_files(self._directory, folder, since=since)
        files = [log for log in known if query.wants(dyno_of(log))]
        lines = [_named(read_tail(log, query.lines), log, query, self._cluster.node_name) for log in files]
        return merge(lines, query.lines)


class _Follower:
    """What an app's files on this node got since the last look."""

    def __init__(self, directory: Path, query: LogQuery, node: str, *, folder: str, since: int) -> None:
        self._directory = directory
        self._folder = folder
        self._since = since
        self._query = query
        self._node = node
        self._offsets = {log: _size_of(log) for log in self._files()}
        self._started_over = {log: _changed_at(old_path(log)) for log in self._offsets}

    def look(self) -> list[LogLine]:
        found = []
        for log in self._files():
            changed = _changed_at(old_path(log))
            offset = self._offsets.get(log, 0) if changed == self._started_over.get(log, 0) else 0
            self._started_over[log] = changed
            lines, self._offsets[log] = read_from(log, offset)
            found.append(_named(lines, log, self._query, self._node))
        return merge(found, MOST_LINES)

    def _files(self) -> list[Path]:
        known = log_files(self._directory, self._folder, since=self._since)
        return [log for log in known if self._query.wants(dyno_of(log))]


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _named(lines: Iterable[RawLine], log: Path, query: LogQuery, node: str) -> list[LogLine]:
    return [
        LogLine(
            time_ms=line.time_ms,
            app=query.app,
            dyno=dyno_of(log),
            node=node,
            text=line.text,
            source="pinode" if line.is_platform else "app",
        )
        for line in lines
    ]


def merge(logs: Iterable[Sequence[LogLine]], count: int) -> list[LogLine]:
    """The newest `count` lines of several logs by time; the lines of one log keep their order."""
    merged = list(heapq.merge(*logs, key=lambda line: line.time_ms))
    return merged[-count:] if count > 0 else []


async def tail(
    cluster: Cluster, app: str, lines: int = 100, process: str | None = None, scope: Scope = ALL
) -> list[LogLine]:
    """The newest lines of the app, oldest first. `process` is a type (`web`) or a dyno (`web.1`).

    A node that is dead or does not answer is named in a line of its own; the others' lines are there.
    """
    query = LogQuery(app=app, lines=max(0, min(lines, MOST_LINES)), process=process)
    answers = await asyncio.gather(*(_tail_of(cluster, node, query) for node in scope.nodes(cluster)))
    missing = [answer for answer in answers if isinstance(answer, LogLine)]
    found = merge((answer for answer in answers if not isinstance(answer, LogLine)), query.lines)
    return [*missing, *scope.of(found)]


async def _tail_of(cluster: Cluster, node: NodeView, query: LogQuery) -> list[LogLine] | LogLine:
    if node.state == "left":
        return []
    if node.state == "dead" and node.node_id != cluster.node_id:
        return _missing(node, query, "is dead")
    try:
        payload = await cluster.peers.call(
            node.node_id, TAIL_METHOD, encode_query(query), timeout_seconds=TAIL_SECONDS
        )
        return decode_lines(payload, app=query.app, node=node.name)
    except (PinodeError, OSError, TimeoutError):
        return _missing(node, query, "did not answer")


def _missing(node: NodeView, query: LogQuery, what: str) -> LogLine:
    return LogLine(
        time_ms=time.time_ns() // 1_000_000,
        app=query.app,
        dyno=node.name,
        node=node.name,
        text=f"node {node.name} {what}: what dynos printed there is missing here",
        source="pinode",
    )


async def follow(
    cluster: Cluster, app: str, lines: int = 0, process: str | None = None, scope: Scope = ALL
) -> AsyncIterator[LogLine]:
    """The newest `lines` lines, then every further one, for ever, of dynos and nodes that start later too.

    Close it (`contextlib.aclosing`) when nobody listens any more.
    """
    followed = _FollowedNodes(
        cluster, LogQuery(app=app, lines=max(0, min(lines, MOST_LINES)), process=process), scope
    )
    task = asyncio.create_task(followed.run())
    try:
        for line in scope.of(await followed.newest()):
            yield line
        while True:
            for line in await followed.arriving.get():
                yield line
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class _FollowedNodes:
    """The streams of all nodes that live, each begun anew when it breaks."""

    def __init__(self, cluster: Cluster, query: LogQuery, scope: Scope) -> None:
        self._cluster = cluster
        self._query = query
        self._scope = scope
        self._first: dict[str, asyncio.Future[list[LogLine]]] = {}  # by node id: what it had at the beginning
        self.arriving: asyncio.Queue[list[LogLine]] = asyncio.Queue(maxsize=QUEUED_CHUNKS)
        for node in self._living():
            self._first[node.node_id] = asyncio.get_running_loop().create_future()

    def _living(self) -> list[NodeView]:
        return [node for node in self._scope.nodes(self._cluster) if node.state in ("alive", "suspect")]

    async def newest(self) -> list[LogLine]:
        """What the nodes had when we began; those that do not answer in time are left out."""
        if self._first:
            await asyncio.wait(self._first.values(), timeout=TAIL_SECONDS)
        answers = [future.result() for future in self._first.values() if future.done()]
        return merge(answers, self._query.lines)

    async def run(self) -> None:
        """Follow every node that lives, until cancelled."""
        streams: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                revision = self._cluster.revision
                for node in self._living():
                    if node.node_id not in streams or streams[node.node_id].done():
                        streams[node.node_id] = group.create_task(self._stream(node))
                await self._cluster.changed(revision, timeout_seconds=RECONNECT_SECONDS)

    async def _stream(self, node: NodeView) -> None:
        first = self._first.get(node.node_id)
        is_first = first is not None and not first.done()
        query = (
            self._query if is_first else LogQuery(app=self._query.app, lines=0, process=self._query.process)
        )
        chunks = self._cluster.peers.stream(
            node.node_id, FOLLOW_METHOD, encode_query(query), timeout_seconds=CHUNK_SECONDS
        )
        try:
            async for chunk in chunks:
                lines = decode_lines(chunk, app=self._query.app, node=node.name)
                if first is not None and not first.done():
                    first.set_result(lines)
                elif lines:
                    await self.arriving.put(lines)
        except (PinodeError, OSError, TimeoutError):
            if first is not None and not first.done():
                first.set_result([_missing(node, query, "did not answer")])
