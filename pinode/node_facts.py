"""What a node says of itself in gossip: facts (rarely changed) and statistics (often), to bytes and back."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import msgpack

from gossip.member import MAX_META_BYTES
from pinode.apps.observed import NodeStats

VERSION = 1
NEWS = {
    "cpu_percent": 5.0,
    "memory_percent": 1.0,
    "disk_percent": 1.0,
    "temperature_celsius": 2.0,
    "loop_lag_ms": 100.0,
    "net_tx_bytes_per_s": 50_000.0,
    "net_rx_bytes_per_s": 50_000.0,
}
MAX_WARNINGS = 3
WARNING_BYTES = 80
MAX_TAKEN = 3
MAX_INTERPRETERS = 7  # with the CPU as many as a job of the queue may need
INTERPRETERS_BYTES = 140  # of their paths; warnings have what is left of gossip's bound for a member's meta


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What changes only when the node is started anew, or when it notices that something is wrong with it."""

    web_port: int = 0
    router_port: int = 0
    version: str = ""
    arch: str = ""
    python: str = ""
    interpreters: tuple[str, ...] = ()  # paths of those that slugs may need
    roles: tuple[str, ...] = ()
    started_at_unix: float = 0.0
    warnings: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()  # apps whose names on the network another machine has; told by the leader


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRow:
    """A node's statistics and how much it does at the moment."""

    stats: NodeStats
    dynos: int = 0
    builds: int = 0


def is_news(told: NodeRow, now: NodeRow) -> bool:
    """Whether a row differs from the one told last by enough that somebody would care."""
    if (told.dynos, told.builds, told.stats.throttled) != (now.dynos, now.builds, now.stats.throttled):
        return True
    return any(
        abs((getattr(now.stats, name) or 0) - (getattr(told.stats, name) or 0)) >= step
        for name, step in NEWS.items()
    )


def interpreters_told(found: Sequence[str]) -> tuple[str, ...]:
    """As many of them, the first first, as a node has room to tell of; with others no slug is made there."""
    told: list[str] = []
    for path in found:
        if len(told) < MAX_INTERPRETERS and len("".join((*told, path)).encode()) <= INTERPRETERS_BYTES:
            told.append(path)
    return tuple(told)


def encode_facts(facts: NodeFacts) -> bytes:
    """Bytes for gossip's `meta`; names of apps and warnings beyond what fits are cut."""
    told = [warning.encode(errors="replace")[:WARNING_BYTES] for warning in facts.warnings[:MAX_WARNINGS]]
    short = [warning.decode(errors="ignore") for warning in told]
    taken = list(facts.taken[:MAX_TAKEN])
    while True:
        encoded = bytes(msgpack.packb([VERSION, {**asdict(facts), "warnings": short, "taken": taken}]))
        if len(encoded) <= MAX_META_BYTES or not (short or taken):
            return encoded
        (taken or short).pop()


def decode_facts(data: bytes) -> NodeFacts:
    """Read another node's facts; unknown fields are skipped, an unreadable one gives the defaults."""
    values = _fields_of(data)
    known = {name: values[name] for name in (field.name for field in fields(NodeFacts)) if name in values}
    for name in ("roles", "warnings", "interpreters", "taken"):
        known[name] = tuple(str(item) for item in known.get(name, ()))
    return NodeFacts(**known)


def encode_row(row: NodeRow) -> bytes:
    """Bytes for gossip's statistics row."""
    values = {
        name: round(value, 1) if isinstance(value, float) else value
        for name, value in asdict(row.stats).items()
    }
    return bytes(msgpack.packb([VERSION, {**values, "dynos": row.dynos, "builds": row.builds}]))


def decode_row(data: bytes) -> NodeRow:
    """Read another node's row, as tolerant as `decode_facts`."""
    values = _fields_of(data)
    known = {name: values[name] for name in (field.name for field in fields(NodeStats)) if name in values}
    return NodeRow(
        stats=NodeStats(**known), dynos=int(values.get("dynos", 0)), builds=int(values.get("builds", 0))
    )


def _fields_of(data: bytes) -> dict[str, Any]:
    try:
        _, values = msgpack.unpackb(data)
    except (ValueError, msgpack.UnpackException):
        return {}
    return values if isinstance(values, dict) else {}
