"""What settings are made of: addresses, ranges of ports, sizes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

MIB = 1024 * 1024
GIB = 1024 * MIB
SIZE_UNITS = {
    "B": 1, "KIB": 1024, "MIB": MIB, "GIB": GIB, "TIB": 1024 * GIB,
    "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4,
}  # fmt: skip


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Where something listens or is dialled; an IPv6 host is kept without its brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this machine reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports from `first` to `last`, both included."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and self.first <= port <= self.last

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last + 1))


def parse_address(text: str, *, default_port: int = 0) -> Address:
    """Read `host:port`, `[v6]:port` or, where a default port is given, a host alone; raises `ValueError`."""
    text = text.strip()
    if default_port and text.count(":") > 1 and not text.startswith("["):
        return Address(str(ip_address(text)), default_port)
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]{1,253})(?::([0-9]{1,5}))?", text)
    if found is None or (found[2] is None and not default_port):
        raise ValueError(f"{text!r} is not host:port")
    host = found[1].strip("[]")
    if ":" in host:
        host = str(ip_address(host))
    port = int(found[2]) if found[2] is not None else default_port
    if not 1 <= port <= 65535:
        raise ValueError(f"{text!r} has no port from 1 to 65535")
    return Address(host, port)


def parse_port_range(text: str) -> PortRange:
    """Read `9000-9999`; raises `ValueError`."""
    found = re.fullmatch(r"\s*([0-9]{1,5})\s*-\s*([0-9]{1,5})\s*", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]) <= 65535:
        raise ValueError(f"{text!r} is not a range of ports")
    return PortRange(int(found[1]), int(found[2]))


def parse_size(value: object) -> int:
    """Read bytes as a number or as text with a unit, such as `2 GiB`; raises `ValueError`."""
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    else:
        found = re.fullmatch(
            r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", value if isinstance(value, str) else ""
        )
        unit = SIZE_UNITS.get((found[2] or "B").upper()) if found else None
        if found is None or unit is None:
            raise ValueError(f"{value!r} is not a size")
        size = int(float(found[1]) * unit)
    if not 0 < size < 1 << 60:
        raise ValueError(f"{value!r} is not a size")
    return size
