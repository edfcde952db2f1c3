"""What is wrong with the cluster, each problem once, with what to do about it."""

from collections.abc import Iterator, Sequence

from pinode.apps.observed import NodeView
from pinode.lan_names.wanted import LAN_DOMAIN
from pinode.nodes.key_rotation import KeyRotation
from pinode.operations.key_rotation import rotation_warning

DISK_FULL_PERCENT = 90.0
MEMORY_FULL_PERCENT = 95.0
HOT_CELSIUS = 80.0
LAGGING_MS = 1000.0
GIB = 1024**3
THREE = "A cluster of three survives the loss of one."


def warnings_of(
    nodes: Sequence[NodeView], *, has_quorum: bool, key_rotation: KeyRotation | None = None
) -> list[str]:
    """Return the warnings of `status`: the cluster's first, then those of each node in the order given."""
    found = list(_of_the_cluster(nodes, has_quorum=has_quorum))
    if rotating := rotation_warning(key_rotation, nodes, has_quorum=has_quorum):
        found.append(rotating)
    for node in nodes:
        found += _of_a_node(node, has_quorum=has_quorum)
    return found


def _of_the_cluster(nodes: Sequence[NodeView], *, has_quorum: bool) -> Iterator[str]:
    away = [node.name for node in nodes if node.state != "alive"]
    if not has_quorum:
        cure = f"Bring back {', '.join(away)}." if away else "Wait for an election, or check the network."
        yield f"no quorum: nothing can be changed now, what is shown may be old, running apps go on. {cure}"
    if len(nodes) == 1:
        yield f"one node alone: what it holds is lost with its disk. {THREE}"
    elif len(nodes) == 2:
        voters = " or ".join(node.name for node in nodes if node.counts_as == "voter")
        yield f"two nodes: when {voters} is off, nothing can be changed. {THREE}"
    newest = max((node.feature_level for node in nodes), default=1)
    if older := [node for node in nodes if node.feature_level < newest]:
        named = ", ".join(f"{node.name} ({node.version or 'version unknown'})" for node in older)
        yield f"not all nodes are upgraded: what is new waits for {named}."


def _of_a_node(node: NodeView, *, has_quorum: bool) -> Iterator[str]:
    if node.state == "left":  # still a member that counts: what is off is missing, however it was put off
        yield f"{node.name} was stopped. `pinode start` on it brings it back."
        return
    if node.state == "dead":
        heard = (
            "not heard since this node started"
            if node.stats_age_seconds is None
            else f"last heard {_span(node.stats_age_seconds)} ago"
        )
        dynos = "its dynos move to other nodes" if has_quorum else "its dynos cannot move without a quorum"
        remove = f" If it is gone for good: `pinode node:remove {node.name} --confirm {node.name}`."
        yield (
            f"{node.name} is dead ({heard}). Check its power and network; {dynos}."
            + (remove if has_quorum else "")
        )
        return
    if node.state == "suspect":
        yield f"{node.name} does not answer; it is declared dead if that goes on for some seconds."
    if node.availability in ("cordoned", "drained"):
        until = f"`pinode node:uncordon {node.name}`"
        yield f"{node.name} is {node.availability}: it takes no work until {until}."
    if node.availability == "leaving":
        yield f"{node.name} is leaving the cluster; `pinode leave` on it shows how far that is."
    for said in node.warnings:
        yield f"{node.name}: {said}"
    for app in node.taken_names:
        yield (
            f"a machine on the network is {app}.{LAN_DOMAIN}, so the app {app} answers at its port only. "
            f"`pinode apps:rename {app} NAME` gives it a name of its own."
        )
    if node.stats_age_seconds is not None:
        yield from _of_its_numbers(node)


def _of_its_numbers(node: NodeView) -> Iterator[str]:
    stats = node.stats
    if stats.disk_percent >= DISK_FULL_PERCENT:
        free = stats.disk_free_bytes / GIB
        yield (
            f"{node.name}: the disk is {stats.disk_percent:.0f} % full, {free:.1f} GiB are free. "
            "Delete what is not needed there, or use a larger card."
        )
    if stats.memory_percent >= MEMORY_FULL_PERCENT:
        yield f"{node.name}: the memory is {stats.memory_percent:.0f} % full. Scale some dynos down."
    if stats.throttled:
        yield f"{node.name} is throttled: its power supply is too weak, or it is too hot."
    if stats.temperature_celsius is not None and stats.temperature_celsius >= HOT_CELSIUS:
        yield f"{node.name} is hot: {stats.temperature_celsius:.0f} °C. Give it air or a heat sink."
    if stats.loop_lag_ms >= LAGGING_MS:
        late = stats.loop_lag_ms / 1000
        yield f"{node.name} is overloaded: it answers {late:.1f} s late. Scale some dynos down."


def _span(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
