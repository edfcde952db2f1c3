"""Which names are to be announced on the network, and with which addresses."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from pinode.apps.observed import NodeView
from pinode.apps.registry import Registry
from pinode.settings import Settings

LAN_DOMAIN = "local"
WEB = "web"
# How long others keep an address. A dead node is forgotten soon; and it tells our records from those of other
# responders, which use the 120 s of RFC 6762, so it must be the same in every version of pinode.
ADDRESS_TTL_SECONDS = 12
MAX_ADDRESSES = 16  # of one name: a packet has room for so many


@dataclass(frozen=True, slots=True)
class LanName:
    """`<app>.local` and its service: IP addresses in a fixed order, and the port of the router."""

    app: str
    addresses: tuple[str, ...]
    port: int


def is_announcing(settings: Settings) -> bool:
    """Whether apps get names on the network at all."""
    return settings.cluster.discovery == "mdns" and settings.apps.domain.lower() == LAN_DOMAIN


def named_apps(registry: Registry) -> Iterator[str]:
    """Apps with something to visit: their live release has a web process, even when it is scaled to zero."""
    for app in registry.apps():
        if has_web(registry, app.name):
            yield app.name


def has_web(registry: Registry, app: str) -> bool:
    """Whether the live release of this app has a web process."""
    live = registry.live_release(app)
    return live is not None and WEB in live.process_types


def wanted_names(
    registry: Registry, nodes: Sequence[NodeView], *, own_id: str, port: int
) -> dict[str, LanName]:
    """What the leader `own_id` is to announce, by app: the addresses of all nodes that are not gone."""
    hosts = [node.host for node in nodes if node.is_in_reach or node.node_id == own_id]
    addresses = tuple(sorted({host for host in hosts if _is_address(host)}, key=_address_order))
    if not addresses:
        return {}
    return {app: LanName(app, addresses[:MAX_ADDRESSES], port) for app in named_apps(registry)}


def names_of_nodes(nodes: Sequence[NodeView]) -> frozenset[str]:
    """Names that the machines of the cluster have for themselves."""
    return frozenset(node.name.lower() for node in nodes if node.state != "left")


def is_of_this_cluster(address: str, ttl_seconds: float, nodes: Sequence[NodeView]) -> bool:
    """Whether what was heard for the name of an app is announced by a node of this cluster, as the leader
    before may still do, and not another machine's. Under its own host name a node is announced for longer.
    """
    return ttl_seconds <= ADDRESS_TTL_SECONDS and address in {node.host for node in nodes}


def _is_address(host: str) -> bool:
    try:
        return not ip_address(host).is_unspecified
    except ValueError:
        return False


def _address_order(host: str) -> tuple[int, int]:
    address = ip_address(host)
    return address.version, int(address)
