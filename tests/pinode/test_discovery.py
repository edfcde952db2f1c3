"""Nodes that hear each other by multicast DNS, on this machine's loopback."""

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pinode.errors import Conflict
from pinode.peers.cluster_key import ClusterKey
from pinode.peers.discovery import Discovery, announce
from pinode.peers.founding_record import FoundingMember
from pinode.peers.identity import Identity
from pinode.settings import Address, Settings
from tests.pinode.peer_nodes import CLUSTER_KEY, identity_in
from tests.waiting import eventually


def settings_of(name: str) -> Settings:
    settings = Settings()
    return replace(settings, cluster=replace(settings.cluster, name=name))


def member_of(identity: Identity, port: int) -> FoundingMember:
    return FoundingMember(node_id=identity.node_id, name="pi", host="127.0.0.1", peer_port=port)


async def test_nodes_with_one_key_hear_each_other_and_a_foreign_cluster_of_the_name_is_refused(
    tmp_path: Path,
) -> None:
    one, two = identity_in(tmp_path / "1", CLUSTER_KEY), identity_in(tmp_path / "2", CLUSTER_KEY)
    foreign = identity_in(tmp_path / "3", ClusterKey(b"f" * 32))
    settings, other = settings_of("attic"), settings_of("cellar")
    founded = asyncio.create_task(announce(settings, identity=foreign, member=member_of(foreign, 7777)))

    async def heard(discovery: Discovery) -> bool:
        await discovery.listen()
        return Address("127.0.0.1", 7002) in discovery.addresses()

    async with Discovery.of(settings, one, member_of(one, 7001)) as first:
        async with Discovery.of(other, two, member_of(two, 7002)) as second:
            await eventually(lambda: heard(first))

            async def refuses(discovery: Discovery) -> str:
                await discovery.listen()
                try:
                    discovery.refuse_foreign_cluster()
                except Conflict as conflict:
                    return conflict.message
                return ""

            refusal = await eventually(lambda: refuses(first))
            second.refuse_foreign_cluster()
    founded.cancel()
    await asyncio.gather(founded, return_exceptions=True)

    assert "127.0.0.1:7777" in refusal
    assert Address("127.0.0.1", 7777) not in first.addresses()


async def test_with_discovery_off_nothing_is_heard_and_nothing_is_said(tmp_path: Path) -> None:
    identity = identity_in(tmp_path)
    settings = settings_of("attic")
    settings = replace(settings, cluster=replace(settings.cluster, discovery="off"))

    async with Discovery.of(settings, identity, member_of(identity, 7001)) as discovery:
        await discovery.listen()
        heard = discovery.addresses()
    await announce(settings, identity=identity, member=member_of(identity, 7001))

    assert (discovery.is_on, heard) == (False, [])


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("pinode.settings", {"cryptography", "msgpack", "zeroconf", "aiohttp", "asyncio"}),
        ("pinode.peers.cluster_key", {"cryptography", "msgpack", "zeroconf", "aiohttp", "asyncio"}),
        ("pinode.peers.tls", {"cryptography", "zeroconf", "aiohttp"}),
        ("pinode.peers.founding", {"zeroconf", "aiohttp"}),
    ],
)
def test_what_commands_and_the_router_import_stays_light(module: str, without: set[str]) -> None:
    program = f"import sys, {module}; print(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert not without & set(loaded.split())
