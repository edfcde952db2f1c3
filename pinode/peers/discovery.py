"""Nodes on one network tell each other where they are, by multicast DNS (`_pinode._tcp.local.`).

While a cluster is to be founded a node announces itself and listens; once it is founded it only announces.
What is announced is open to everybody on the network, so it opens nothing: it names addresses to try.
`zeroconf` is loaded only where `[cluster] discovery` asks for it.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from pinode.errors import Conflict
from pinode.peers.founding_record import FoundingMember
from pinode.peers.identity import Identity
from pinode.settings import Address, Settings

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

logger = logging.getLogger(__name__)

SERVICE = "_pinode._tcp.local."
ANNOUNCE_SECONDS = 5.0  # to announce or to take back; the network may be down
ASK_MILLISECONDS = 500
MAX_HEARD = 64


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A node that was heard: where, of which cluster and key, and whether that cluster is founded."""

    address: Address
    cluster_name: str
    key_mark: str
    is_founded: bool


class Discovery:
    """What was heard on the network so far; nothing where discovery is off."""

    def __init__(self, settings: Settings, identity: Identity) -> None:
        self._settings = settings
        self._identity = identity
        self._names: set[str] = set()
        self._neighbours: dict[str, Neighbour] = {}
        self._zeroconf: AsyncZeroconf | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def of(
        cls, settings: Settings, identity: Identity, member: FoundingMember
    ) -> "AsyncIterator[Discovery]":
        """Announce this node and listen for others, while inside."""
        discovery = cls(settings, identity)
        async with _announced(settings, identity, member, is_founded=False) as announced:
            if announced is None:
                yield discovery
                return
            from zeroconf.asyncio import AsyncServiceBrowser

            discovery._zeroconf = announced
            browser = AsyncServiceBrowser(announced.zeroconf, [SERVICE], handlers=[discovery._heard])
            try:
                yield discovery
            finally:
                await browser.async_cancel()

    @property
    def is_on(self) -> bool:
        """Whether anything can be heard."""
        return self._zeroconf is not None

    async def listen(self) -> None:
        """Ask those whose names were heard where they are."""
        if self._zeroconf is None:
            return
        from zeroconf.asyncio import AsyncServiceInfo

        for name in sorted(self._names - self._neighbours.keys()):
            info = AsyncServiceInfo(SERVICE, name)
            if await info.async_request(self._zeroconf.zeroconf, ASK_MILLISECONDS):
                neighbour = _read(info)
                if neighbour is not None:
                    self._neighbours[name] = neighbour

    def addresses(self) -> list[Address]:
        """Of nodes with the same cluster key."""
        own_mark = self._identity.secrets.mark
        return [known.address for known in self._neighbours.values() if known.key_mark == own_mark]

    def refuse_foreign_cluster(self) -> None:
        """Raise `Conflict` when a founded cluster of the same name and another key was heard."""
        name, mark = self._settings.cluster.name, self._identity.secrets.mark
        for known in self._neighbours.values():
            if known.is_founded and known.cluster_name == name and known.key_mark != mark:
                raise Conflict(
                    f"a cluster {name!r} with another key is on this network already, at {known.address}",
                    hint="To join it: `pinode join-token` on any node of it, then here "
                    "`pinode start --join TOKEN`. To found one beside it, give this one another name: "
                    '[cluster] name = "home2"',
                )

    def _heard(self, zeroconf: object, service_type: str, name: str, state_change: object) -> None:
        self._neighbours.pop(name, None)  # what it says may have changed
        if len(self._names) < MAX_HEARD:
            self._names.add(name)


async def announce(
    settings: Settings,
    *,
    identity: Identity,
    member: FoundingMember,
    beside: "Callable[[AsyncZeroconf], Awaitable[None]] | None" = None,
) -> None:
    """Announce a node of a founded cluster until cancelled, and do `beside` with the same zeroconf meanwhile.

    Returns at once where discovery is off.
    """
    async with _announced(settings, identity, member, is_founded=True) as announced:
        if announced is not None:
            await (beside(announced) if beside is not None else asyncio.Event().wait())


@contextlib.asynccontextmanager
async def _announced(
    settings: Settings, identity: Identity, member: FoundingMember, *, is_founded: bool
) -> "AsyncIterator[AsyncZeroconf | None]":
    if settings.cluster.discovery != "mdns":
        yield None
        return
    from zeroconf import Error, InterfaceChoice
    from zeroconf.asyncio import AsyncZeroconf

    here = _ip(member.host)
    zeroconf: AsyncZeroconf | None = None
    try:
        zeroconf = AsyncZeroconf(interfaces=[here] if here else InterfaceChoice.Default)
        async with asyncio.timeout(ANNOUNCE_SECONDS):
            service = _service(settings, identity, member, is_founded)
            await (await zeroconf.async_register_service(service, allow_name_change=True))
    except (OSError, Error) as error:
        logger.warning("discovery is off, multicast DNS does not work here error=%s", error)
        await _close(zeroconf)
        zeroconf = None
    try:
        yield zeroconf
    finally:
        await _close(zeroconf)


async def _close(zeroconf: "AsyncZeroconf | None") -> None:
    if zeroconf is not None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANNOUNCE_SECONDS):
                await zeroconf.async_unregister_all_services()
                await zeroconf.async_close()


def _service(
    settings: Settings, identity: Identity, member: FoundingMember, is_founded: bool
) -> "AsyncServiceInfo":
    from zeroconf.asyncio import AsyncServiceInfo

    return AsyncServiceInfo(
        SERVICE,
        f"{member.node_id}.{SERVICE}",
        port=member.peer_port,
        parsed_addresses=[_ip(member.host) or "127.0.0.1"],
        server=f"pinode-{member.node_id}.local.",
        properties={
            "host": member.host,
            "cluster": settings.cluster.name,
            "mark": identity.secrets.mark,
            "founded": "1" if is_founded else "0",
        },
    )


def _read(info: "AsyncServiceInfo") -> Neighbour | None:
    """What somebody on the network says of itself; None when it is not what we say of ourselves."""
    said = {
        key.decode("ascii", "replace"): (value or b"").decode("utf-8", "replace")
        for key, value in info.properties.items()
    }
    host, port = said.get("host", ""), info.port or 0
    if not 0 < len(host) <= 253 or not 0 < port < 65536:
        return None
    return Neighbour(
        address=Address(host, port),
        cluster_name=said.get("cluster", ""),
        key_mark=said.get("mark", ""),
        is_founded=said.get("founded") == "1",
    )


def _ip(host: str) -> str | None:
    try:
        return str(ip_address(host))
    except ValueError:
        return None
