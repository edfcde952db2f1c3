"""Which node gets a dyno."""

from collections import Counter
from collections.abc import Sequence

from pinode.apps.build import Slug
from pinode.apps.observed import NodeView
from pinode.apps.placement import Placement
from pinode.apps.release import Release
from pinode.apps.slug_kinds import slug_for

HOT_CELSIUS = 75.0  # a Pi throttles at 80
FULL_PERCENT = 90.0  # of memory


class NodeChoice:
    """Alive nodes that run dynos, with what they run; whoever is chosen counts for the next choice."""

    def __init__(self, nodes: Sequence[NodeView], placements: Sequence[Placement]) -> None:
        self._nodes = [node for node in nodes if node.takes("deploy")]
        self._dynos = Counter(placement.node_id for placement in placements)
        self._dynos_of = Counter((one.app, one.version, one.node_id) for one in placements)

    def choose(self, release: Release, slugs: Sequence[Slug]) -> str | None:
        """The best node for one more dyno of the release, whose slugs are these; None when no node can run
        it now.

        Spread first; then away from hot and full nodes, to those that have the slug, to the least loaded.
        """
        able = self._able(slugs)
        if not able:
            return None
        best = min(able, key=lambda one: self._cost(one[0], release, one[1]))[0].node_id
        self._dynos[best] += 1
        self._dynos_of[release.app, release.version, best] += 1
        return best

    def is_memory_short(self, slugs: Sequence[Slug]) -> bool:
        """Whether every node that can run the release is full."""
        able = self._able(slugs)
        return bool(able) and all(node.stats.memory_percent >= FULL_PERCENT for node, _ in able)

    def _able(self, slugs: Sequence[Slug]) -> list[tuple[NodeView, Slug]]:
        """Nodes that can run one of the slugs, with it."""
        found = [(node, slug_for(slugs, node)) for node in self._nodes]
        return [(node, slug) for node, slug in found if slug is not None]

    def _cost(self, node: NodeView, release: Release, slug: Slug) -> tuple[int | bool | str, ...]:
        stats = node.stats
        is_hot = bool(stats.throttled) or (stats.temperature_celsius or 0.0) >= HOT_CELSIUS
        return (
            self._dynos_of[release.app, release.version, node.node_id],
            is_hot or stats.memory_percent >= FULL_PERCENT,
            node.node_id not in slug.holders,
            # In steps, so that what flickers decides nothing.
            int(stats.memory_percent // 25),
            self._dynos[node.node_id],
            int(stats.cpu_percent // 25),
            int((stats.temperature_celsius or 0.0) // 10),
            node.node_id,
        )
