"""Answers for names of apps on an instance of zeroconf, tells of them, and hears who else claims one."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_address
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pinode.lan_names.records import announcements, questions, server_of, service_of
from pinode.lan_names.wanted import ADDRESS_TTL_SECONDS, LanName

if TYPE_CHECKING:
    from zeroconf import (  # type: ignore[attr-defined]
        DNSOutgoing,
        RecordUpdate,
        RecordUpdateListener,
        Zeroconf,
    )
    from zeroconf.asyncio import AsyncServiceInfo

PROBES = 3  # RFC 6762 §8.1
PROBE_SECONDS = 0.25
PACE_SECONDS = 0.02  # between two packets: some hundred names are told in a second, not at once

Claim = Callable[[str, str, float], bool]


class Responder:
    """Names that this node answers for, while inside.

    Announcements do not go through `async_register_service` and `async_unregister_service`: these send six
    packets a name, and a goodbye that would make the network forget what the next leader announces.
    """

    def __init__(self, zeroconf: "Zeroconf", cluster_name: str, *, on_claimed: Claim) -> None:
        """`on_claimed(app, address, ttl_seconds)`: somebody says that `<app>.local` has this address, which
        is not what is announced here. Whether that is another machine, for which the app then gives way.
        """
        self._zeroconf = zeroconf
        self._cluster_name = cluster_name
        self._on_claimed = on_claimed
        self._services: dict[str, AsyncServiceInfo] = {}  # by server, as records have it
        self._names: dict[str, LanName] = {}
        self._asked: dict[str, str] = {}
        self._answered: set[str] = set()
        self._listener = _listener(self._hear)

    def __enter__(self) -> Self:
        self._zeroconf.async_add_listener(self._listener, None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zeroconf.async_remove_listener(self._listener)
        self.withdraw([name.app for name in self._names.values()])

    def withdraw(self, apps: Iterable[str]) -> None:
        """Answer no more for these, and say nothing of it."""
        for app in apps:
            self._names.pop(server_of(app), None)
            service = self._services.pop(server_of(app), None)
            if service is not None:
                self._zeroconf.registry.async_remove(service)

    async def part(self, names: Sequence[LanName]) -> None:
        """Answer no more for these, and tell that they are gone."""
        services = [service_of(name, self._cluster_name) for name in names]
        self.withdraw([name.app for name in names])
        await self._send(announcements(services, ttl=0))

    async def announce(self, names: Sequence[LanName]) -> None:
        """From now on answer with these, and tell it."""
        services = []
        for name in names:
            service = service_of(name, self._cluster_name)
            services.append(service)
            self.withdraw([name.app])
            self._zeroconf.registry.async_add(service)
            self._services[server_of(name.app)], self._names[server_of(name.app)] = service, name
        await self._send(announcements(services))

    async def probe(self, apps: Sequence[str]) -> set[str]:
        """Ask for these names; those that another machine has."""
        self._asked, self._answered = {server_of(app): app for app in apps}, set()
        try:
            for _ in range(PROBES):
                await self._send(questions(apps))
                await asyncio.sleep(PROBE_SECONDS)
            return self._answered
        finally:
            self._asked = {}

    async def _send(self, packets: "Iterable[DNSOutgoing]") -> None:
        for packet in packets:
            self._zeroconf.async_send(packet)
            await asyncio.sleep(PACE_SECONDS)

    def _hear(self, server: str, address: bytes, ttl_seconds: float) -> None:
        own = self._names.get(server)
        app = own.app if own is not None else self._asked.get(server)
        if app is None or ttl_seconds <= 0 or len(address) not in (4, 16):  # a goodbye claims nothing
            return
        said = str(ip_address(address))
        if own is not None and said in own.addresses and ttl_seconds <= ADDRESS_TTL_SECONDS:
            return  # our own voice
        if self._on_claimed(app, said, ttl_seconds):
            self._answered.add(app)
            if own is not None:
                self._give_way(own, said)

    def _give_way(self, own: LanName, claimed: str) -> None:
        """Take back what was told of the name, but for the address that is the other machine's as well."""
        self.withdraw([own.app])
        rest = replace(own, addresses=tuple(one for one in own.addresses if one != claimed))
        for packet in announcements([service_of(rest, self._cluster_name)], ttl=0):
            self._zeroconf.async_send(packet)


def _listener(hear: Callable[[str, bytes, float], None]) -> "RecordUpdateListener":
    from zeroconf import DNSAddress, RecordUpdateListener  # type: ignore[attr-defined]

    class Listener(RecordUpdateListener):
        def async_update_records(self, zc: "Zeroconf", now: float, records: "list[RecordUpdate]") -> None:
            for update in records:
                if isinstance(update.new, DNSAddress):
                    hear(update.new.name.lower(), update.new.address, update.new.ttl)

    return Listener()
