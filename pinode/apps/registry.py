"""The registry: all that is agreed about apps, changed by commands in log order and read by everybody."""

from collections.abc import Iterator
from typing import assert_never

from pinode.apps.app import App
from pinode.apps.app_changes import create, destroy, rename, set_config, set_formation
from pinode.apps.build import Build, BuildJobs, Slug
from pinode.apps.build_changes import BuildChanges
from pinode.apps.carried import record_of, rows_of
from pinode.apps.commands import (
    AppCommand,
    CancelBuild,
    CompleteBuild,
    CreateApp,
    CreateHook,
    DestroyApp,
    EndCancelledBuild,
    EndCronRun,
    EndReleaseCommand,
    FailBuild,
    FailRelease,
    FireCron,
    HoldSlug,
    MakeReleaseLive,
    MoveCronRun,
    Place,
    RegistryCommand,
    RenameApp,
    RequestBuild,
    RequestVariant,
    RestartDynos,
    RevokeHook,
    Rollback,
    SetConfig,
    SetDeployKey,
    SetFormation,
    SetMaintenance,
    StartBuild,
    StartCronRun,
    StartReleaseCommand,
    StopDynos,
    Unplace,
)
from pinode.apps.cron import CronRun
from pinode.apps.cron_changes import apply_to_cron
from pinode.apps.hook import Hook
from pinode.apps.hook_changes import create_hook, revoke_hook, set_deploy_key
from pinode.apps.placement import Placement
from pinode.apps.placement_changes import (
    end_release_command,
    is_running_command,
    place,
    restart,
    start_release_command,
    unplace,
)
from pinode.apps.release import Release
from pinode.apps.release_changes import fail_release, hold_slug, make_live, roll_back
from pinode.apps.source import Source
from pinode.apps.tables import Tables
from pinode.apps.variant_changes import is_kept
from replicated_queue.parts import Row

ReleaseCommand = (
    Place
    | RestartDynos
    | Rollback
    | Unplace
    | MakeReleaseLive
    | FailRelease
    | StartReleaseCommand
    | EndReleaseCommand
    | HoldSlug
)


