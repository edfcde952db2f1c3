"""What builds go through: queued, building, and one of the three ends.

Of one app at most one build runs and at most one waits. A build that is asked for while another runs has no
job yet: it gets one in the very entry in which the running one ends, so that two builds of one app never
run at once.
"""

from dataclasses import replace

from pinode.apps.app import App, SealedConfig
from pinode.apps.build import Build, BuildJobs, Slug
from pinode.apps.checks import (
    RELEASE_TYPE,
    check_config_name,
    check_config_size,
    check_process_types,
    check_quantities,
    check_slug,
    check_texts,
    one_line,
)
from pinode.apps.commands import (
    CancelBuild,
    CompleteBuild,
    EndCancelledBuild,
    FailBuild,
    RequestBuild,
    RequestVariant,
    StartBuild,
)
from pinode.apps.cron import check_cron
from pinode.apps.errors import BuildFinished, BuildNotFound, BuildQueueFull, InvalidValue, LeaseLost
from pinode.apps.health_check import check_health_checks
from pinode.apps.hook_changes import check_delivery, note_delivery
from pinode.apps.release_changes import add_release, add_slug
from pinode.apps.source import Source
from pinode.apps.source_changes import add_source, check_source, forget_unused_sources
from pinode.apps.tables import Tables
from pinode.apps.variant_changes import add_variant, variant_to_build

BUILDS_KEPT = 50  # of an app, and those of its live and pending release; besides them ...
VARIANTS_KEPT = 20  # ... builds of further slugs
BURIED = (
    "the node that built it died or stopped answering, {attempts} times. "
    "Deploy again; `pinode builds:output` shows how far it came."
)


