"""The note of a node that lost its state: which cluster it is to come back to, and in whose place."""

import json
from dataclasses import dataclass
from pathlib import Path

from pinode.errors import PinodeError
from pinode.peers.durable_files import write_durably

VERSION = 1
FILE = "rejoin.json"
OTHER_HARDWARE = "other-hardware"  # the reason of a card that was copied, or moved


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejoin:
    """A node that has one founds no cluster: it joins this one."""

    cluster_id: bytes
    old_id: str  # the node id that this machine had
    reason: str  # a word
    refused_name: str = ""  # under which it was not let in, because who it is a copy of runs

    @property
    def may_be_copy(self) -> bool:
        """Whether the machine that it was may still run."""
        return self.reason == OTHER_HARDWARE


def keep_rejoin(data_dir: Path, rejoin: Rejoin) -> None:
    """Make it durable."""
    fields = {
        "version": VERSION,
        "cluster_id": rejoin.cluster_id.hex(),
        "old_id": rejoin.old_id,
        "reason": rejoin.reason,
        "refused_name": rejoin.refused_name,
    }
    write_durably(data_dir / FILE, json.dumps(fields, indent=1).encode() + b"\n")


def read_rejoin(data_dir: Path) -> Rejoin | None:
    """The note, if there is one. Raises `PinodeError` when it cannot be read."""
    file = data_dir / FILE
    try:
        fields = json.loads(file.read_bytes())
        if fields["version"] != VERSION:
            raise ValueError("a newer version")
        return Rejoin(
            cluster_id=bytes.fromhex(fields["cluster_id"]),
            old_id=str(fields["old_id"]),
            reason=str(fields["reason"]),
            refused_name=str(fields["refused_name"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise PinodeError(
            f"{file} cannot be read ({error})",
            hint="It says which cluster this machine belongs to. Start with an empty data directory.",
        ) from error