class Registry:
    """Equal on every node that applied the same entries. Reads are local and never wait."""

    def __init__(self, jobs: BuildJobs) -> None:
        self._jobs = jobs
        self.stand_on(Tables())

    def stand_on(self, tables: Tables) -> None:
        """Hold what `tables` hold, and nothing else."""
        self._tables = tables
        self._builds = BuildChanges(tables, self._jobs)

    def apply(self, command: RegistryCommand, *, index: int, now: int) -> int | None:
        """Run one committed command; its result is a number (named at the command) or nothing.

        Raises a `RegistryError` when the command is refused; the state is then as before.
        """
        if isinstance(command, AppCommand):
            name = command.name if isinstance(command, DestroyApp) else command.app
            self._tables.app(name, created_index=command.created_index)
        match command:
            case CreateApp():
                return create(self._tables, command, index=index, now=now)
            case RenameApp():
                rename(self._tables, command)
            case SetConfig():
                return set_config(self._tables, command, now=now)
            case SetFormation():
                set_formation(self._tables, command)
            case SetMaintenance():
                self._tables.change_app(command.app, in_maintenance=command.on)
            case StopDynos():
                self._tables.change_app(command.app, is_stopped=True)
            case DestroyApp():
                self._destroy(command, index=index, now=now)
            case RequestBuild():
                return self._builds.request(command, index=index, now=now)
            case RequestVariant():
                return self._builds.request_variant(command, index=index, now=now)
            case CompleteBuild():
                return self._builds.complete(command, index=index, now=now)
            case StartBuild():
                self._builds.start(command, now=now)
            case FailBuild():
                self._builds.fail(command, index=index, now=now)
            case CancelBuild():
                self._builds.cancel(command, index=index, now=now)
            case CreateHook() | RevokeHook() | SetDeployKey():
                self._apply_to_access(command, now=now)
            case FireCron() | MoveCronRun() | StartCronRun() | EndCronRun():
                return apply_to_cron(self._tables, command, index=index, now=now)
            case EndCancelledBuild():
                self._builds.end_cancelled(command, index=index, now=now)
            case _:
                return self._apply_to_releases(command, index=index, now=now)
        return None

    def _apply_to_access(self, command: CreateHook | RevokeHook | SetDeployKey, *, now: int) -> None:
        match command:
            case CreateHook():
                create_hook(self._tables, command, now=now)
            case RevokeHook():
                revoke_hook(self._tables, command)
            case SetDeployKey():
                set_deploy_key(self._tables, command)
            case _:
                assert_never(command)

    def _apply_to_releases(self, command: ReleaseCommand, *, index: int, now: int) -> int | None:
        match command:
            case Place():
                return place(self._tables, command, index=index)
            case Rollback():
                return roll_back(self._tables, command, now=now)
            case RestartDynos():
                return restart(self._tables, command)
            case Unplace():
                unplace(self._tables, command)
            case MakeReleaseLive():
                make_live(self._tables, command, now=now)
            case FailRelease():
                fail_release(self._tables, command)
            case StartReleaseCommand():
                start_release_command(self._tables, command)
            case EndReleaseCommand():
                end_release_command(self._tables, command)
            case HoldSlug():
                hold_slug(self._tables, command)
            case _:
                assert_never(command)
        return None

    def job_changed(self, job_id: int, *, state: str, attempts: int, index: int, now: int) -> None:
        """Tell a build that the queue moved its job: `state` is the job's new one."""
        self._builds.job_changed(job_id, state=state, attempts=attempts, index=index, now=now)

    def build_of_job(self, job_id: int) -> Build | None:
        """The unfinished build behind a job."""
        return self._tables.build_of_job(job_id)

    def apps(self) -> tuple[App, ...]:
        """All apps, by name."""
        return tuple(self._tables.apps)

    def app(self, name: str) -> App | None:
        """The app of this name."""
        return self._tables.apps.get(name)

    def same_app(self, app: App) -> App:
        """The very app as it is now. Raises `AppNotFound`, or `AppDestroyed` where another has its name."""
        return self._tables.app(app.name, created_index=app.created_index)

    def builds(self, app: str) -> tuple[Build, ...]:
        """Those that are kept of one app, newest first."""
        return tuple(reversed(self._tables.builds_of(app)))

    def deploys(self, app: str) -> tuple[Build, ...]:
        """Those of them that somebody asked for, newest first; a variant the cluster builds of itself."""
        return tuple(reversed(self._tables.deploys_of(app)))

    def is_kept(self, build: Build) -> bool:
        """Whether what it was made from can be had again."""
        return is_kept(self._tables, build)

    def build(self, build_id: int) -> Build | None:
        """The build of this id, of any app."""
        return self._tables.builds.get(build_id)

    def unfinished_builds(self) -> tuple[Build, ...]:
        """Queued and running ones of all apps, oldest first."""
        return tuple(self._tables.unfinished_builds())

    def releases(self, app: str) -> tuple[Release, ...]:
        """Those that are kept of one app, newest first."""
        return tuple(reversed(self._tables.releases_of(app)))

    def release(self, app: str, version: int) -> Release | None:
        """One release."""
        return self._tables.releases.get((app, version))

    def live_release(self, app: str) -> Release | None:
        """The one that serves."""
        return next((release for release in self.releases(app) if release.state == "live"), None)

    def pending_release(self, app: str) -> Release | None:
        """The one that is coming up."""
        return next((release for release in self.releases(app) if release.state == "pending"), None)

    def newest_release(self, app: str) -> Release | None:
        """The one with the highest version, whatever became of it."""
        return next(iter(self.releases(app)), None)

    def placements(self) -> tuple[Placement, ...]:
        """All of them, by number."""
        return tuple(self._tables.placements)

    def placements_of(self, app: str) -> tuple[Placement, ...]:
        """Of one app, by process type, ordinal and number."""
        found = self._tables.placements_of(app)
        return tuple(sorted(found, key=lambda one: (one.process_type, one.ordinal, one.number)))

    def is_running_command(self, placement: Placement) -> bool:
        """Whether this is a `release:` command that has begun, and has not said how it ended."""
        return is_running_command(self._tables, placement)

    def placements_on(self, node_id: str) -> tuple[Placement, ...]:
        """On one node, by number; runs of cron that have not ended among them."""
        runs = [run.placement for run in self.open_cron_runs()]
        found = [one for one in (*self._tables.placements, *runs) if one.node_id == node_id]
        return tuple(sorted(found, key=lambda one: one.number))

    def cron_runs(self, app: str) -> tuple[CronRun, ...]:
        """Those that are kept of one app, newest first."""
        return tuple(reversed(self._tables.cron_runs.of(app)))

    def cron_run(self, number: int) -> CronRun | None:
        """The run of this number, of any app."""
        return self._tables.cron_runs.get(number)

    def open_cron_runs(self) -> tuple[CronRun, ...]:
        """Of all apps, those that wait or run, by number."""
        return tuple(run for run in self._tables.cron_runs if not run.has_ended)

    def slugs(self) -> tuple[Slug, ...]:
        """All that releases refer to, by digest."""
        return tuple(self._tables.slugs)

    def slug(self, digest: str) -> Slug | None:
        """The slug of this digest, if a release refers to it."""
        return self._tables.slugs.get(digest)

    def slugs_of(self, release: Release) -> tuple[Slug, ...]:
        """Those that are known of the release's."""
        found = [self._tables.slugs.get(digest) for digest in release.slug_digests]
        return tuple(slug for slug in found if slug is not None)

    def hooks(self, app: str) -> tuple[Hook, ...]:
        """Of one app, by id."""
        return tuple(self._tables.hooks.of(app))

    def hook(self, app: str, hook_id: str) -> Hook | None:
        """One webhook."""
        return self._tables.hooks.get((app, hook_id))

    def hook_of_id(self, hook_id: str) -> Hook | None:
        """A webhook of whichever app: its address has the name that the app had when it was made."""
        return next((hook for hook in self._tables.hooks if hook.id == hook_id), None)

    def sources(self) -> tuple[Source, ...]:
        """All that builds still refer to, by app and digest."""
        return tuple(self._tables.sources)

    def source(self, app: str, digest: str) -> Source | None:
        """What was pushed or uploaded to this app, while a build refers to it."""
        return self._tables.sources.get((app, digest))

    def holders(self, digest: str) -> tuple[str, ...] | None:
        """The nodes that said they have this slug or source; None when nothing refers to it."""
        slug = self._tables.slugs.get(digest)
        found = [slug.holders] if slug is not None else []
        found += [source.holders for source in self._tables.sources if source.digest == digest]
        return tuple(sorted({holder for holders in found for holder in holders})) if found else None

    @property
    def size_bytes(self) -> int:
        """What all of it takes; bounded."""
        return self._tables.size_bytes

    def digest(self) -> bytes:
        """Hash of the whole registry."""
        return self._tables.digest()

    def early_rows(self) -> Iterator[Row]:
        """`Part` of a snapshot: records are never changed in place, so all of them come late."""
        return iter(())

    def rows(self) -> Iterator[Row]:
        """See `Part`."""
        return rows_of({name: table.items() for name, table in self._tables.all().items()})

    def rebuild(self) -> "RegistryRebuild":
        """See `Part`."""
        return RegistryRebuild(self)

    def _destroy(self, command: DestroyApp, *, index: int, now: int) -> None:
        app = self._tables.app(command.name)
        self._builds.cancel_all(app.name, index=index, now=now)
        destroy(self._tables, app.name)


class RegistryRebuild:
    """`Rebuild` of a `Registry`."""

    def __init__(self, registry: Registry) -> None:
        self._living = registry
        self._new = Tables()
        self.kinds = {name: table.kind for name, table in self._new.all().items()}

    def take(self, row: Row) -> None:
        """See `Rebuild`."""
        self._new.put_carried(*record_of(row, self.kinds))

    def link(self) -> Iterator[None]:
        """See `Rebuild`."""
        return iter(())

    def become(self) -> None:
        """See `Rebuild`."""
        self._living.stand_on(self._new)
