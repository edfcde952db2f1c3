"""Names of apps as records of multicast DNS, and packets that carry many. Loads zeroconf when used."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pinode.lan_names.wanted import ADDRESS_TTL_SECONDS, LAN_DOMAIN, LanName

if TYPE_CHECKING:
    from zeroconf import DNSOutgoing, DNSRecord  # type: ignore[attr-defined]
    from zeroconf.asyncio import AsyncServiceInfo

SERVICE = "_http._tcp.local."
SERVICE_TTL_SECONDS = 1200  # of what lists of services show; what they lead to has the TTL of the addresses
PROBED_AT_ONCE = 25  # names in one packet of questions
TOLD_AT_ONCE = 8  # names in one packet of answers, with three addresses each; zeroconf splits larger ones
QUERY, AUTHORITATIVE_ANSWER = 0x0000, 0x8400  # flags of a message
CLASS_IN, TYPE_A, TYPE_AAAA = 1, 1, 28


def server_of(app: str) -> str:
    """The host name of an app, as records have it."""
    return f"{app}.{LAN_DOMAIN}."


def service_of(name: LanName, cluster_name: str) -> "AsyncServiceInfo":
    """The app's addresses, and what lists of services show of it."""
    from zeroconf.asyncio import AsyncServiceInfo

    instance = f"{name.app} on {cluster_name}"[
        :63
    ]  # an app has up to 30 characters: what is cut is the cluster's
    return AsyncServiceInfo(
        SERVICE,
        f"{instance}.{SERVICE}",
        port=name.port,
        parsed_addresses=list(name.addresses),
        server=server_of(name.app),
        properties={"path": "/"},
        host_ttl=ADDRESS_TTL_SECONDS,
        other_ttl=SERVICE_TTL_SECONDS,
    )


def questions(apps: Sequence[str]) -> "Iterator[DNSOutgoing]":
    """Packets that ask who has these names. Answers come by multicast, for avahi may have the same port."""
    from zeroconf import DNSOutgoing, DNSQuestion  # type: ignore[attr-defined]

    for start in range(0, len(apps), PROBED_AT_ONCE):
        packet = DNSOutgoing(QUERY)
        for app in apps[start : start + PROBED_AT_ONCE]:
            for kind in (TYPE_A, TYPE_AAAA):  # zeroconf has no answer to a question for ANY of a host
                packet.add_question(DNSQuestion(server_of(app), kind, CLASS_IN))
        yield packet


def announcements(
    services: "Sequence[AsyncServiceInfo]", *, ttl: int | None = None
) -> "Iterator[DNSOutgoing]":
    """Packets that tell these; with a `ttl` of 0, that they are gone.

    Addresses carry the cache-flush bit: who hears them forgets older ones of the name, as of a dead node.
    """
    from zeroconf import DNSOutgoing  # type: ignore[attr-defined]

    for start in range(0, len(services), TOLD_AT_ONCE):
        packet = DNSOutgoing(AUTHORITATIVE_ANSWER)
        for service in services[start : start + TOLD_AT_ONCE]:
            for record in _records(service, ttl):
                packet.add_answer_at_time(record, 0)
        yield packet


def _records(service: "AsyncServiceInfo", ttl: int | None) -> "Iterator[DNSRecord]":
    yield service.dns_pointer(override_ttl=ttl)
    yield service.dns_service(override_ttl=ttl)
    yield service.dns_text(override_ttl=ttl)
    yield from service.dns_addresses(override_ttl=ttl)
