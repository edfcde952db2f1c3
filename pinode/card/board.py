"""Asks the kernel what machine this is, and keeps on the card what it was."""

import logging
from collections.abc import Iterator
from pathlib import Path

from pinode.card.hardware import (
    MAX_MAC_ADDRESSES,
    Hardware,
    Sameness,
    compare,
    decode,
    encode,
    is_serial,
    remembered,
)
from pinode.peers.durable_files import write_durably

logger = logging.getLogger(__name__)

FILE = "hardware.json"
SYSTEM, PROCESSES = Path("/sys"), Path("/proc")
BUILT_IN = "0"  # addr_assign_type of an address that came with the card; others are drawn or set
LOCALLY_ADMINISTERED = 0x02  # in the first byte: given by a hypervisor or a program, no two times the same
DMI = ("product_uuid", "board_serial", "product_serial")  # readable by root alone


def read_hardware(system: Path = SYSTEM, processes: Path = PROCESSES) -> Hardware:
    """This machine, as far as this user may know."""
    found = {kind: _text(system / "class/dmi/id" / kind) for kind in DMI}
    found["device_tree"] = _text(processes / "device-tree/serial-number") or _text(
        system / "firmware/devicetree/base/serial-number"
    )
    return Hardware(
        serials={kind: serial.lower() for kind, serial in found.items() if is_serial(serial)},
        mac_addresses=frozenset(sorted(_mac_addresses(system))[:MAX_MAC_ADDRESSES]),
    )


def _mac_addresses(system: Path) -> Iterator[str]:
    """Of the network cards: what has no device behind it (bridges, tunnels) comes and goes."""
    for interface in system.glob("class/net/*"):
        address, kind = _text(interface / "address"), _text(interface / "addr_assign_type")
        is_real = (interface / "device").exists() and kind == BUILT_IN and is_serial(address)
        if is_real and not int(address[:2], 16) & LOCALLY_ADMINISTERED:
            yield address.lower()


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode(errors="replace").strip("\0 \t\n")
    except OSError:
        return ""


class HardwareRecord:
    """What a data directory knows of the machine it is in."""

    def __init__(self, data_dir: Path) -> None:
        self._file = data_dir / FILE

    def read(self) -> Hardware | None:
        """The machine as it was seen last; None when nothing readable was kept."""
        try:
            data = self._file.read_bytes()
        except FileNotFoundError:
            return None
        recorded = decode(data)
        if recorded is None:
            logger.warning("the record of the hardware is not readable and made anew file=%s", self._file)
        return recorded

    def compare(self, seen: Hardware) -> Sameness:
        """Whether this is still that machine."""
        recorded = self.read()
        return compare(recorded, seen) if recorded is not None else Sameness.UNKNOWN

    def keep(self, seen: Hardware) -> None:
        """This is the machine from now on; written only when that is news."""
        recorded = self.read()
        is_same = recorded is not None and compare(recorded, seen) is not Sameness.OTHER
        now = remembered(recorded, seen) if recorded is not None and is_same else seen
        if now != recorded:
            write_durably(self._file, encode(now))
