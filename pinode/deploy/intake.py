"""What is pushed or uploaded to this node: received within bounds, made a source, and kept by two nodes.

Only then a build of it is asked for. Whatever ends an intake early, also a client that is gone in the middle,
leaves nothing behind.
"""

import asyncio
import itertools
import logging
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from builders.request import Bounds, BuildFailure
from pinode.apps.app import App
from pinode.apps.source import Source
from pinode.cluster import Cluster
from pinode.deploy.build_machine import BuildersProgram, find_builders_program
from pinode.deploy.copies import Copies
from pinode.deploy.intake_process import IntakeOrder, make_folders, pack_path, run_intake, source_path
from pinode.deploy.push_cache import PushCache
from pinode.errors import PinodeError, TooLarge
from pinode.sandbox.leftovers import remove_folder
from pinode.sandbox.sandbox import Isolation
from pinode.slugs.slug_store import SlugStore

PROCESSES_AT_ONCE = 2  # intakes that read what they received; others wait for their turn
WRITE_BYTES = 1024 * 1024
LOOK_BYTES = 16 * 1024 * 1024  # received between two looks at the free space
MIB = 1024 * 1024

logger = logging.getLogger(__name__)


class IntakeRefused(PinodeError):
    """What was sent is nothing to build."""

    code = "intake_refused"


class DiskFull(PinodeError):
    """This node's disk has too little room left."""

    code = "disk_full"


class NoSecondCopy(PinodeError):
    """No other node could take a copy, and one copy alone could be lost."""

    code = "no_second_copy"


class Intake:
    """One a node. `directory` is its alone: what arrives lies there, and what was pushed before."""

    def __init__(
        self, cluster: Cluster, *, directory: Path, store: SlugStore, copies: Copies, isolation: Isolation
    ) -> None:
        self.cluster = cluster
        self.isolation = isolation
        self.store = store
        self.copies = copies
        self.cache = PushCache(directory / "pushed", most_bytes=cluster.settings.limits.clone_bytes)
        self.turns = asyncio.Semaphore(PROCESSES_AT_ONCE)
        self._work = directory / "work"
        directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._numbers = itertools.count(1)
        self._program: BuildersProgram | None = None
        self._preparing = asyncio.Lock()

    async def known_commits(self, app: App) -> list[str]:
        """Commits of the app that a push to this node need not bring along."""
        return await asyncio.to_thread(self.cache.known, cache_name(app))

    async def check_room(self) -> None:
        """Raises `DiskFull` when this node's disk is under its floor."""
        floor = self.cluster.settings.limits.free_disk_bytes
        free = (await asyncio.to_thread(shutil.disk_usage, self._work.parent)).free
        if free < floor:
            raise DiskFull(
                f"the disk of {self.cluster.node_name} has only {free // MIB} MiB left.",
                hint="Send it to another node, free some space there, or lower [limits] free_disk_bytes.",
            )

    @asynccontextmanager
    async def reception(self, app: App) -> AsyncIterator["Reception"]:
        """Room for what one client sends; all of it is gone after the block."""
        number = next(self._numbers)
        folder = self._work / str(number)
        async with self._preparing:
            if self._program is None:
                self._program = await asyncio.to_thread(self._prepare)
        try:
            given = await asyncio.to_thread(
                make_folders, folder, app=app.folder_name, isolation=self.isolation
            )
            reception = Reception(self, app, folder, given, self._program)
            try:
                yield reception
            finally:
                await reception.close()
        finally:
            await asyncio.shield(asyncio.to_thread(remove_folder, folder))

    def _prepare(self) -> BuildersProgram:
        """What the process before left is of no use."""
        remove_folder(self._work)
        self._work.mkdir(mode=0o711, parents=True)
        return find_builders_program(self.cluster.settings.node.data_dir)


