"""What this machine is and how it is doing, as the kernel says: names, addresses, statistics, sensors of a Pi."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSample:
    """One measurement of this machine; the fields of `stats` in `pinode status`."""

    cpu_percent: float
    load_1m: float
    memory_percent: float
    memory_bytes: int
    disk_percent: float
    disk_free_bytes: int
    net_tx_bytes_per_s: float
    net_rx_bytes_per_s: float
    temperature_celsius: float | None
    throttled: bool | None
    disk_written_bytes_per_hour: int


class HostSensors:
    """Measures this machine; rates are since the measurement before."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def sample(self, now: float) -> HostSample:
        """Measure; `now` is monotonic seconds."""
        raise RuntimeError


def default_node_name() -> str:
    """Host name; one that many fresh machines share gets `-` and 4 hexadecimal digits of the machine id."""
    return ""


def default_route_address() -> str:
    """Address others on the network reach this machine at; loopback when there is no network."""
    return ""


def architecture() -> str:
    """As in `x86_64`, `aarch64`."""
    return ""
