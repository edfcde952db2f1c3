"""One-off dynos: a command of a person's own, in the app's sandbox, with its files and config, run once.

Nothing of it is agreed: who asked watches it, or reads its log. It ends with who watches it, and with the
process of its node; what it writes into /app is gone afterwards.
"""

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pinode.apps.app import App
from pinode.apps.checks import COMMAND_CHARS, check_app_name
from pinode.apps.errors import AppDestroyed, AppNotFound
from pinode.apps.placement import Placement
from pinode.apps.slug_kinds import slug_for
from pinode.cluster import Cluster
from pinode.dynos.dyno_record import Launch
from pinode.dynos.launch import APP_FOLDER, digest_for_here, environment, sandbox_spec
from pinode.dynos.process import STATUS_NAME, DynoProcess, end_leftovers
from pinode.errors import Conflict, InvalidInput, NotFound, PinodeError
from pinode.logs.dyno_log import DynoLog
from pinode.sandbox.interpreters import settle_interpreter
from pinode.sandbox.leftovers import remove_folder
from pinode.sandbox.limits import uid_of_app
from pinode.sandbox.sandbox import Isolation
from pinode.slugs.replication import SlugReplication
from pinode.slugs.slug_store import SlugStore

METHOD = "dyno.run"
PROCESS_TYPE = "run"
AT_ONCE = 8  # on one node
CHUNK_BYTES = 16 * 1024
HEARTBEAT_SECONDS = 5.0
NEXT_CHUNK_SECONDS = 20.0
LONGEST_SECONDS = 24 * 3600.0
OUTPUT, EXIT, NAME = b"o", b"x", b"n"  # first byte of a chunk

logger = logging.getLogger(__name__)


class NothingToRun(NotFound):
    """The app has no release whose files a command could use."""

    code = "no_release"

    def __init__(self, app: str) -> None:
        super().__init__(
            f"{app!r} has no live release, so there is nothing to run a command in.", hint="Deploy it first."
        )


