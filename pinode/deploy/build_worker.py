"""Builds that this node does: waits for one that is for it, in the order in which nodes are to be preferred,
and takes its job.
"""

import asyncio
import logging
from pathlib import Path

from pinode.apps.build import BUILD_TOPIC, Build, abilities
from pinode.cluster import Cluster
from pinode.deploy.build_attempt import BuildAttempt
from pinode.deploy.build_caches import BuildCaches, cache_name, free_bytes
from pinode.deploy.build_log import serve_build_logs
from pinode.deploy.build_machine import BuildMachine, find_build_machine
from pinode.deploy.copies import Copies, Sources
from pinode.deploy.log_copies import keep_log, serve_log_copies
from pinode.deploy.worker_choice import turn_of
from pinode.sandbox.leftovers import remove_folder
from pinode.sandbox.sandbox import Isolation
from pinode.slugs.slug_store import SlugStore
from replicated_queue import errors as queue_errors
from replicated_queue.queue.job import Job

CHANGE_SECONDS = 30.0
TURN_SECONDS = 0.15  # a node waits so long for each one that is to be preferred
AGAIN_SECONDS = 1.0  # the job may have gone to another node, or wait for its next attempt
RETRY_SECONDS = 1.0

logger = logging.getLogger(__name__)


class BuildWorker:
    """`[builds] concurrent` builds at a time, on a node whose roles name `build`."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        directory: Path,
        slugs: SlugStore,
        replication: Copies,
        sources: Sources,
        isolation: Isolation,
    ) -> None:
        """Logs lie in `directory`, besides what running builds use and the apps' caches."""
        self._cluster = cluster
        self._directory = directory
        self._slugs = slugs
        self._replication = replication
        self._sources = sources
        self._isolation = isolation
        self._machine: BuildMachine | None = None
        self._slots: list[asyncio.Task[None]] = []
        self._caches = BuildCaches(directory / "cache", most_bytes=cluster.settings.limits.build_cache_bytes)
        self._building = 0
        serve_build_logs(cluster, directory)
        serve_log_copies(cluster, directory)

    async def run(self) -> None:
        """Build until cancelled or stopped."""
        settings = self._cluster.settings
        await asyncio.to_thread(self._clean_up)
        if "build" not in settings.node.roles:
            return
        async with asyncio.TaskGroup() as slots:
            for number in range(settings.builds.concurrent):
                self._slots.append(slots.create_task(self._work(), name=f"builds {number}"))

    async def stop(self) -> None:
        """End the builds of this node, and give them back while there still is a queue to give them to."""
        for slot in self._slots:
            slot.cancel()
        if self._slots:
            await asyncio.wait(self._slots)

    def _clean_up(self) -> None:
        """Builds of the process before died with it; what they left is of no use."""
        self._directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        remove_folder(self._directory / "work")

    async def _work(self) -> None:
        while True:
            try:
                await self._until_our_turn()
                if await self._has_room():
                    await self._take_one()
                    continue
            except queue_errors.QueueError as error:
                logger.debug("no build job error=%s", error)
            except OSError as error:  # this disk, or no uv here: the job goes to another node
                logger.warning("builds do not work here now error=%s", error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _take_one(self) -> None:
        """Build what waits, if it still does: by now this node may be to take nothing new.

        Therefore a reserve does not wait at the queue either.
        """
        if self._waiting_build() is None:
            return
        revision = self._cluster.revision
        job = await self._cluster.queue.platform_queue.reserve(
            BUILD_TOPIC, worker=self._cluster.node_name, has=self._abilities()
        )
        if job is not None:
            await self._build(job)
        else:
            await self._cluster.changed(revision, timeout_seconds=AGAIN_SECONDS)

    async def _until_our_turn(self) -> None:
        """Wait until a build waits, and a little more while other nodes are to be preferred for it."""
        while (build := self._waiting_build()) is None:
            await self._cluster.changed(self._cluster.revision, timeout_seconds=CHANGE_SECONDS)
        floor = self._cluster.settings.limits.free_disk_bytes
        others = self._cluster.state.registry.builds(build.app)
        turn = turn_of(
            self._cluster.node_id, self._cluster.nodes(), others, floor_bytes=floor, needs=build.needs
        )
        await asyncio.sleep(turn * TURN_SECONDS)

    def _waiting_build(self) -> Build | None:
        here = self._cluster.state.nodes.get(self._cluster.node_id)
        if here is not None and here.availability != "active":
            return None  # for another node
        waiting = self._cluster.state.registry.unfinished_builds()
        able = set(self._abilities())
        ours = [build for build in waiting if build.state == "queued" and able.issuperset(build.needs)]
        return min((build for build in ours if build.job_id), key=_precedence, default=None)

    def _abilities(self) -> tuple[str, ...]:
        here = self._cluster.node(self._cluster.node_id)
        return abilities(here.arch, here.interpreters) if here is not None else ()

    async def _has_room(self) -> bool:
        """Leave a job to another node while this disk is too full and another one's is not."""
        floor = self._cluster.settings.limits.free_disk_bytes
        free = await asyncio.to_thread(free_bytes, self._directory)
        if free < floor and not self._building:
            # A slow build is better than none.
            await asyncio.to_thread(self._caches.free, floor - free)
            free = await asyncio.to_thread(free_bytes, self._directory)
        if free >= floor:
            return True
        return not any(
            node.node_id != self._cluster.node_id
            and node.takes("build")
            and node.stats.disk_free_bytes >= floor
            for node in self._cluster.nodes()
        )

    async def _build(self, job: Job) -> None:
        if self._machine is None:
            self._machine = await asyncio.to_thread(
                find_build_machine,
                self._isolation,
                data_dir=self._cluster.settings.node.data_dir,
                homes_allowed=self._cluster.settings.builds.home_python,
                python_downloads=self._cluster.settings.builds.python_downloads == "auto",
            )
        attempt = BuildAttempt(
            self._cluster,
            job,
            self._machine,
            self._directory,
            self._caches,
            self._slugs,
            self._replication,
            self._sources,
        )
        self._building += 1
        try:
            await attempt.run()
        finally:
            self._building -= 1
        await keep_log(self._cluster, self._directory, int(job.data))
        if not self._building:
            apps = {cache_name(app) for app in self._cluster.state.registry.apps()}
            await asyncio.to_thread(self._caches.forget, apps)
            await asyncio.to_thread(self._caches.trim)


def _precedence(build: Build) -> tuple[bool, int]:
    """As the queue has it: first what somebody waits for, then in the order they were asked for."""
    return build.variant_of is not None, build.id
