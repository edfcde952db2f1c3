"""Which nodes have no slug of a release yet, and who could make one for them.

Nodes with the same CPU and the same interpreters are of one kind: what was made on one of them, with the
interpreters they have in common, runs on all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pinode.apps.build import Build, abilities
from pinode.apps.observed import NodeView
from pinode.apps.registry import Registry
from pinode.apps.release import Release
from pinode.apps.slug_kinds import slug_for

RETRY_MS = 600_000  # after a build of this kind that came to nothing; doubled by each further one ...
LONGEST_RETRY_MS = 21_600_000  # ... up to here


@dataclass(frozen=True, slots=True, kw_only=True)
class SlugGap:
    """Nodes of one kind that none of a release's slugs runs on; `builders` may build one that does."""

    arch: str
    interpreters: tuple[str, ...]
    nodes: tuple[str, ...]  # names
    builders: tuple[str, ...]  # names


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """What came of the builds for one gap: the newest that ended, and from when on (cluster time) to build
    again.
    """

    last: Build | None
    due_ms: int


def releases_in_use(registry: Registry, app: str) -> Iterator[Release]:
    """Its pending and its live release, where they came of different builds; that which comes up first."""
    pending, live = registry.pending_release(app), registry.live_release(app)
    if pending is not None:
        yield pending
    if live is not None and (pending is None or pending.build_id != live.build_id):
        yield live


def gaps_of(registry: Registry, release: Release, nodes: Sequence[NodeView]) -> list[SlugGap]:
    """Of the living nodes that take dynos; first the kind with the most nodes."""
    slugs = registry.slugs_of(release)
    kinds: dict[tuple[str, tuple[str, ...]], list[NodeView]] = {}
    for node in nodes:
        if node.takes("deploy") and node.arch and slug_for(slugs, node) is None:
            kinds.setdefault((node.arch, tuple(sorted(node.interpreters))), []).append(node)
    gaps = [
        SlugGap(
            arch=arch,
            interpreters=interpreters,
            nodes=tuple(sorted(node.name for node in found)),
            builders=builders_for(abilities(arch, interpreters), nodes),
        )
        for (arch, interpreters), found in kinds.items()
    ]
    return sorted(gaps, key=lambda gap: (-len(gap.nodes), gap.arch, gap.interpreters))


def builders_for(needs: Sequence[str], nodes: Sequence[NodeView]) -> tuple[str, ...]:
    """Names of the nodes that may take a job with these needs."""
    able = [node for node in nodes if node.takes("build") and can(node, needs)]
    return tuple(sorted(node.name for node in able))


def can(node: NodeView, needs: Sequence[str]) -> bool:
    """Whether a worker there can do what a job needs."""
    return set(abilities(node.arch, node.interpreters)).issuperset(needs)


def open_variant(registry: Registry, release: Release, gap: SlugGap) -> Build | None:
    """The build that is on its way to fill the gap."""
    found = [build for build in registry.builds(release.app) if _is_for(build, release, gap)]
    return next((build for build in found if not build.is_finished), None)


def attempts_at(registry: Registry, release: Release, gap: SlugGap) -> Attempts:
    """How it went until now. One that was cancelled before it began does not count."""
    ended = [
        build
        for build in registry.builds(release.app)
        if _is_for(build, release, gap)
        and build.is_finished
        and (build.state != "cancelled" or build.started_at_ms is not None)
    ]
    if not ended:
        return Attempts(last=None, due_ms=0)
    patience_ms = min(LONGEST_RETRY_MS, RETRY_MS * 2 ** (len(ended) - 1))
    return Attempts(last=ended[0], due_ms=(ended[0].finished_at_ms or 0) + patience_ms)


def _is_for(build: Build, release: Release, gap: SlugGap) -> bool:
    kind = (release.build_id, gap.arch, gap.interpreters)
    return build.variant_of is not None and (build.variant_of, build.arch, build.interpreters) == kind
