"""Addresses of whole nodes: a new one while they run (DHCP, another cable), and none but IPv6."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.multi_host.network import Host, Network
from tests.multi_host.test_partition import Pis, pis, pis_on  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.multi_host, pytest.mark.netns]
NEW_IP = "10.77.0.99"
WIFI_IP = "10.77.0.103"


def until_seen_at(pis: Pis, moved: Host, ip: str, others: list[Host]) -> None:  # noqa: F811
    """Wait until the others see the host at `ip` and it hears the leader."""

    def is_seen_there() -> bool:
        rows = [pis.json(host, "status")["nodes"] for host in others]
        seen = [next(row for row in table if row["name"] == moved.name) for table in rows]
        return all((row["state"], row["address"].rpartition(":")[0]) == ("alive", ip) for row in seen)

    pis.until(is_seen_there, seconds=30, what=f"the others see it at {ip}")
    pis.until(
        lambda: pis.json(moved, "status")["cluster"]["has_quorum"], seconds=20, what="it hears the leader"
    )


def test_a_node_whose_address_changes_is_found_at_the_new_one(pis: Pis) -> None:  # noqa: F811
    """By DHCP; then a second network is there; then the first one's cable is pulled."""
    moving, others = pis.network[3], [pis.network[1], pis.network[2]]

    assert moving.run(["ip", "addr", "del", f"{moving.ip}/24", "dev", "eth0"]).returncode == 0
    assert moving.run(["ip", "addr", "add", f"{NEW_IP}/24", "brd", "+", "dev", "eth0"]).returncode == 0
    moving.ip = NEW_IP

    until_seen_at(pis, moving, NEW_IP, others)
    assert pis.pinode(moving, "apps:create", "blog").returncode == 0
    log = (moving.outside / "node.log").read_text()
    assert f"this node has a new address address={NEW_IP}" in log
    asked = others[0].run(
        ["openssl", "s_client", "-connect", f"{NEW_IP}:8000", "-verify_ip", NEW_IP], input="", seconds=20
    )
    assert (
        f"IP Address:{NEW_IP}"
        in others[0].run(["openssl", "x509", "-noout", "-ext", "subjectAltName"], input=asked.stdout).stdout
    )

    pis.network.plug_in(moving, "wlan0", WIFI_IP)
    seen_at = {row["name"]: row["address"] for row in pis.json(others[0], "status")["nodes"]}[moving.name]
    assert seen_at == f"{NEW_IP}:7300"  # a second address changes nothing
    assert moving.run(["ip", "link", "set", "eth0", "down"]).returncode == 0
    moving.ip = WIFI_IP
    until_seen_at(pis, moving, WIFI_IP, others)
    assert pis.pinode(moving, "apps:create", "shop").returncode == 0


@pytest.fixture
def pis_without_ipv4(tmp_path: Path) -> Iterator[Pis]:
    if os.geteuid():
        pytest.fail("network namespaces need root: sudo make test")
    with Network(3, only_ipv6=True) as network, pis_on(network, tmp_path) as cluster:
        yield cluster


def test_nodes_that_have_only_ipv6_found_a_cluster_and_serve_apps(pis_without_ipv4: Pis) -> None:
    six = pis_without_ipv4
    hosts = list(six.network.hosts.values())
    addresses = {row["name"]: row["address"] for row in six.json(hosts[0], "status")["nodes"]}
    assert addresses == {host.name: f"[{host.ip}]:7300" for host in hosts}

    port = six.deploy("shop", from_host=hosts[0], through=hosts[1])

    for host in hosts:  # one of them runs it, the others hand on
        six.until(lambda host=host: six.get(host, port)[0] == 200, seconds=20, what=f"{host.name} answers")
