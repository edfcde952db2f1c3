"""Which node takes a build that waits: all put themselves in the same order and let the first go first.

A preference, not a rule: a node further down takes the build a moment later if nobody before it did.
"""

from collections import Counter
from collections.abc import Sequence

from pinode.apps.build import Build
from pinode.apps.observed import NodeView
from pinode.apps.slug_gaps import can

HOT_CELSIUS = 75.0  # a Pi throttles at 80
CROWDED_PERCENT = 90.0  # of memory


def turn_of(
    node_id: str,
    nodes: Sequence[NodeView],
    builds_of_app: Sequence[Build],
    *,
    floor_bytes: int,
    needs: Sequence[str] = (),
) -> int:
    """How many nodes go before this one; `builds_of_app` are newest first, `needs` those of the job.

    First go nodes with the CPU, and then the interpreters, of most nodes that run dynos, with room on the
    disk and nothing to build; among them those that are neither hot nor full; then the one that built the
    app last, for it has its packages; then the coolest and the least busy.
    """
    runs = [node for node in nodes if node.state == "alive" and "deploy" in node.roles]
    alike: Counter[object] = Counter()
    for node in runs:
        alike.update((node.arch, (node.arch, node.interpreters)))
    last = next((build.node_id for build in builds_of_app if build.state == "succeeded"), None)
    able = [node for node in nodes if node.takes("build") and can(node, needs)]
    order = sorted(able, key=lambda node: _cost(node, alike, last, floor_bytes))
    return next((place for place, node in enumerate(order) if node.node_id == node_id), len(order))


def machines_of(nodes: Sequence[NodeView]) -> tuple[str, ...]:
    """The kinds of CPU that dynos may run on, of nodes that are off just now too; for a builder that can
    build for other machines than its own.
    """
    may_run = {node.arch for node in nodes if node.state != "left" and "deploy" in node.roles}
    return tuple(sorted(may_run - {""}))


def _cost(
    node: NodeView, alike: Counter[object], last: str | None, floor_bytes: int
) -> tuple[int | bool | str, ...]:
    stats = node.stats
    temperature = stats.temperature_celsius or 0.0
    return (
        -alike[node.arch],
        -alike[node.arch, node.interpreters],
        stats.disk_free_bytes < floor_bytes and node.stats_age_seconds is not None,
        node.builds,
        bool(stats.throttled) or temperature >= HOT_CELSIUS or stats.memory_percent >= CROWDED_PERCENT,
        node.node_id != last,
        # In steps, so that what flickers decides nothing.
        int(temperature // 5),
        int(stats.cpu_percent // 25),
        int(stats.memory_percent // 25),
        node.node_id,
    )
