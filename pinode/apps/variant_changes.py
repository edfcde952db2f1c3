"""Further slugs of a release: the same commit built again, on a node of another kind.

A release goes live with the slug of its build, on the nodes that this one is for. Nodes with another CPU or
other interpreters get one of their own, by a build that the leader's plan asks for. It makes no release: its
slug is added to all releases that came of the first build, those of later config changes and rollbacks too.
"""

import re
from dataclasses import replace

from pinode.apps.build import Build, Slug
from pinode.apps.checks import check_text
from pinode.apps.commands import RequestVariant
from pinode.apps.errors import BuildNotFound, InvalidValue
from pinode.apps.release_changes import add_slug
from pinode.apps.tables import Tables

MOST_VARIANTS = 16  # of a release
MOST_INTERPRETERS = 7  # with the CPU as many as a job of the queue may need
ARCH = re.compile(r"[A-Za-z0-9_.-]{1,32}")


def variant_to_build(tables: Tables, command: RequestVariant, *, index: int, now: int) -> Build:
    """The build that is asked for, not yet queued. Raises `BuildNotFound`, `InvalidValue`."""
    first = tables.builds.get(command.build_id)
    if first is None or first.variant_of is not None or first.state != "succeeded":
        raise BuildNotFound(build_id=command.build_id)
    if ARCH.fullmatch(command.arch) is None or len(command.interpreters) > MOST_INTERPRETERS:
        raise InvalidValue(
            what="the kind of a node", rule=f"is a CPU and at most {MOST_INTERPRETERS} interpreters"
        )
    for path in command.interpreters:
        check_text("an interpreter", path, chars=255)
    if not is_kept(tables, first):
        raise InvalidValue(
            what=f"what build {first.id} was made from", rule="is not kept any more; deploy it again"
        )
    app = tables.app(first.app)
    return replace(
        first,
        id=index,
        created_at_ms=now,
        state="queued",
        job_id=None,
        token=0,
        node_id=None,
        started_at_ms=None,
        finished_at_ms=None,
        version=None,
        cancelled_by=None,
        variant_of=first.id,
        arch=command.arch,
        interpreters=tuple(sorted(set(command.interpreters))),
        sealed_credentials=app.sealed_credentials if first.git_url == app.git_url else None,
    )


def is_kept(tables: Tables, build: Build) -> bool:
    """Whether what it was made from can be had again."""
    return build.source_digest is None or (build.app, build.source_digest) in tables.sources


def add_variant(tables: Tables, build: Build, slug: Slug, *, commit: str) -> int | None:
    """Give the slug to the releases that came of the first build; the version of the newest, None where there
    is none any more. Raises `InvalidValue` for a slug of another commit.
    """
    if commit != build.commit:
        raise InvalidValue(what=f"a slug of commit {commit[:40]}", rule=f"must be of {build.commit}")
    releases = [one for one in tables.releases_of(build.app) if one.build_id == build.variant_of]
    if not releases:
        return None
    add_slug(tables, slug)
    for release in releases:
        if slug.digest not in release.slug_digests:
            variants = (*release.variants, slug.digest)[-MOST_VARIANTS:]
            tables.releases.put((release.app, release.version), replace(release, variants=variants))
    return releases[-1].version