class OneOffs:
    """Runs commands on this node. `directory` is `data_dir/run`, `log_directory` `data_dir/logs`."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        directory: Path,
        log_directory: Path,
        slugs: SlugStore,
        replication: SlugReplication,
        isolation: Isolation,
    ) -> None:
        self._cluster = cluster
        self._directory = directory
        self._log_directory = log_directory
        self._slugs = slugs
        self._replication = replication
        self._isolation = isolation
        self._detached: set[asyncio.Task[None]] = set()
        self._running = 0
        self._count = 0
        self._is_clear = asyncio.Event()  # of what an earlier process of this node left

    def serve(self) -> None:
        """Answer `dyno.run`, for other nodes and this one."""
        self._cluster.peers.serve_stream(METHOD, self._answer)

    async def run(self) -> None:
        """Clear away what an earlier process left; end what still runs when cancelled."""
        await asyncio.to_thread(self._clear)
        self._is_clear.set()
        try:
            await asyncio.Event().wait()
        finally:
            for task in self._detached:
                task.cancel()
            await asyncio.gather(*self._detached, return_exceptions=True)

    def _clear(self) -> None:
        for folder in self._directory.iterdir() if self._directory.is_dir() else ():
            end_leftovers(folder / STATUS_NAME)
            remove_folder(folder)

    async def _answer(self, _: str, payload: bytes) -> AsyncIterator[bytes]:
        await self._is_clear.wait()
        asked = json.loads(payload)
        app, launch = self._launch(str(asked["app"]), str(asked["command"]))
        with contextlib.ExitStack() as place:
            place.enter_context(self._one_more())
            yield NAME + launch.placement.dyno.encode()
            if asked.get("detach"):
                self._detach(app, launch, place.pop_all())
                return
            async with contextlib.aclosing(self._output_of(app, launch)) as chunks:
                async for chunk in chunks:
                    yield chunk

    def _detach(self, app: App, launch: Launch, place: contextlib.ExitStack) -> None:
        task = asyncio.create_task(self._log_it(app, launch), name=launch.placement.dyno)
        self._detached.add(task)
        task.add_done_callback(self._detached.discard)
        task.add_done_callback(lambda _: place.close())  # also when it ends before it begins

    def _launch(self, app_name: str, command: str) -> tuple[App, Launch]:
        check_app_name(app_name)
        if not command.strip() or len(command) > COMMAND_CHARS or "\0" in command:
            raise InvalidInput(f"the command must have 1 to {COMMAND_CHARS} characters.")
        registry = self._cluster.state.registry
        app = registry.app(app_name)
        if app is None:
            raise AppNotFound(app=app_name)
        release = registry.live_release(app_name)
        if release is None:
            raise NothingToRun(app_name)
        self._count += 1
        placement = Placement(
            number=0,
            app=app_name,
            version=release.version,
            process_type=PROCESS_TYPE,
            ordinal=int.from_bytes(os.urandom(2), "big") * 1000 + self._count % 1000,
            node_id=self._cluster.node_id,
        )
        launch = Launch(
            placement=placement,
            slug_digest=digest_for_here(self._cluster, release),
            command=command,
            config=release.config,
            folder=app.folder,
        )
        return app, launch

    async def _log_it(self, app: App, launch: Launch) -> None:
        log = DynoLog(
            self._log_directory,
            app=launch.folder_name,
            dyno=launch.placement.dyno,
            placement=self._cluster.commit_index,
            most_bytes=self._cluster.settings.limits.log_bytes // 2,
        )
        output = log.open()
        try:
            async with contextlib.aclosing(self._output_of(app, launch)) as chunks:
                async for chunk in chunks:
                    if chunk[:1] == OUTPUT:
                        await asyncio.to_thread(os.write, output, chunk[1:])
                    log.notice_growth()
                    if chunk[:1] == EXIT:
                        log.say(f"It ended with status {chunk[1:].decode()}")
        except (AppNotFound, AppDestroyed):
            pass  # its log goes with its app
        except (PinodeError, OSError) as error:
            log.say(f"It could not be run: {error}")
        finally:
            os.close(output)

    async def _output_of(self, app: App, launch: Launch) -> AsyncGenerator[bytes, None]:
        """Run it: what it prints, a heartbeat while it is quiet, and its status.

        Ends it with `AppNotFound` or `AppDestroyed` when its app is gone, at the latest with a heartbeat.
        """
        folder = self._directory / launch.placement.dyno
        try:
            await self._prepare(launch, folder)
            async with contextlib.aclosing(self._process_output(launch, folder)) as chunks:
                async for chunk in chunks:
                    self._cluster.state.registry.same_app(app)
                    yield chunk
        finally:
            await asyncio.shield(asyncio.to_thread(remove_folder, folder))

    @contextmanager
    def _one_more(self) -> Iterator[None]:
        """Raises `Conflict` when as many run as may. Nothing is awaited before the next one counts."""
        if self._running >= AT_ONCE:
            raise Conflict(
                f"{self._cluster.node_name} runs {AT_ONCE} one-off dynos already.",
                hint="Wait for one to end.",
            )
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def _prepare(self, launch: Launch, folder: Path) -> None:
        await asyncio.to_thread(lambda: folder.mkdir(mode=0o700, parents=True))
        if not self._slugs.has(launch.slug_digest):
            await self._replication.fetch(launch.slug_digest)
        owner = uid_of_app(launch.folder_name) if self._isolation.own_uids else None
        await self._slugs.unpack(launch.slug_digest, folder / APP_FOLDER, owner=owner)
        await asyncio.to_thread(settle_interpreter, folder / APP_FOLDER)

    async def _process_output(self, launch: Launch, folder: Path) -> AsyncGenerator[bytes, None]:
        reading, writing = os.pipe()
        reader = asyncio.StreamReader(limit=CHUNK_BYTES)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", 0)
        )
        process = None
        ended = asyncio.Event()
        try:
            try:
                process = await asyncio.to_thread(self._start, launch, folder, writing)
            finally:
                os.close(writing)
            process.watch(ended.set)
            async with asyncio.timeout(LONGEST_SECONDS):
                while True:
                    try:
                        async with asyncio.timeout(HEARTBEAT_SECONDS):
                            chunk = await reader.read(CHUNK_BYTES)
                    except TimeoutError:
                        yield b""
                        continue
                    if not chunk:
                        break
                    yield OUTPUT + chunk
                while not ended.is_set():  # it may have closed its output and go on
                    yield b""
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(HEARTBEAT_SECONDS):
                            await ended.wait()
            code = process.exit_code()
            yield EXIT + str(1 if code is None else code).encode()
        finally:
            transport.close()
            if process is not None:
                if ended.is_set():
                    end_leftovers(folder / STATUS_NAME)
                else:
                    process.kill()
                process.close()

    def _start(self, launch: Launch, folder: Path, output: int) -> DynoProcess:
        settings, cluster = self._cluster.settings, self._cluster
        config = {name: cluster.reveal(value) for name, value in launch.config.values.items()}
        home = self._isolation.home(folder / APP_FOLDER)
        env = environment(launch, config, port=0, node_name=cluster.node_name, home=home)
        del env["PORT"], env["GUNICORN_CMD_ARGS"]
        status = folder / STATUS_NAME
        status_fd = os.open(status, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            spec = sandbox_spec(
                launch,
                env,
                self._isolation,
                folder=folder,
                python_folder=settings.node.data_dir / "python",
                processes=settings.limits.dyno_processes,
                status_fd=status_fd,
            )
            spec = replace(spec, die_with_parent=True)
            return DynoProcess.start(spec, self._isolation, output=output, status=status)
        finally:
            os.close(status_fd)


async def run_command(
    cluster: Cluster, app: str, command: str, *, detach: bool
) -> AsyncGenerator[tuple[str, bytes], None]:
    """Run it on a node that can: ("name", dyno), ("output", bytes) …, ("exit", status); "" while quiet."""
    payload = json.dumps({"app": app, "command": command, "detach": detach}).encode()
    stream = cluster.peers.stream(
        _node_for(cluster, app), METHOD, payload, timeout_seconds=NEXT_CHUNK_SECONDS
    )
    kinds = {OUTPUT: "output", EXIT: "exit", NAME: "name"}
    try:
        async for chunk in stream:
            yield kinds.get(chunk[:1], ""), chunk[1:]
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()  # now: it ends the command when nobody watches any more


def _node_for(cluster: Cluster, app: str) -> str:
    """This node if it can, else the one with the fewest dynos."""
    release = cluster.state.registry.live_release(app)
    if release is None:
        raise NothingToRun(app)
    slugs = cluster.state.registry.slugs_of(release)
    able = [node for node in cluster.nodes() if node.takes("deploy") and slug_for(slugs, node)]
    if not able:
        raise Conflict(f"no node can run {app!r} now.", hint="`pinode nodes` shows how they are.")
    return min(able, key=lambda node: (node.node_id != cluster.node_id, node.dynos, node.name)).node_id
