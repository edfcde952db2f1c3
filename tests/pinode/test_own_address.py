"""The address of this node that the others are told, and the certificate that names it."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinode.errors import SettingsError
from pinode.own_address import OwnAddress, for_own_family, own_address
from pinode.own_certificate import OwnCertificate
from pinode.peers.certificates import new_web_authority, subjects_of
from pinode.peers.identity import load_web_credentials
from pinode.settings import load_settings


def following(*found: str) -> OwnAddress:
    looks: Iterator[str] = iter(found)
    return OwnAddress("192.168.1.20", find=lambda: next(looks))


def changes(own: OwnAddress, looks: int) -> list[str | None]:
    return [own.host if own.look() else None for _ in range(looks)]


def test_an_address_is_new_when_it_was_found_twice() -> None:
    own = following("192.168.1.20", "192.168.1.77", "192.168.1.77", "192.168.1.77")

    assert changes(own, 4) == [None, None, "192.168.1.77", None]


def test_a_route_that_flaps_between_two_interfaces_changes_nothing() -> None:
    own = following(*["10.0.0.5", "192.168.1.20"] * 5)

    assert changes(own, 10) == [None] * 10


def test_a_node_that_is_dialled_by_ipv6_listens_there_unless_the_settings_name_an_address() -> None:
    settings = load_settings(None, {"PINODE_LISTEN_WEB": "192.168.1.20:8000", "HOME": "/root"})

    by_ipv6 = for_own_family(settings, "fd77::1").listen

    assert (str(by_ipv6.peer), str(by_ipv6.apps), str(by_ipv6.router)) == (
        "[::]:7300",
        "[::]:8080",
        "[::]:7301",
    )
    assert str(by_ipv6.web) == "192.168.1.20:8000"
    assert for_own_family(settings, "192.168.1.20") == settings


def test_a_machine_that_lost_its_network_keeps_its_address_until_it_has_another() -> None:
    own = following("127.0.0.1", "127.0.0.1", "127.0.0.1", "192.168.1.21", "192.168.1.21")

    assert changes(own, 5) == [None, None, None, None, "192.168.1.21"]


async def test_an_address_that_the_settings_name_is_never_left() -> None:
    settings = load_settings(None, {"PINODE_NODE_ADVERTISE": "192.0.2.7"})

    own = await own_address(settings)

    assert (own.host, own.look(), own.look()) == ("192.0.2.7", False, False)


async def test_a_name_is_told_as_the_address_it_stands_for() -> None:
    own = await own_address(load_settings(None, {"PINODE_NODE_ADVERTISE": "localhost"}))

    assert own.host == "127.0.0.1"


async def test_a_name_that_nobody_knows_is_refused_with_an_example() -> None:
    settings = load_settings(None, {"PINODE_NODE_ADVERTISE": "no-such-host.invalid"})

    with pytest.raises(SettingsError, match="not known here") as refused:
        await own_address(settings)

    assert "192.168.1.20" in (refused.value.hint or "")


async def test_open_doors_show_the_certificate_of_the_new_address(tmp_path: Path) -> None:
    authority_pem, authority_key_pem = new_web_authority("home")
    own = OwnCertificate(
        lambda host: load_web_credentials(
            tmp_path,
            authority_pem=authority_pem,
            authority_key_pem=authority_key_pem,
            cluster_name="home",
            host="pi1",
            addresses=[host],
        ),
        "192.168.1.20",
    )
    door = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=own.context())

    async def shown() -> set[str]:
        where = door.sockets[0].getsockname()
        return subjects_of(await asyncio.to_thread(ssl.get_server_certificate, where))[1]

    async with door:
        before = await shown()
        await own.renew("192.168.1.77")
        after = await shown()

    assert "192.168.1.20" in before
    assert "192.168.1.77" in after
    assert "192.168.1.20" not in after


async def test_a_machine_without_a_network_yet_is_not_taken_for_a_demo_that_is_meant_to_be_on_loopback() -> (
    None
):
    by_settings = load_settings(None, {"PINODE_LISTEN_PEER": "127.0.0.1:7300", "HOME": "/root"})

    demo = await own_address(by_settings)
    waiting = OwnAddress("127.0.0.1", find=lambda: "127.0.0.1")

    assert demo.is_meant_for_this_machine
    assert not waiting.is_meant_for_this_machine, "its apps are kept from loopback from the start"
    assert not OwnAddress("192.168.1.20").is_meant_for_this_machine
