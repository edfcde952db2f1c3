"""One build under one lease: has the builder run, and says once what came of it.

Whatever ends a build early (its lease is lost, somebody cancelled it, this node ends) ends its process tree
first. What a late worker still says is refused by its token, so one build never becomes two releases.
"""

import asyncio
import logging
import platform
from pathlib import Path

from builders.request import Bounds, BuildFailure, BuildResult, Outcome
from pinode.apps.build import Build, Slug
from pinode.apps.commands import CompleteBuild, EndCancelledBuild, FailBuild, StartBuild
from pinode.apps.errors import BuildFinished, BuildNotFound, LeaseLost, Refused
from pinode.apps.slug_kinds import kind_of, runs_on
from pinode.cluster import Cluster
from pinode.deploy.app_wishes import cron_of, formation_of, health_checks_of
from pinode.deploy.build_caches import BuildCaches, cache_name, free_bytes
from pinode.deploy.build_job import url_to_fetch
from pinode.deploy.build_lease import BuildLease
from pinode.deploy.build_machine import BuildMachine
from pinode.deploy.build_process import BuildOrder, run_build, slug_path
from pinode.deploy.copies import Copies, Sources
from pinode.deploy.log_file import LogFile
from pinode.deploy.worker_choice import machines_of
from pinode.errors import PinodeError
from pinode.sandbox.leftovers import remove_folder
from pinode.settings import Settings
from pinode.slugs.slug_store import SlugStore
from replicated_queue import errors as queue_errors
from replicated_queue.queue.job import Job
from replicated_queue.sessions import SingleShot

RETRY_SECONDS = 1.0

logger = logging.getLogger(__name__)