class BuildChanges:
    """Applies what concerns builds to the tables, and keeps their jobs in step."""

    def __init__(self, tables: Tables, jobs: BuildJobs) -> None:
        self._tables = tables
        self._jobs = jobs

    def request(self, command: RequestBuild, *, index: int, now: int) -> int:
        """The build's id. One that still waits is superseded.

        Raises `AppNotFound`, `AppDestroyed` where another app has the name by now, or what is wrong with it.
        """
        app = self._tables.app(command.app)
        source = self._check_request(command)
        open_builds = self._open_builds(app.name)
        is_running = any(build.state == "building" for build in open_builds)
        credentials = command.sealed_credentials
        if command.git_url is not None and command.git_url == app.git_url:
            credentials = credentials or app.sealed_credentials
        build = Build(
            id=index,
            app=app.name,
            git_url=command.git_url,
            ref=command.ref,
            subdirectory=command.subdirectory,
            created_by=command.actor,
            created_at_ms=now,
            is_admin=command.is_admin,
            origin=command.origin,
            source_digest=source.digest if source is not None else None,
            commit=source.commit if source is not None else None,
            sealed_credentials=credentials,
        )
        # The only step that may still be refused comes before the first change.
        build = build if is_running else replace(build, job_id=self._jobs.put(build, index=index, now=now))
        for older in open_builds:
            self._give_way(older, to=index, now=now)
        if source is not None:
            add_source(self._tables, source)
        else:
            self._tables.change_app(app.name, git_url=command.git_url, sealed_credentials=credentials)
        self._tables.put_build(build)
        note_delivery(self._tables, command)
        forget_unused_sources(self._tables, app.name)
        self._forget_old(app.name)
        return index

    def _give_way(self, build: Build, *, to: int, now: int) -> None:
        """One that waits is superseded; a variant that runs is ended, for nobody waits for it."""
        if build.state == "queued":
            self._end(build, "cancelled", failure=f"superseded by build {to}.", index=to, now=now)
        elif build.variant_of is not None:
            self._tables.put_build(replace(build, cancelled_by=build.cancelled_by or f"build {to}"))

    def request_variant(self, command: RequestVariant, *, index: int, now: int) -> int:
        """The new build's id. Raises `BuildNotFound`, `InvalidValue`, `BuildQueueFull`."""
        build = variant_to_build(self._tables, command, index=index, now=now)
        if self._open_builds(build.app):
            raise InvalidValue(
                what="a further slug", rule=f"is built when no other build of {build.app} is open"
            )
        self._tables.check_room()
        self._tables.put_build(replace(build, job_id=self._jobs.put(build, index=index, now=now)))
        self._forget_old(build.app)
        return index

    def _check_request(self, command: RequestBuild) -> Source | None:
        """What it is made from, where that is no git URL."""
        check_texts(
            git_url=command.git_url, ref=command.ref, subdirectory=command.subdirectory, actor=command.actor
        )
        source = check_source(command.source, command.app) if command.source is not None else None
        if (source is None) == (command.git_url is None):
            raise InvalidValue(what="a build", rule="is made from a git URL or from a source")
        check_delivery(self._tables, command)
        self._tables.check_room()
        return source

    def start(self, command: StartBuild, *, now: int) -> None:
        """A worker begins. Raises `BuildNotFound`, `BuildFinished` or `LeaseLost`."""
        build = self._leased(command.build_id, command.token)
        self._tables.put_build(
            replace(
                build, state="building", token=command.token, node_id=command.node_id[:100], started_at_ms=now
            ),
        )

    def complete(self, command: CompleteBuild, *, index: int, now: int) -> int:
        """Ack the job and make the release, both or neither; the release's version.

        0: somebody cancelled it meanwhile, so nothing comes of it.
        """
        build = self._leased(command.build_id, command.token)
        if build.cancelled_by is not None:
            self._cancelled(build, index=index, now=now)
            return 0
        app = self._tables.app(build.app)
        _check_result(command)
        if build.variant_of is not None:
            version = add_variant(self._tables, build, _slug_of(command), commit=command.commit)
            self._succeed(build, command, version, index=index, now=now)
            return version or 0
        config = _config_with(app, command)
        add_slug(self._tables, _slug_of(command))
        self._tables.change_app(app.name, config=config)
        app = self._add_process_types(self._tables.app(app.name), command)
        release = add_release(
            self._tables,
            app,
            slug_digest=command.slug_digest,
            process_types=dict(sorted(command.process_types.items())),
            health_checks=dict(sorted(command.health_checks.items())),
            cron=command.cron,
            created_by=build.created_by,
            description=f"Deploy {command.commit[:8]}",
            commit=command.commit,
            build_id=build.id,
            now=now,
        )
        self._succeed(build, command, release.version, index=index, now=now)
        return release.version

    def _succeed(
        self, build: Build, command: CompleteBuild, version: int | None, *, index: int, now: int
    ) -> None:
        self._jobs.ack(build.job_id or 0, command.token, index=index, now=now)
        done = replace(build, commit=command.commit, version=version)
        self._end(done, "succeeded", index=index, now=now)
        self._let_next_run(build.app, index=index, now=now)

    def fail(self, command: FailBuild, *, index: int, now: int) -> None:
        """Ack the job; the old release keeps serving."""
        build = self._leased(command.build_id, command.token)
        if build.cancelled_by is not None:
            self._cancelled(build, index=index, now=now)
            return
        check_texts(commit=command.commit)
        self._jobs.ack(build.job_id or 0, command.token, index=index, now=now)
        failed = replace(build, commit=command.commit or build.commit)
        self._end(failed, "failed", failure=one_line(command.failure), index=index, now=now)
        self._let_next_run(build.app, index=index, now=now)

    def cancel(self, command: CancelBuild, *, index: int, now: int) -> None:
        """End a build that waits; have one that runs ended by its worker."""
        build = replace(self._open(command.build_id), cancelled_by=one_line(command.actor))
        if build.state == "building":
            self._tables.put_build(build)
        else:
            self._cancelled(build, index=index, now=now)

    def end_cancelled(self, command: EndCancelledBuild, *, index: int, now: int) -> None:
        """Its worker says that nothing of it runs any more."""
        build = self._leased(command.build_id, command.token)
        if build.cancelled_by is not None:
            self._cancelled(build, index=index, now=now)

    def _cancelled(self, build: Build, *, index: int, now: int) -> None:
        self._end(build, "cancelled", failure=f"cancelled by {build.cancelled_by}.", index=index, now=now)
        self._let_next_run(build.app, index=index, now=now)

    def cancel_all(self, app: str, *, index: int, now: int) -> None:
        """The app goes: its jobs end and its builds are forgotten."""
        for build in self._tables.builds_of(app):
            if build.job_id is not None and not build.is_finished:
                self._jobs.cancel(build.job_id, index=index, now=now)
            self._tables.drop_build(build.id)

    def job_changed(self, job_id: int, *, state: str, attempts: int, index: int, now: int) -> None:
        """The queue did something to a build's job by itself.

        Its lease ended, it was buried, somebody removed it.
        """
        build = self._tables.build_of_job(job_id)
        if build is None or state == "leased":
            return
        if build.cancelled_by is not None:  # its worker went away, and what it ran with it
            self._cancelled(build, index=index, now=now)
            return
        if state in ("ready", "delayed"):
            if build.state == "building":
                self._requeue(build, index=index, now=now)
            return
        failure = "its job was removed from the queue. Deploy again."
        if state == "buried":
            failure = BURIED.format(attempts=attempts)
        self._end(build, "failed", failure=failure, index=index, now=now, end_job=False)
        self._let_next_run(build.app, index=index, now=now)

    def _requeue(self, build: Build, *, index: int, now: int) -> None:
        waits_again = replace(build, state="queued", node_id=None, started_at_ms=None)
        self._tables.put_build(waits_again)
        newer = [other for other in self._open_builds(build.app) if other.id > build.id]
        if newer:
            failure = f"superseded by build {newer[-1].id}."
            self._end(waits_again, "cancelled", failure=failure, index=index, now=now)
            self._let_next_run(build.app, index=index, now=now)

    def _let_next_run(self, app: str, *, index: int, now: int) -> None:
        for build in self._open_builds(app):
            if build.job_id is None:
                try:
                    job_id = self._jobs.put(build, index=index, now=now)
                except BuildQueueFull as full:
                    self._end(build, "failed", failure=full.message, index=index, now=now)
                else:
                    self._tables.put_build(replace(build, job_id=job_id))

    def _end(
        self,
        build: Build,
        state: str,
        *,
        index: int,
        now: int,
        failure: str | None = None,
        end_job: bool = True,
    ) -> None:
        if end_job and build.job_id is not None:
            self._jobs.cancel(build.job_id, index=index, now=now)
        ended = replace(build, state=state, failure=failure, finished_at_ms=now, sealed_credentials=None)  # type: ignore[arg-type]
        self._tables.put_build(ended)
        forget_unused_sources(self._tables, build.app)

    def _leased(self, build_id: int, token: int) -> Build:
        build = self._open(build_id)
        if build.job_id is None or token < build.token:
            raise LeaseLost(build_id=build_id)
        self._jobs.check_lease(build.job_id, token, build_id=build_id)
        return build

    def _open(self, build_id: int) -> Build:
        build = self._tables.builds.get(build_id)
        if build is None:
            raise BuildNotFound(build_id=build_id)
        if build.is_finished:
            raise BuildFinished(build_id=build_id, state=build.state)
        return build

    def _open_builds(self, app: str) -> list[Build]:
        return [build for build in self._tables.unfinished_builds() if build.app == app]

    def _add_process_types(self, app: App, command: CompleteBuild) -> App:
        """Types never seen get what the app wishes, else one `web`, within what its owner may have."""
        formation = dict(app.formation)
        room = max(0, command.dynos_per_user - self._tables.dynos_of_owner(app.owner))
        for name in sorted(command.process_types, key=lambda name: (name != "web", name)):
            if name in formation or name == RELEASE_TYPE:
                continue
            wanted = command.default_formation.get(name, 1 if name == "web" else 0)
            formation[name] = min(wanted, room)
            room -= formation[name]
        # Who deploys wants it to run, also where it was stopped.
        return self._tables.change_app(app.name, formation=dict(sorted(formation.items())), is_stopped=False)

    def _forget_old(self, app: str) -> None:
        wanted = self._tables.builds_in_use(app)
        deploys = self._tables.deploys_of(app)
        variants = [build for build in self._tables.builds_of(app) if build.variant_of is not None]
        for builds, most in ((deploys, BUILDS_KEPT), (variants, VARIANTS_KEPT)):
            finished = [build for build in builds if build.is_finished and build.id not in wanted]
            for build in finished[: max(0, len(builds) - most)]:
                self._tables.drop_build(build.id)


def _check_result(command: CompleteBuild) -> None:
    check_process_types(command.process_types)
    check_quantities(command.default_formation)
    check_health_checks(command.health_checks)
    check_cron(command.cron)
    check_slug(command.slug_digest, command.slug_bytes, command.holders)
    check_texts(
        commit=command.commit,
        arch=command.arch,
        python=command.python,
        interpreter=command.interpreter,
    )


def _slug_of(command: CompleteBuild) -> Slug:
    return Slug(
        digest=command.slug_digest,
        slug_bytes=command.slug_bytes,
        arch=command.arch,
        python=command.python,
        interpreter=command.interpreter,
        holders=command.holders,
    )


def _config_with(app: App, command: CompleteBuild) -> SealedConfig:
    """Of an app's first release: with what its app.json gives to vars that nobody has set meanwhile."""
    if app.last_version > 0 or not command.first_config:
        return app.config
    for name in sorted(command.first_config):
        check_config_name(name)
    values = {**command.first_config, **app.config.values}
    check_config_size(app.name, values)
    return SealedConfig(values=dict(sorted(values.items())))
