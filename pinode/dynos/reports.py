"""What nodes tell each other about their dynos: each its own rows, all of them, whenever one changes."""

from collections.abc import Callable, Iterable

from pinode.apps.observed import DynoReport
from pinode.cluster import Cluster


class Reports:
    """Newest dyno rows of all nodes. Knows only what nodes say of their own dynos; never in the log."""

    def __init__(self, cluster: Cluster, *, run_id: str) -> None:
        """`run_id` names this process start."""
        self._cluster = cluster
        self._run_id = run_id

    async def run(self) -> None:
        """Tell the others, again where they did not hear, until cancelled."""

    def publish(self, rows: Iterable[DynoReport]) -> None:
        """These are this node's rows now (all of them); called by the supervisor."""

    def all(self) -> tuple[DynoReport, ...]:
        """Newest rows of all nodes, ordered by placement."""
        return ()

    def on_change(self, callback: Callable[[], None]) -> None:
        """Have `callback()` called whenever a row changed."""