class BuildAttempt:
    """Made for one job that this node reserved."""

    def __init__(
        self,
        cluster: Cluster,
        job: Job,
        machine: BuildMachine,
        directory: Path,
        caches: BuildCaches,
        slugs: SlugStore,
        replication: Copies,
        sources: Sources,
    ) -> None:
        """Of the build that `job` is for. Its log goes into `directory`, as all the worker's do."""
        self._cluster = cluster
        self._sources = sources
        self._job = job
        self._build_id = int(job.data)
        self._lease = BuildLease(cluster, job, self._build_id)
        self._machine = machine
        self._directory = directory
        self._caches = caches
        self._slugs = slugs
        self._replication = replication
        self._folder = directory / "work" / f"{self._build_id}-{job.token}"

    async def run(self) -> None:
        """Build it, unless somebody else has the lease; every end but our own is told to the cluster."""
        build = await self._claim()
        if build is None:
            await self._end_if_cancelled()
            return
        logger.info("build started build=%d app=%s token=%d", build.id, build.app, self._job.token)
        try:
            await self._make_while_ours(build)
        except asyncio.CancelledError:
            await self._lease.give_back()
            raise
        finally:
            await asyncio.to_thread(remove_folder, self._folder)
            self._source_file.unlink(missing_ok=True)
        await self._end_if_cancelled()

    @property
    def _source_file(self) -> Path:
        return self._folder.with_suffix(".source")

    async def _make_while_ours(self, build: Build) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                work = tasks.create_task(self._make(build), name=f"build {build.id}")
                guard = tasks.create_task(self._lease.until_lost(), name=f"lease of build {build.id}")
                guard.add_done_callback(lambda _: work.cancel())
                work.add_done_callback(lambda _: guard.cancel())
        except* Exception as errors:
            # Whatever is wrong with this build, or here: else it would end one node after the other.
            logger.exception("build broke build=%d", build.id)
            await self._say(self._failure(f"this node could not build it: {errors.exceptions[0]}"))

    async def _claim(self) -> Build | None:
        command = StartBuild(build_id=self._build_id, token=self._job.token, node_id=self._cluster.node_id)
        if not await self._say(command):
            return None
        # It is agreed, and this node may be behind: what it knows of the build could be from before.
        try:
            async with asyncio.timeout(self._job.lease_seconds / 3):
                while True:
                    revision = self._cluster.revision
                    build = self._cluster.state.registry.build(self._build_id)
                    if build is not None and (build.is_finished or build.token >= self._job.token):
                        return build if self._lease.is_ours() else None
                    await self._cluster.changed(revision)
        except TimeoutError:
            logger.warning("build not begun, this node is far behind the others build=%d", self._build_id)
            return None

    async def _say(self, command: StartBuild | CompleteBuild | FailBuild | EndCancelledBuild) -> bool:
        """Have it agreed, however long that takes; False when this build is no longer ours to speak for."""
        key = f"{type(command).__name__} {self._build_id} {self._job.token}".encode()
        while True:
            try:
                await self._cluster.execute(command, once=SingleShot(key))
                return True
            except (LeaseLost, BuildFinished, BuildNotFound) as refused:
                logger.info("build not ours build=%d reason=%s", self._build_id, refused)
                return False
            except Refused as refused:
                if isinstance(command, FailBuild | EndCancelledBuild):
                    raise
                command = self._failure(str(refused))
                key = f"refused {self._build_id} {self._job.token}".encode()
            except (queue_errors.QueueError, PinodeError, OSError) as error:
                logger.info("build waits for a leader build=%d reason=%s", self._build_id, error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _make(self, build: Build) -> None:
        log = LogFile(self._directory / f"{build.id}.log")
        async with log:
            outcome = await self._run(build, log)
            if build.variant_of is None and isinstance(outcome, BuildResult):
                self._say_for_whom(outcome, log)
            command = await self._conclude(outcome, log)
            if not isinstance(command, CompleteBuild):
                log.write(" !     Build failed; what ran before goes on")
        # The log is whole before the end is agreed: readers stop at the end.
        if await self._say(command):
            logger.info("build ended build=%d outcome=%s", build.id, type(command).__name__)

    async def _run(self, build: Build, log: LogFile) -> Outcome:
        settings = self._cluster.settings
        free = await asyncio.to_thread(free_bytes, self._directory)
        if free < settings.limits.free_disk_bytes:
            message = f"the disk of {self._cluster.node_name} has only {free // 1024**2} MiB left"
            return BuildFailure(
                code="disk_full",
                message=message,
                hint="Free some space there, or lower [limits] free_disk_bytes",
            )
        app = self._cluster.state.registry.app(build.app)
        sealed = app.config.values if app else {}
        log.write(f"-----> Build {build.id} of {build.app} on {self._cluster.node_name}")
        if build.variant_of is not None:
            kind = kind_of(build.arch, build.interpreters)
            log.write(f"-----> For {kind}: what build {build.variant_of} built, once more")
        if not self._machine.isolation.available:
            log.write(f" !     Without a sandbox: {self._machine.isolation.reason}")
        if build.source_digest is not None:
            try:
                await asyncio.to_thread(self._folder.parent.mkdir, mode=0o711, exist_ok=True)
                await self._sources.copy_to(build.source_digest, self._source_file)
            except (OSError, PinodeError) as error:
                message = f"what was sent could not be read: {str(error).rstrip('.')}"
                return BuildFailure(code="source_unavailable", message=message, hint="Send it again")
        order = BuildOrder(
            app=build.app,
            source=self._source_file if build.source_digest is not None else None,
            commit=build.commit or "",
            deploy_key=self._cluster.reveal(app.sealed_deploy_key) if app and app.sealed_deploy_key else "",
            git_url=url_to_fetch(build, self._cluster.reveal),
            ref=(build.ref if build.variant_of is None else build.commit) or "",
            directory=build.subdirectory or "",
            administrator=build.is_admin,
            machines=machines_of(self._cluster.nodes()),
            interpreters=self._interpreters(build),
            config_vars={name: self._cluster.reveal(value) for name, value in sealed.items()},
            is_first=app is not None and app.last_version == 0,
            folder=self._folder,
            shared_cache=self._caches.shared,
            own_cache=self._caches.of_app(cache_name(app) if app else build.app),
            bounds=_bounds(settings),
        )
        return await run_build(order, self._machine, on_line=log.write)

    def _interpreters(self, build: Build) -> tuple[str, ...]:
        """Those of the nodes that it is built for; else those that this node says it has: with another one,
        the slug would not even be placed here.
        """
        if build.variant_of is not None:
            return build.interpreters
        here = self._cluster.node(self._cluster.node_id)
        return here.interpreters if here is not None else ()

    async def _conclude(self, outcome: Outcome, log: LogFile) -> CompleteBuild | FailBuild:
        if isinstance(outcome, BuildFailure):
            return self._failure(_sentences(outcome), commit=outcome.commit)
        try:
            return await self._keep(outcome, log)
        except (OSError, PinodeError) as error:
            log.write(f" !     The slug could not be kept: {error}")
            return self._failure(f"the slug could not be kept: {error}", commit=outcome.commit)

    async def _keep(self, result: BuildResult, log: LogFile) -> CompleteBuild:
        slug = await self._slugs.add(slug_path(self._folder), digest=result.slug_sha256)
        holders = {self._cluster.node_id, *await self._replication.spread(slug.digest)}
        if len(holders) == 1 and len(self._cluster.nodes()) > 1:
            log.write(" !     No other node could take a copy of the slug yet")
        checks, unsupported = health_checks_of(result.app_json)
        for line in unsupported:
            log.write(f" !     {line}")
        return CompleteBuild(
            build_id=self._build_id,
            token=self._job.token,
            commit=result.commit,
            slug_digest=slug.digest,
            slug_bytes=slug.slug_bytes,
            arch=result.machine or platform.machine(),
            python=result.python,
            interpreter=result.interpreter,
            holders=tuple(sorted(holders)),
            process_types=result.process_types,
            default_formation=formation_of(result.app_json),
            health_checks=checks,
            cron=cron_of(result.app_json),
            first_config={name: self._cluster.seal(value) for name, value in result.first_values.items()},
            dynos_per_user=self._cluster.settings.limits.dynos_per_user,
        )

    def _say_for_whom(self, result: BuildResult, log: LogFile) -> None:
        """Which nodes are to get a slug of their own."""
        arch = result.machine or platform.machine()
        slug = Slug(digest="", slug_bytes=0, arch=arch, interpreter=result.interpreter)
        nodes = [node for node in self._cluster.nodes() if node.takes("deploy") and not runs_on(slug, node)]
        if nodes:
            names = ", ".join(sorted(node.name for node in nodes))
            its_own = "get slugs of their own" if len(nodes) > 1 else "gets a slug of its own"
            log.write(f"-----> It does not run on {names}, which {its_own}")

    def _failure(self, text: str, *, commit: str | None = None) -> FailBuild:
        return FailBuild(build_id=self._build_id, token=self._job.token, failure=text, commit=commit)

    async def _end_if_cancelled(self) -> None:
        """Say that it has ended: only when nothing of it runs any more."""
        if self._lease.is_cancelled():
            await self._say(EndCancelledBuild(build_id=self._build_id, token=self._job.token))


def _bounds(settings: Settings) -> Bounds:
    limits, timings = settings.limits, settings.timings
    return Bounds(
        wall_seconds=timings.build_seconds,
        silence_seconds=timings.build_silence_seconds,
        output_bytes=limits.build_log_bytes,
        clone_bytes=limits.clone_bytes,
        slug_bytes=limits.slug_bytes,
        disk_bytes=limits.build_disk_bytes,
        memory_bytes=limits.build_memory_bytes,
        processes=limits.build_processes,
    )


def _sentences(failure: BuildFailure) -> str:
    return f"{failure.message}. {failure.hint}." if failure.hint else f"{failure.message}."