class Reception:
    """One push or upload that arrives: `write` its bytes, then `finish`."""

    def __init__(self, intake: Intake, app: App, folder: Path, given: Path, program: BuildersProgram) -> None:
        self._intake = intake
        self._app = app
        self._folder = folder
        self._program = program
        self._file = given.open("xb")
        os.fchmod(self._file.fileno(), 0o644)  # whatever our umask: the intake's own user reads it
        self._waiting = bytearray()
        self._received = 0
        self._looked_at = -LOOK_BYTES

    async def write(self, data: bytes) -> None:
        """The next bytes. Raises `TooLarge` or `DiskFull`."""
        most = self._intake.cluster.settings.limits.clone_bytes
        self._received += len(data)
        if self._received > most:
            raise TooLarge(
                f"what is sent is larger than {most // MIB} MiB.",
                hint="Make it smaller, or raise [limits] clone_bytes on every node.",
            )
        if self._received - self._looked_at >= LOOK_BYTES:
            self._looked_at = self._received
            await self._intake.check_room()
        self._waiting += data
        if len(self._waiting) >= WRITE_BYTES:
            await self._flush()

    async def finish(
        self,
        kind: Literal["push", "upload"],
        *,
        commit: str = "",
        directory: str = "",
        is_whole: bool = True,
        on_line: Callable[[str], None],
    ) -> Source:
        """All has arrived: the source made of it, which two nodes have. `is_whole`: with all its history.

        Raises `IntakeRefused`, `NoSecondCopy`, or what is wrong with the disk.
        """
        await self._flush()
        await self.close()
        intake, name = self._intake, cache_name(self._app)
        async with intake.turns:
            order = IntakeOrder(
                kind=kind,
                app=self._app.folder_name,
                folder=self._folder,
                commit=commit,
                directory=directory,
                objects=await asyncio.to_thread(intake.cache.objects, name),
                bounds=_bounds(intake.cluster),
            )
            outcome = await run_intake(order, self._program, intake.isolation, on_line=on_line)
        if isinstance(outcome, BuildFailure):
            if outcome.code == "incomplete":  # as far as anybody knows, for what was pushed before
                await asyncio.to_thread(intake.cache.forget, name)
            hint = f"{outcome.hint}." if outcome.hint else ""
            raise IntakeRefused(f"{outcome.message}.", hint=hint)
        stored = await intake.store.add(source_path(self._folder), digest=outcome.sha256)
        if kind == "push" and is_whole:
            await self._remember(outcome.commit)
        holders = await self._spread(stored.digest)
        logger.info("source taken in app=%s kind=%s digest=%.12s", self._app.name, kind, stored.digest)
        return Source(
            app=self._app.name,
            digest=stored.digest,
            source_bytes=stored.slug_bytes,
            commit=outcome.commit,
            holders=holders,
        )

    async def close(self) -> None:
        """Nothing more is written."""
        await asyncio.to_thread(self._file.close)

    async def _flush(self) -> None:
        waiting, self._waiting = self._waiting, bytearray()
        await asyncio.to_thread(self._file.write, waiting)

    async def _remember(self, commit: str) -> None:
        cache, pack = self._intake.cache, pack_path(self._folder)
        apps = {cache_name(app) for app in self._intake.cluster.state.registry.apps()}
        try:
            await asyncio.to_thread(cache.add, cache_name(self._app), commit, pack if pack.exists() else None)
            await asyncio.to_thread(cache.keep_only, apps | {cache_name(self._app)})
        except OSError as error:  # the next push sends everything
            logger.warning("push not remembered app=%s reason=%s", self._app.name, error)

    async def _spread(self, digest: str) -> tuple[str, ...]:
        """Who has it now. Nothing is taken that the loss of one node would lose, unless there is one only."""
        cluster = self._intake.cluster
        others = await self._intake.copies.spread(digest)
        if not others and len(cluster.nodes()) > 1:
            raise NoSecondCopy(
                "no other node could take a copy of what was sent, so nothing was deployed.",
                hint="`pinode status` says how the other nodes are; send it again when one is back.",
            )
        return tuple(sorted({cluster.node_id, *others}))


def cache_name(app: App) -> str:
    """Of this very app: the next one of its name may be another owner's."""
    return f"{app.folder_name}-{app.created_index}"


def _bounds(cluster: Cluster) -> Bounds:
    limits, timings = cluster.settings.limits, cluster.settings.timings
    return Bounds(
        wall_seconds=timings.build_seconds,
        clone_bytes=limits.clone_bytes,
        disk_bytes=limits.build_disk_bytes,
        memory_bytes=limits.build_memory_bytes,
    )
