"""What releases and slugs go through: pending beside live, live, superseded, failed.

An app has at most one live and at most one pending release, and the pending one is the newer.
"""

from collections.abc import Mapping
from dataclasses import replace

from pinode.apps.app import App
from pinode.apps.build import ANY_ARCH, Slug
from pinode.apps.checks import RELEASE_TYPE, check_lines, one_line
from pinode.apps.commands import FailRelease, HoldSlug, MakeReleaseLive, Rollback
from pinode.apps.cron import CronEntry
from pinode.apps.errors import (
    CannotRollBackTo,
    InvalidValue,
    NothingToRollBackTo,
    ReleaseNotPending,
    SlugNotFound,
)
from pinode.apps.health_check import HealthCheck
from pinode.apps.placement_changes import drop_placements
from pinode.apps.release import Release
from pinode.apps.source_changes import hold_source
from pinode.apps.tables import Tables

# Of an app, besides the live and the pending one: those that served, and can be rolled back to ...
RELEASES_KEPT = 20
SLUG_BYTES_KEPT = 1024**3  # ... while their slugs together are no larger; but never fewer than
ALWAYS_KEPT = 2
ARCHS = 16  # that one slug is for, by their names
NEVER_SERVED_KEPT = 10  # whatever fails does not push out what served


def newest_good(tables: Tables, app: str) -> Release | None:
    """The release that a change of config builds on: pending, else live, else the newest.

    The newest may have failed for want of the very config var that is set now.
    """
    releases = tables.releases_of(app)
    for state in ("pending", "live"):
        for release in releases:
            if release.state == state:
                return release
    return releases[-1] if releases else None


def add_release(
    tables: Tables,
    app: App,
    *,
    slug_digest: str,
    process_types: Mapping[str, str],
    health_checks: Mapping[str, tuple[HealthCheck, ...]],
    cron: tuple[CronEntry, ...],
    created_by: str,
    description: str,
    commit: str | None,
    build_id: int | None,
    now: int,
    variants: tuple[str, ...] = (),
) -> Release:
    """The next release of the app, pending, with the app's config as it is.

    An older pending one is superseded.
    """
    for older in tables.releases_of(app.name):
        if older.state == "pending":
            tables.releases.put((app.name, older.version), replace(older, state="superseded"))
            drop_placements(tables, app.name, older.version)
    release = Release(
        app=app.name,
        version=app.last_version + 1,
        slug_digest=slug_digest,
        config=app.config,
        process_types=process_types,
        health_checks=health_checks,
        cron=cron,
        created_by=created_by,
        created_at_ms=now,
        description=description,
        commit=commit,
        build_id=build_id,
        variants=variants,
    )
    tables.releases.put((app.name, release.version), release)
    tables.change_app(app.name, last_version=release.version)
    _forget_old_releases(tables, app.name)
    return release


def roll_back(tables: Tables, command: Rollback, *, now: int) -> int:
    """The version of the new release. Raises `CannotRollBackTo`, `NothingToRollBackTo`, `ReleaseNotFound`."""
    app = tables.app(command.app)
    old = _old_release(tables, app, command.version)
    tables.check_room()
    # The app's config goes back too: the next change of it must not bring the newer one in again.
    app = tables.change_app(app.name, config=old.config)
    release = add_release(
        tables,
        app,
        slug_digest=old.slug_digest,
        process_types=old.process_types,
        health_checks=old.health_checks,
        cron=old.cron,
        created_by=command.actor,
        description=f"Rollback to v{old.version}",
        commit=old.commit,
        build_id=old.build_id,
        variants=old.variants,
        now=now,
    )
    return release.version


def _old_release(tables: Tables, app: App, version: int | None) -> Release:
    """The one that `Rollback` means."""
    releases = tables.releases_of(app.name)
    is_coming_up = any(release.state == "pending" for release in releases)
    if version is not None:
        release = tables.release(app.name, version)
        is_present = release.state == "live" and not is_coming_up
        if not release.has_served or is_present:
            raise CannotRollBackTo(app=app.name, version=version, state=release.state)
        return release
    served = [release for release in releases if release.has_served]
    if is_coming_up and served and served[-1].state == "live":
        return served[-1]  # what comes up now is not wanted
    if len(served) < 2:
        raise NothingToRollBackTo(app=app.name)
    return served[-2]


