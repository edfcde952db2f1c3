"""What this machine is and how it is doing, as the kernel says: names, addresses, statistics, sensors."""

import fcntl
import os
import platform
import re
import socket
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, fields
from ipaddress import ip_address
from pathlib import Path
from struct import Struct
from typing import Any

import ifaddr

SECTOR_BYTES = 512
HOUR_SECONDS = 3600.0
WRITES_EVERY_SECONDS = 60.0  # how finely the last hour's writes are remembered
SHORTEST_WRITES_SECONDS = 600.0  # less than this is not scaled up to an hour
THROTTLED_NOW = 0xF  # under-voltage, capped, throttled, soft temperature limit; higher bits tell of the past
SHARED_NAMES = {"", "raspberrypi", "debian", "localhost"}
INTERFACE_FLAGS = Struct("16sH14x")  # struct ifreq
SIOCGIFFLAGS = 0x8913
IFF_RUNNING = 0x40
ROUTE_PROBE = ("192.0.2.1", 9)  # documentation address (RFC 5737): asks for the route, no packet is sent


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSample:
    """One measurement of this machine; the fields of `stats` in `pinode status`."""

    cpu_percent: float
    load_1m: float
    memory_percent: float
    memory_bytes: int  # in use
    disk_percent: float
    disk_free_bytes: int
    net_tx_bytes_per_s: float
    net_rx_bytes_per_s: float
    temperature_celsius: float | None  # None: no sensor
    throttled: bool | None  # None: not a Pi
    disk_written_bytes_per_hour: int  # to the disk of the data directory, by everything on this machine

    def as_stats(self) -> dict[str, Any]:
        """Field by field."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class HostSensors:
    """Measures this machine; rates are since the measurement before.

    Every few seconds on every node, so it reads a few small files and nothing else (decision 10).
    """

    def __init__(
        self, data_dir: Path, *, system: Path = Path("/sys"), processes: Path = Path("/proc")
    ) -> None:
        self._data_dir = data_dir
        self._processes = processes
        self._thermometer = system / "class/thermal/thermal_zone0/temp"
        self._firmware = system / "devices/platform/soc/soc:firmware/get_throttled"
        self._voltage_alarm = _voltage_alarm(system)
        self._disk_counters = _disk_counters(system, data_dir)
        self._traffic: tuple[float, int, int] | None = None  # when, sent, received
        self._writes: deque[tuple[float, int]] = deque()  # when, bytes written since the machine started
        self._ticks = self._cpu_ticks()

    def sample(self, now: float) -> HostSample:
        """Measure; `now` is monotonic seconds."""
        memory_total, memory_used = self._memory()
        disk = os.statvfs(self._data_dir)
        disk_used = disk.f_blocks - disk.f_bfree
        sent, received = self._traffic_rates(now)
        return HostSample(
            cpu_percent=self._cpu_percent(),
            load_1m=round(os.getloadavg()[0], 2),
            memory_percent=_percent(memory_used, memory_total),
            memory_bytes=memory_used,
            disk_percent=_percent(
                disk_used, disk_used + disk.f_bavail
            ),  # as df counts: of what users may have
            disk_free_bytes=disk.f_bavail * disk.f_frsize,
            net_tx_bytes_per_s=sent,
            net_rx_bytes_per_s=received,
            temperature_celsius=self._temperature(),
            throttled=self._throttled(),
            disk_written_bytes_per_hour=self._written_per_hour(now),
        )

    def _cpu_percent(self) -> float:
        """Of all cores, since the last look."""
        before, self._ticks = self._ticks, self._cpu_ticks()
        idle, total = (now - then for now, then in zip(self._ticks, before, strict=True))
        return _percent(total - idle, total)

    def _cpu_ticks(self) -> tuple[int, int]:
        """Idle (waiting for the disk is idle too) and all; the time of guests is in that of users."""
        user, nice, system, idle, waiting, *others = (
            int(word) for word in _first_line(self._processes / "stat").split()[1:9]
        )
        return idle + waiting, user + nice + system + idle + waiting + sum(others)

    def _memory(self) -> tuple[int, int]:
        """Bytes there are, and bytes in use that could not be given to somebody else."""
        found: dict[str, int] = {}
        for line in (self._processes / "meminfo").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in ("MemTotal", "MemAvailable"):
                found[name] = int(rest.split()[0]) * 1024
                if len(found) == 2:
                    break
        return found["MemTotal"], found["MemTotal"] - found["MemAvailable"]

    def _traffic_rates(self, now: float) -> tuple[float, float]:
        """Bytes a second sent and received, without what the machine says to itself."""
        sent = received = 0
        for line in (self._processes / "net/dev").read_text().splitlines()[2:]:
            name, _, counters = line.partition(":")
            if name.strip() != "lo":
                words = counters.split()
                received, sent = received + int(words[0]), sent + int(words[8])
        before, self._traffic = self._traffic, (now, sent, received)
        if before is None or now <= before[0]:
            return 0.0, 0.0
        seconds = now - before[0]
        # An interface that went away takes its counters along.
        return max(0, sent - before[1]) / seconds, max(0, received - before[2]) / seconds

    def _temperature(self) -> float | None:
        text = _first_line(self._thermometer)
        return int(text) / 1000 if re.fullmatch(r"-?\d+", text) else None

    def _throttled(self) -> bool | None:
        text = _first_line(self._firmware)
        if re.fullmatch(r"(0x)?[0-9a-fA-F]+", text):
            return bool(int(text, 16) & THROTTLED_NOW)
        return _first_line(self._voltage_alarm) == "1" if self._voltage_alarm else None

    def _written_per_hour(self, now: float) -> int:
        written = self._written_bytes()
        if not self._writes or now - self._writes[-1][0] >= WRITES_EVERY_SECONDS:
            self._writes.append((now, written))
        while len(self._writes) > 1 and now - self._writes[0][0] > HOUR_SECONDS:
            self._writes.popleft()
        since, before = self._writes[0]
        seconds = max(now - since, SHORTEST_WRITES_SECONDS)
        return int(max(0, written - before) * HOUR_SECONDS / seconds)

    def _written_bytes(self) -> int:
        """Written to the data directory's disk since the machine started; 0 where nobody counts."""
        counters = _first_line(self._disk_counters).split()
        return int(counters[6]) * SECTOR_BYTES if len(counters) > 6 else 0


