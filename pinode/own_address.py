"""Which address of this machine the others are told, and when it is another one (DHCP, another cable)."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from pinode.errors import SettingsError
from pinode.host import default_route_address
from pinode.settings import Address, Settings

LOOKS = 2  # an address is new when it was found so often in a row: a route may flap


class OwnAddress:
    """Follows the default route's address, unless the settings name one."""

    def __init__(self, host: str, *, find: Callable[[], str] | None = None) -> None:
        """Without `find` the address stays as it is."""
        self.host = host
        self._find = find
        self._found = host
        self._times = 0

    @property
    def is_in_doubt(self) -> bool:
        """Whether the last look found another address than `host`: look again soon."""
        return self._found != self.host

    @property
    def is_meant_for_this_machine(self) -> bool:
        """Whether the settings name loopback, as a demo does; without a network it is loopback for now."""
        return self._find is None and ip_address(self.host).is_loopback

    def look(self) -> bool:
        """Whether `host` is another one from now on; ask every few seconds.

        A machine that has lost its network keeps the address it had: loopback is of no use to the others.
        """
        if self._find is None:
            return False
        found = self._find()
        self._times = self._times + 1 if found == self._found else 1
        self._found = found
        if found == self.host or self._times < LOOKS or ip_address(found).is_loopback:
            return False
        self.host = found
        return True


async def own_address(settings: Settings) -> OwnAddress:
    """As `[node] advertise` says, else `[listen] peer`, else the default route.

    Raises `SettingsError` for a name that is not known here.
    """
    named, listen = settings.node.advertise, settings.listen.peer.host
    if not named and listen in ("0.0.0.0", "::"):
        return OwnAddress(default_route_address(), find=default_route_address)
    return OwnAddress(await _resolved(named or listen))


def for_own_family(settings: Settings, host: str) -> Settings:
    """The settings, listening on every IPv6 address too where the others are told one of those.

    `0.0.0.0`, the default, names IPv4 addresses only: on a network without IPv4 nobody could dial this node.
    """
    if ip_address(host).version == 4:
        return settings
    listen = settings.listen
    open_doors: dict[str, Any] = {
        door: Address("::", address.port)
        for door in ("peer", "web", "apps", "apps_tls", "router")
        if (address := getattr(listen, door)).host == "0.0.0.0"
    }
    return replace(settings, listen=replace(listen, **open_doors))


async def _resolved(host: str) -> str:
    """Others must not look names up for every datagram, so they are told an IP address."""
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise SettingsError(
            f"the address {host!r} of this node is not known here: {error}",
            hint='Name one that others can dial: [node] advertise = "192.168.1.20"',
        ) from error
    return min((str(entry[4][0]) for entry in found), key=lambda one: (ip_address(one).version, one))
