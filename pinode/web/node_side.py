"""What of its node the web is given, beside the cluster."""

from typing import Any, Protocol

from pinode.metrics.rings import Stretch


class NodeControl(Protocol):
    """What only the administrator on the node itself may ask of its process."""

    def setup_code(self) -> str | None:
        """The code with which the first user registers; None when it has been used."""
        ...

    def stop(self, *, everything: bool) -> int:
        """Begin to end this node (its dynos handed over, or with `everything` at once); its process id."""
        ...

    def leave(self, *, by: str) -> None:
        """Begin to leave the cluster for good. Raises `Conflict` where the others could not go on without."""
        ...

    def leaving(self) -> dict[str, Any]:
        """How far that is: `pid`, `waiting_for`, `failure`."""
        ...


class Past(Protocol):
    """How the nodes were; see `pinode.metrics.history`."""

    def fine(self, node_id: str) -> Stretch:
        """The last hour."""
        ...

    def coarse(self, node_id: str) -> Stretch:
        """The last day."""
        ...
