"""An app's log: the newest lines of all its dynos on all nodes, or all lines from now on."""

from collections.abc import AsyncIterator
from pathlib import Path

from pinode.cluster import Cluster
from pinode.logs.log_line import LogLine


class AppLogs:
    """Answers other nodes (and this one) for the dynos that run or ran here. `directory` is `data_dir/logs`."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self._cluster = cluster
        self._directory = directory

    def serve(self) -> None:
        """Answer `logs.tail` and `logs.follow`."""


async def tail(cluster: Cluster, app: str, lines: int = 100, process: str | None = None) -> list[LogLine]:
    """The newest lines of the app, oldest first. `process` is a type (`web`) or a dyno (`web.1`)."""
    return []


async def follow(
    cluster: Cluster, app: str, lines: int = 0, process: str | None = None
) -> AsyncIterator[LogLine]:
    """The newest `lines` lines, then every further one, for ever, of dynos that start later too."""
    yield LogLine(time_ms=0, app=app, dyno="", node="", text="")
