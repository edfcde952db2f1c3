"""Runs on this node what the registry places here, and leaves it running when the node process ends."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pinode.apps.observed import DynoReport
from pinode.cluster import Cluster


class Supervisor:
    """One per node. `directory` is `data_dir/dynos`, `log_directory` `data_dir/logs`."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        directory: Path,
        log_directory: Path,
        slugs: Any,
        sandbox: Any,
        is_caught_up: Callable[[], bool],
        on_reports: Callable[[tuple[DynoReport, ...]], None],
    ) -> None:
        """`is_caught_up()`: this process has applied up to a leader's commit index since its start."""
        self._cluster = cluster

    async def run(self) -> None:
        """Find the dynos that still run, then follow the registry until cancelled; dynos go on running."""

    async def stop_all(self) -> None:
        """End all dynos of this node (`pinode stop`); returns when their processes are gone."""