def make_live(tables: Tables, command: MakeReleaseLive, *, now: int) -> None:
    """Raises `ReleaseNotPending`, but not for the release that is live already."""
    release = tables.release(command.app, command.version)
    if release.state == "live":
        return
    _check_pending(release)
    if RELEASE_TYPE in release.process_types and release.command_state != "succeeded":
        raise InvalidValue(
            what=f"release v{release.version}", rule="serves only after its release command ended well"
        )
    for other in tables.releases_of(command.app):
        if other.state == "live":
            tables.releases.put((other.app, other.version), replace(other, state="superseded"))
    serving = replace(release, state="live", live_at_ms=now)
    tables.releases.put((release.app, release.version), serving)
    tables.change_app(command.app, live_version=command.version)
    _forget_old_releases(tables, command.app)


def fail_release(tables: Tables, command: FailRelease) -> None:
    """Raises `ReleaseNotPending`; a live release does not fail, its dynos do."""
    release = tables.release(command.app, command.version)
    _check_pending(release)
    check_lines(command.last_lines)
    failed = replace(
        release, state="failed", failure=one_line(command.failure), last_lines=command.last_lines
    )
    if release.command_state == "running":  # nobody will say any more how it ended
        failed = replace(failed, command_state="failed")
    tables.releases.put((release.app, release.version), failed)
    drop_placements(tables, command.app, command.version)


def hold_slug(tables: Tables, command: HoldSlug) -> None:
    """Raises `SlugNotFound`: then nobody needs the slug, or the source, any more."""
    is_source = hold_source(tables, command)
    slug = tables.slugs.get(command.digest)
    if slug is None and is_source:
        return
    if slug is None:
        raise SlugNotFound(digest=command.digest[:64])
    holders = set(slug.holders) | {command.node_id}
    if not command.holds:
        holders.remove(command.node_id)
    tables.slugs.put(slug.digest, replace(slug, holders=tuple(sorted(holders))))


def add_slug(tables: Tables, slug: Slug) -> None:
    """Remember a slug; of one that is known, further holders, and further CPUs: where it was made again, byte
    for byte.
    """
    known = tables.slugs.get(slug.digest)
    if known is not None:
        slug = replace(known, arch=_either(known.arch, slug.arch), holders=known.holders + slug.holders)
    tables.slugs.put(slug.digest, replace(slug, holders=tuple(sorted(set(slug.holders)))))


def _either(one: str, other: str) -> str:
    if ANY_ARCH in (one, other):
        return ANY_ARCH
    return ",".join(sorted({*one.split(","), *other.split(",")})[:ARCHS])


def forget_unused_slugs(tables: Tables) -> None:
    """Remove the slugs that no release refers to."""
    used = {digest for release in tables.releases for digest in release.slug_digests}
    for slug in tables.slugs:
        if slug.digest not in used:
            tables.slugs.drop(slug.digest)


def _check_pending(release: Release) -> None:
    if release.state != "pending":
        raise ReleaseNotPending(app=release.app, version=release.version, state=release.state)


def _forget_old_releases(tables: Tables, app: str) -> None:
    """Keep the newest of those that ended, and whatever still has placements."""
    kept = {placement.version for placement in tables.placements_of(app)}
    kept |= {run.version for run in tables.cron_runs.of(app) if not run.has_ended}
    newest_first = list(reversed(tables.releases_of(app)))
    ended = [release for release in newest_first if release.state not in ("pending", "live")]
    served = [release for release in ended if release.has_served][:RELEASES_KEPT]
    never_served = [release for release in ended if not release.has_served][:NEVER_SERVED_KEPT]
    kept |= {release.version for release in (*never_served, *_within_bytes(tables, served))}
    for release in ended:
        if release.version not in kept:
            tables.releases.drop((app, release.version))
    forget_unused_slugs(tables)


def _within_bytes(tables: Tables, served: list[Release]) -> list[Release]:
    """As many of them, newest first, as have slugs of no more than SLUG_BYTES_KEPT together."""
    sizes: dict[str, int] = {}
    for place, release in enumerate(served):
        for digest in release.slug_digests:
            slug = tables.slugs.get(digest)
            sizes[digest] = slug.slug_bytes if slug is not None else 0
        if place >= ALWAYS_KEPT and sum(sizes.values()) > SLUG_BYTES_KEPT:
            return served[:place]
    return served
