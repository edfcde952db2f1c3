"""The node's side of its router: starts it or finds it again, and pushes the routes whenever they change."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pinode.cluster import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterCertificates:
    """PEM files: of the node for the hop between routers, of the web for `[listen] apps_tls`."""

    node_certificate: Path
    node_key: Path
    authority: Path  # whoever it certifies is a node of this cluster
    web_certificate: Path | None = None
    web_key: Path | None = None


class RouterProcess:
    """One per node. `directory` is `data_dir/router`."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        directory: Path,
        certificates: RouterCertificates,
        is_caught_up: Callable[[], bool],
    ) -> None:
        self._cluster = cluster

    async def run(self) -> None:
        """Keep a router running and told, until cancelled; the router goes on with its last routes."""

    async def stop(self) -> None:
        """End the router (`pinode stop`); returns when it is gone."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the router cannot do, such as a port that somebody else holds; for `pinode status`."""
        return ()
