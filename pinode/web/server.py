"""The web server of a node: HTTPS for people and programs, a unix socket for the administrator on the node itself."""

import ssl
from pathlib import Path

from pinode.cluster import Cluster


class WebServer:
    """Serves the pages and the API on `[listen] web`, and the same on a socket file for the administrator."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        ssl_context: ssl.SSLContext | None,
        ca_pem: bytes,
        socket_path: Path,
    ) -> None:
        self._cluster = cluster

    async def run(self) -> None:
        """Serve until cancelled."""
