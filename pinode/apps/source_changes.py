"""What sources go through: known while a build may need them, held by more nodes or fewer."""

from dataclasses import replace

from pinode.apps.checks import check_slug, check_text, check_texts
from pinode.apps.commands import HoldSlug
from pinode.apps.source import Source
from pinode.apps.tables import Tables


def check_source(source: Source, app: str) -> Source:
    """The source, for a build of `app`. Raises `InvalidValue`."""
    check_slug(source.digest, source.source_bytes, source.holders)
    check_texts(commit=source.commit)
    return replace(source, app=app)


def add_source(tables: Tables, source: Source) -> None:
    """Remember a source, or further holders of one that is known."""
    key = source.app, source.digest
    known = tables.sources.get(key)
    holders = set(source.holders) | set(known.holders if known else ())
    tables.sources.put(key, replace(source, holders=tuple(sorted(holders))))


def hold_source(tables: Tables, command: HoldSlug) -> bool:
    """Note who has it, or lost it; False when no build refers to such a source."""
    found = [source for source in tables.sources if source.digest == command.digest]
    check_text("the node", command.node_id, chars=100)
    for source in found:
        holders = set(source.holders) - {command.node_id}
        if command.holds:
            holders.add(command.node_id)
        tables.sources.put((source.app, source.digest), replace(source, holders=tuple(sorted(holders))))
    return bool(found)


def forget_unused_sources(tables: Tables, app: str) -> None:
    """Remove those of ended builds, but for the newest that was asked for, which `pinode deploy` repeats, and
    for those of releases that serve or come up, which may need slugs for nodes of further kinds.
    """
    builds, asked_for = tables.builds_of(app), tables.deploys_of(app)
    wanted = tables.builds_in_use(app)
    used = {build.source_digest for build in asked_for[-1:]}
    used |= {build.source_digest for build in builds if build.id in wanted or not build.is_finished}
    for source in tables.sources.of(app):
        if source.digest not in used:
            tables.sources.drop((app, source.digest))
