"""By what a machine is known, and whether two looks at it saw the same one. Pure.

A Pi's serial number is burnt into its chip and decides alone; else those of the firmware do. Where none can
be read (no DMI, or not as this user) the built-in addresses of its network cards do. Anything in common is
enough, so that a network card that was added, a new host name or an update of the firmware is no other
machine; several nodes on one machine are on the same hardware. Where nothing can be compared nothing is
claimed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

VERSION = 1
MAX_MAC_ADDRESSES = 32
SERIALS = ("device_tree", "product_uuid", "board_serial", "product_serial")
# What makers leave in place of a number; also anything made of one letter or digit.
NO_SERIALS = frozenset(
    {
        "0123456789",
        "1234567890",
        "123456789",
        "default string",
        "empty",
        "none",
        "not applicable",
        "not available",
        "not specified",
        "o.e.m.",
        "system serial number",
        "to be filled by o.e.m.",
        "unknown",
        "03000200-0400-0500-0006-000700080009",
    }
)


class Sameness(Enum):
    """What two looks say."""

    SAME = "same"
    OTHER = "other"
    UNKNOWN = "unknown"  # nothing that both saw


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """One look at a machine."""

    serials: Mapping[str, str] = field(default_factory=dict)  # by the names in SERIALS
    mac_addresses: frozenset[str] = frozenset()  # that its network cards were built with

    def __str__(self) -> str:
        """As people are told."""
        for kind in SERIALS:
            if kind in self.serials:
                return f"serial {self.serials[kind]}"
        return f"network card {min(self.mac_addresses)}" if self.mac_addresses else "of unknown serial"


def is_serial(text: str) -> bool:
    """Whether a machine can be known by it."""
    bare = text.strip().lower()
    return len(set(bare) - set("-:. ")) > 1 and bare not in NO_SERIALS


def compare(recorded: Hardware, seen: Hardware) -> Sameness:
    """Whether both are one machine."""
    kinds = [kind for kind in SERIALS if kind in recorded.serials and kind in seen.serials]
    if kinds[:1] == ["device_tree"]:
        del kinds[1:]
    if kinds:
        found = any(recorded.serials[kind] == seen.serials[kind] for kind in kinds)
        return Sameness.SAME if found else Sameness.OTHER
    if recorded.mac_addresses and seen.mac_addresses:
        found = bool(recorded.mac_addresses & seen.mac_addresses)
        return Sameness.SAME if found else Sameness.OTHER
    return Sameness.UNKNOWN


def remembered(recorded: Hardware, seen: Hardware) -> Hardware:
    """What to record of the machine; a look that sees less, as another user's, forgets nothing."""
    return Hardware(
        serials={**recorded.serials, **seen.serials},
        mac_addresses=seen.mac_addresses or recorded.mac_addresses,
    )


def encode(hardware: Hardware) -> bytes:
    """As a file that people can read."""
    fields = {
        "version": VERSION,
        "serials": dict(sorted(hardware.serials.items())),
        "mac_addresses": sorted(hardware.mac_addresses)[:MAX_MAC_ADDRESSES],
    }
    return json.dumps(fields, indent=1).encode() + b"\n"


def decode(data: bytes) -> Hardware | None:
    """Read such a file; None when it is damaged or of a newer version: then nothing is known."""
    try:
        fields = json.loads(data)
        if fields["version"] != VERSION:
            return None
        serials = {str(kind): str(serial) for kind, serial in fields["serials"].items() if kind in SERIALS}
        return Hardware(serials=serials, mac_addresses=frozenset(map(str, fields["mac_addresses"])))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
