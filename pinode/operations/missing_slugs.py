"""For which nodes an app has no slug yet, and what is being done about it: in words, for people."""

from pinode.apps.app import App
from pinode.apps.build import Build
from pinode.apps.release import Release
from pinode.apps.slug_gaps import SlugGap, attempts_at, gaps_of, open_variant, releases_in_use
from pinode.apps.slug_kinds import kind_of
from pinode.cluster import Cluster


def missing_slugs(cluster: Cluster, app: App) -> list[str]:
    """A line for each kind of node that no slug of a release in use runs on."""
    registry, nodes = cluster.state.registry, cluster.nodes()
    return [
        f"v{release.version} has no slug for {kind_of(gap.arch, gap.interpreters)} yet "
        f"({_names(gap.nodes)}): "
        f"{_what_is_done(cluster, app, release, gap)}."
        for release in releases_in_use(registry, app.name)
        for gap in gaps_of(registry, release, nodes)
    ]


def _what_is_done(cluster: Cluster, app: App, release: Release, gap: SlugGap) -> str:
    registry = cluster.state.registry
    present = open_variant(registry, release, gap)
    first = registry.build(release.build_id) if release.build_id is not None else None
    if present is not None:
        return _progress(cluster, present, gap)
    if first is None or not registry.is_kept(first):
        return f"what it was built from is not kept any more; deploy it again: pinode deploy -a {app.name}"
    if not gap.builders:
        return "no node that builds has the same; let one of them build ([node] roles)"
    if app.is_stopped:
        return "one is built when the app is started again"
    return _to_come(cluster, release, gap)


def _progress(cluster: Cluster, build: Build, gap: SlugGap) -> str:
    if build.state == "queued":
        return f"build {build.id} waits for {_names(gap.builders, last='or')}"
    node = cluster.node(build.node_id) if build.node_id else None
    return f"build {build.id} makes one on {node.name if node is not None else build.node_id}"


def _to_come(cluster: Cluster, release: Release, gap: SlugGap) -> str:
    attempts = attempts_at(cluster.state.registry, release, gap)
    last = attempts.last
    if last is None:
        return f"one is built next on {_names(gap.builders, last='or')}"
    came_of_it = last.failure or "it was cancelled"
    if last.state == "succeeded":
        came_of_it = "its slug does not run there"
    minutes = max(1, -(-(attempts.due_ms - cluster.now_ms) // 60_000))
    return f"build {last.id} made none ({came_of_it.rstrip('.')}), and the next is built in {minutes} min"


def _names(names: tuple[str, ...], *, last: str = "and") -> str:
    return f" {last} ".join(", ".join(names).rsplit(", ", 1))
