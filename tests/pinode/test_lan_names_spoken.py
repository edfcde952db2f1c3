"""Names of apps in real packets of multicast DNS, on this machine's loopback."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from zeroconf import (  # type: ignore[attr-defined]
    AddressResolverIPv4,
    DNSAddress,
    DNSPointer,
    RecordUpdate,
    RecordUpdateListener,
    Zeroconf,
)
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from pinode.apps.commands import CreateApp, DestroyApp, MakeReleaseLive
from pinode.lan_names.announcer import LanNames
from pinode.lan_names.wanted import ADDRESS_TTL_SECONDS
from tests.pinode.fake_cluster import FakeCluster
from tests.waiting import eventually

APP = f"blog{os.getpid()}"  # others may test on this machine at the same time
SERVER = f"{APP}.local."
NODES = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
OTHER_MACHINE = "192.0.2.99"


class Machine(RecordUpdateListener):
    """Another machine on the network: what it hears of the app, and what it finds when it asks."""

    def __init__(self, zeroconf: Zeroconf) -> None:
        self.zeroconf = zeroconf
        self.heard: list[tuple[str, float]] = []  # address and TTL
        self.listed: list[tuple[str, float]] = []  # service and TTL
        zeroconf.async_add_listener(self, None)

    def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:
        for record in (update.new for update in records):
            if isinstance(record, DNSAddress) and record.name == SERVER:
                self.heard.append((".".join(map(str, record.address)), record.ttl))
            if isinstance(record, DNSPointer) and record.alias.startswith(APP):
                self.listed.append((record.alias, record.ttl))

    async def finds(self, *, within_seconds: float = 0.25) -> list[str]:
        """The addresses of the name, by what it remembers or else by asking."""
        asked = AddressResolverIPv4(SERVER)
        await asked.async_request(self.zeroconf, within_seconds * 1000)
        return sorted(asked.parsed_addresses())


def cluster_with_app() -> FakeCluster:
    cluster = FakeCluster()
    cluster.apply(CreateApp(name=APP, owner="ada"))
    version = cluster.complete_build(cluster.start_build(APP))
    cluster.apply(MakeReleaseLive(app=APP, version=version))
    return cluster


@asynccontextmanager
async def on_loopback() -> AsyncIterator[AsyncZeroconf]:
    zeroconf = AsyncZeroconf(interfaces=["127.0.0.1"])
    await zeroconf.zeroconf.async_wait_for_start()
    try:
        yield zeroconf
    finally:
        await zeroconf.async_close()


@asynccontextmanager
async def machine() -> AsyncIterator[Machine]:
    async with on_loopback() as zeroconf:
        yield Machine(zeroconf.zeroconf)


@asynccontextmanager
async def announcing(cluster: FakeCluster) -> AsyncIterator[LanNames]:
    names = LanNames(cluster)
    async with on_loopback() as zeroconf:
        running = asyncio.create_task(names.run_on(zeroconf))
        try:
            yield names
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def host_called_like_the_app(*, is_told: bool = False) -> AsyncIterator[None]:
    """A machine with this host name, as avahi announces it; `is_told`: it tells the network on coming up."""
    host = AsyncServiceInfo(
        "_host._tcp.local.",
        f"h{APP}._host._tcp.local.",
        port=22,
        parsed_addresses=[OTHER_MACHINE],
        server=SERVER,
    )
    async with on_loopback() as zeroconf:
        if is_told:
            await (await zeroconf.async_register_service(host))
        else:
            zeroconf.zeroconf.registry.async_add(host)
        yield


async def test_others_find_the_nodes_under_the_name_and_forget_a_dead_one_at_once() -> None:
    cluster = cluster_with_app()
    async with machine() as other, announcing(cluster):
        await eventually(lambda: {address for address, _ in other.heard} == set(NODES))
        found = await other.finds()

        cluster.change_node("pi2", state="dead")

        # At once: well before the addresses would have been forgotten by themselves.
        await eventually(lambda: still_finds(other, [NODES[0], NODES[2]]), within_seconds=5)
        assert found == NODES
        assert {ttl for _, ttl in other.heard} == {ADDRESS_TTL_SECONDS}
        assert other.listed[0][0] == f"{APP} on home._http._tcp.local."


async def still_finds(other: Machine, addresses: list[str]) -> bool:
    return await other.finds() == addresses


@pytest.mark.multi_host  # takes seconds
async def test_a_leader_that_is_replaced_falls_silent_and_its_successor_is_found_all_the_time() -> None:
    old, new = cluster_with_app(), cluster_with_app()
    new.leader_id = None
    async with machine() as other, announcing(old), announcing(new) as successor:
        await eventually(lambda: other.heard)

        new.leader_id = new.node_id  # the old one does not know yet, and answers
        new.change_node("pi3", state="dead")
        await eventually(lambda: [address for address, _ in other.heard].count(NODES[0]) >= 3)
        old.leader_id = None
        old.note_change()

        await eventually(lambda: still_finds(other, NODES[:2]))
        assert successor.taken == ()
        assert not [ttl for _, ttl in other.heard + other.listed if ttl == 0]


async def found_by_a_newcomer() -> list[str]:
    """By a machine that has heard nothing before. What was told a moment ago is told again after a second."""
    async with machine() as newcomer:
        return await newcomer.finds(within_seconds=2)


@pytest.mark.multi_host  # takes seconds
async def test_a_node_that_leads_no_more_answers_nobody() -> None:
    cluster = cluster_with_app()
    async with machine() as other, announcing(cluster):
        await eventually(lambda: other.heard)
        before = await found_by_a_newcomer()

        cluster.leader_id = None
        cluster.note_change()

        await eventually(nobody_is_found)
        assert before == NODES


async def nobody_is_found() -> bool:
    return await found_by_a_newcomer() == []


async def test_a_node_that_ends_says_no_goodbye_for_names_that_the_next_leader_announces() -> None:
    async with machine() as other:
        async with announcing(cluster_with_app()):
            await eventually(lambda: other.heard)

        assert not [ttl for _, ttl in other.heard + other.listed if ttl == 0]
        assert await other.finds() == NODES


async def test_the_name_of_an_app_that_was_destroyed_is_forgotten_at_once() -> None:
    cluster = cluster_with_app()
    async with machine() as other, announcing(cluster):
        await eventually(lambda: other.heard)

        cluster.apply(DestroyApp(name=APP, actor="ada"))

        await eventually(lambda: still_finds(other, []))
        assert other.listed[-1][1] == 0


async def test_the_host_name_of_a_machine_is_not_taken_from_it() -> None:
    async with machine() as other, host_called_like_the_app():
        async with announcing(cluster_with_app()) as names:
            await eventually(lambda: names.taken == (APP,))

        assert {address for address, _ in other.heard} == {OTHER_MACHINE}
        assert other.listed == []


async def test_a_machine_that_comes_later_gets_its_name() -> None:
    async with machine() as other, announcing(cluster_with_app()) as names:
        await eventually(lambda: other.heard)

        async with host_called_like_the_app(is_told=True):
            await eventually(lambda: names.taken == (APP,))
            await eventually(lambda: still_finds(other, [OTHER_MACHINE]))
