"""Which `PORT` a dyno gets: one of the node's range that nobody holds."""

from collections.abc import Callable, Collection

from pinode.errors import PinodeError
from pinode.settings import PortRange


class NoFreePort(PinodeError):
    """All ports for dynos are taken."""

    code = "no_free_port"

    def __init__(self, ports: PortRange) -> None:
        super().__init__(
            f"none of the ports {ports} is free for another dyno", hint="Widen [listen] dyno_ports"
        )


def choose_port(
    ports: PortRange,
    *,
    first_choice: int | None,
    number: int,
    taken: Collection[int],
    is_free: Callable[[int], bool],
) -> int:
    """`first_choice` (the last one) if it is free, for somebody still knows it; else by placement `number`.

    A port that was just given up is not the next to be given out: somebody may still connect to it.
    """
    size = len(ports)
    candidates = [ports.first + (number * 7 + step) % size for step in range(size)]
    for port in [first_choice, *candidates] if first_choice in ports else candidates:
        if port is not None and port not in taken and is_free(port):
            return port
    raise NoFreePort(ports)