def _voltage_alarm(system: Path) -> Path | None:
    """Where a Pi says that its supply is too weak; it has the driver from its start or never."""
    for name in sorted(system.glob("class/hwmon/hwmon*/name")):
        if _first_line(name) == "rpi_volt":
            return name.with_name("in0_lcrit_alarm")
    return None


def _disk_counters(system: Path, data_dir: Path) -> Path:
    device = os.stat(data_dir).st_dev
    return system / f"dev/block/{os.major(device)}:{os.minor(device)}/stat"


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 1) if whole > 0 else 0.0


def _first_line(file: Path) -> str:
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(handle, 4096).decode(errors="replace").partition("\n")[0].strip("\0 \t")
    except OSError:
        return ""
    finally:
        os.close(handle)


def default_node_name(host_name: str | None = None, machine_id: str | None = None) -> str:
    """Host name; one that many fresh machines share gets `-` and 4 hexadecimal digits of the machine id."""
    name = (host_name if host_name is not None else socket.gethostname()).split(".")[0].lower()
    name = re.sub(r"[^a-z0-9-]+", "-", name).strip("-")[:58]
    if name not in SHARED_NAMES:
        return name
    identity = machine_id if machine_id is not None else _first_line(Path("/etc/machine-id"))
    digits = re.sub(r"[^0-9a-f]", "", identity.lower())[:4] or "0000"
    return f"{name or 'node'}-{digits}"


def default_route_address() -> str:
    """Address others on the network reach this machine at; loopback when there is no network."""
    for family, probe in ((socket.AF_INET, ROUTE_PROBE), (socket.AF_INET6, ("2001:db8::1", 9))):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as asking:
                asking.connect(probe)
                return str(asking.getsockname()[0])
        except OSError:
            continue
    return reachable_address(own_addresses())


def reachable_address(addresses: Iterable[str]) -> str:
    """The address to be dialled at where no route leads out, as on a switch without a router: IPv4 first."""
    outside = [ip_address(address) for address in addresses if not ip_address(address).is_loopback]
    best = min(outside, key=lambda address: (address.version, int(address)), default=ip_address("127.0.0.1"))
    return str(best)


def own_addresses() -> list[str]:
    """Every address of this machine that others may dial: none link-local, none behind a pulled cable."""
    found = set()
    for interface in ifaddr.get_adapters():
        if not _has_link(interface.name):
            continue
        for known in interface.ips:
            address = ip_address(known.ip if isinstance(known.ip, str) else known.ip[0])
            if not address.is_link_local:
                found.add(str(address))
    return sorted(found)


def _has_link(interface: str) -> bool:
    """Whether the interface is up and its cable or radio is connected (netdevice(7))."""
    request = INTERFACE_FLAGS.pack(interface.encode(), 0)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            _, flags = INTERFACE_FLAGS.unpack(fcntl.ioctl(asking, SIOCGIFFLAGS, request))
    except OSError:
        return True  # gone meanwhile, or no name of an interface
    return bool(flags & IFF_RUNNING)


def architecture() -> str:
    """As in `x86_64`, `aarch64`."""
    return platform.machine()


def board_model(system: Path = Path("/sys")) -> str:
    """As in `Raspberry Pi 4 Model B Rev 1.4`; empty where nothing says."""
    return _first_line(system / "firmware/devicetree/base/model") or _first_line(
        system / "class/dmi/id/product_name"
    )
