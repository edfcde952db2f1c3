"""What one leader has seen since it leads. Never agreed, never stored: a new leader begins with nothing."""

from collections.abc import Sequence

from pinode.apps.observed import NodeView
from pinode.apps.registry import Registry

RETURN_GRACE_MS = 10_000  # for a node that a new leader has not seen alive yet, as after a power cut of all


class PlanMemory:
    """Since when this leader knows of placements and live releases, and which nodes it has seen alive.

    Deadlines count from here, so that a change of leaders makes them longer and never restarts or fails
    anything.
    """

    def __init__(self, *, since_ms: int) -> None:
        self.since_ms = since_ms  # cluster time at which this leader began
        self._seen_alive: set[str] = set()
        self._placed_since: dict[int, int] = {}  # placement number → cluster time
        self._live_since: dict[tuple[str, int], int] = {}  # (app, version) → cluster time

    def observe(self, registry: Registry, nodes: Sequence[NodeView], *, now_ms: int) -> None:
        """Note what is new, forget what is gone."""
        self._seen_alive |= {node.node_id for node in nodes if node.state in ("alive", "suspect")}
        numbers = [placement.number for placement in registry.placements()]
        self._placed_since = {number: self._placed_since.get(number, now_ms) for number in numbers}
        live = [(app.name, app.live_version) for app in registry.apps() if app.live_version is not None]
        self._live_since = {key: self._live_since.get(key, now_ms) for key in live}

    def gone_at_ms(self, node_id: str, node: NodeView | None, *, now_ms: int) -> int | None:
        """When what ran on the node is lost: now, or at the end of the time it has to come back; None: never.

        A suspect keeps its dynos; one that was not seen yet gets time.
        """
        if node is None or node.state == "left":
            return now_ms
        if node.is_in_reach:
            return None
        return now_ms if node_id in self._seen_alive else max(now_ms, self.since_ms + RETURN_GRACE_MS)

    def placed_since(self, number: int) -> int:
        """When this leader first knew of the placement."""
        return self._placed_since[number]

    def live_since(self, app: str, version: int) -> int:
        """When this leader first knew that the release is live."""
        return self._live_since[app, version]
