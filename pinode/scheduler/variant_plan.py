"""Which slugs are still to be built: for nodes that no slug of an app's releases runs on. Pure; the leader
alone acts.

One at a time of an app, and only while no build of it is open that somebody asked for. After one that failed
the next for the same kind of node waits, longer each time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pinode.apps.app import App
from pinode.apps.build import Build
from pinode.apps.commands import CancelBuild, RequestVariant
from pinode.apps.observed import NodeView
from pinode.apps.registry import Registry
from pinode.apps.slug_gaps import attempts_at, builders_for, gaps_of, releases_in_use

NOBODY_CAN = "pinode: no node is left that could build it"


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantPlan:
    """Commands to execute now, and when to plan again though nothing has changed (cluster time)."""

    commands: tuple[RequestVariant | CancelBuild, ...]
    due_ms: int | None


def plan_variants(registry: Registry, nodes: Sequence[NodeView], *, now_ms: int) -> VariantPlan:
    """What to do now."""
    open_builds: dict[str, list[Build]] = {}
    for build in registry.unfinished_builds():
        open_builds.setdefault(build.app, []).append(build)
    commands: list[RequestVariant | CancelBuild] = []
    dues: list[int] = []
    for app in registry.apps():
        present = open_builds.get(app.name, [])
        commands += [_cancel(build) for build in present if _is_stuck(build, nodes)]
        if not present and not app.is_stopped:
            commands += _next_of(registry, app, nodes, now_ms, dues)
    return VariantPlan(commands=tuple(commands), due_ms=min(dues, default=None))


def _is_stuck(build: Build, nodes: Sequence[NodeView]) -> bool:
    """It waits for a worker that has gone, and another kind of node may wait for it."""
    is_waiting = build.variant_of is not None and build.state == "queued"
    return is_waiting and not builders_for(build.needs, nodes)


def _cancel(build: Build) -> CancelBuild:
    return CancelBuild(build_id=build.id, actor=NOBODY_CAN)


def _next_of(
    registry: Registry, app: App, nodes: Sequence[NodeView], now_ms: int, dues: list[int]
) -> list[RequestVariant]:
    for release in releases_in_use(registry, app.name):
        first = registry.build(release.build_id) if release.build_id is not None else None
        if first is None or not registry.is_kept(first):
            continue
        for gap in gaps_of(registry, release, nodes):
            if not gap.builders:
                continue
            due_ms = attempts_at(registry, release, gap).due_ms
            if due_ms <= now_ms:
                return [RequestVariant(build_id=first.id, arch=gap.arch, interpreters=gap.interpreters)]
            dues.append(due_ms)
    return []
