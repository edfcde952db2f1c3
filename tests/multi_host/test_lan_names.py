"""Names of apps on a network of three hosts: who answers for them, and with which nodes."""

import contextlib
import http.client
import os
import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from zeroconf import DNSAddress, DNSIncoming  # type: ignore[attr-defined]

from tests.multi_host.network import Host, Network, in_network_of
from tests.multi_host.test_partition import Pis, pis_on

pytestmark = [pytest.mark.multi_host, pytest.mark.netns]

GROUP = ("224.0.0.251", 5353)
LISTEN_SECONDS = 0.6
WITHOUT_THE_DEAD_ONE_SECONDS = 25.0  # an election, and that its death is agreed on


@pytest.fixture
def pis(tmp_path: Path) -> Iterator[Pis]:
    if os.geteuid():
        pytest.fail("network namespaces need root: sudo make test")
    with Network(3) as network, pis_on(network, tmp_path) as cluster:
        yield cluster


def answers(host: Host, name: str) -> dict[str, set[str]]:
    """Who answers a question for this name that is asked on this host, and the addresses each one says."""
    asked = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    with in_network_of(host.namespace):
        asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    found: dict[str, set[str]] = {}
    with contextlib.closing(asking):
        asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(host.ip))
        asking.sendto(struct.pack(">6H", 1, 0, 1, 0, 0, 0) + asked + struct.pack(">2H", 1, 1), GROUP)
        until = time.monotonic() + LISTEN_SECONDS
        while (left := until - time.monotonic()) > 0:
            asking.settimeout(left)
            with contextlib.suppress(TimeoutError):
                data, sender = asking.recvfrom(9000)
                for record in DNSIncoming(data).answers():
                    if isinstance(record, DNSAddress) and record.name == f"{name}.":
                        found.setdefault(sender[0], set()).add(str(ip_address(record.address)))
    return found


def get_by_name(host: Host, name: str) -> tuple[int, str]:
    """Visit the app at the router of this host, under its name."""
    connection = http.client.HTTPConnection(name, 8080, timeout=10)
    connection.sock = host.connect(host.ip, 8080)
    with contextlib.closing(connection):
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def leader_of(pis: Pis, asked: Host) -> Host | None:
    name = pis.json(asked, "status")["cluster"]["leader"]
    return next((host for host in pis.network.hosts.values() if host.name == name), None)


def test_the_leader_alone_answers_for_an_app_with_the_nodes_that_live(pis: Pis) -> None:
    hosts = list(pis.network.hosts.values())
    pis.deploy("blog", from_host=hosts[0], through=hosts[0])
    leader = leader_of(pis, hosts[0])
    assert leader is not None
    everyone = {host.ip for host in hosts}
    for host in hosts:
        pis.until(
            lambda host=host: answers(host, "blog.local") == {leader.ip: everyone},
            seconds=10,
            what=f"blog.local is found on {host.name}",
        )
        assert get_by_name(host, "blog.local")[0] == 200
    urls = pis.json(hosts[0], "apps:info", "blog")["urls"]
    assert urls[0] == f"http://{hosts[0].ip}:9000/"
    assert urls[-1] == "http://blog.local:8080/"

    killed_at = time.monotonic()
    assert leader.run(["pkill", "-KILL", "-f", "pinode start"]).returncode == 0
    staying = [host for host in hosts if host is not leader]
    expected = {host.ip for host in staying}
    found = pis.until(
        lambda: next((said for said in answers(staying[0], "blog.local").values() if said == expected), None),
        seconds=WITHOUT_THE_DEAD_ONE_SECONDS,
        what="blog.local is found without the dead node",
    )
    print(f"blog.local without the dead node after {time.monotonic() - killed_at:.1f} s")

    successor = leader_of(pis, staying[0])
    assert successor in staying
    # A question may stay unanswered: what was told less than a second ago is not told again (RFC 6762 §7.4).
    pis.until(
        lambda: answers(staying[1], "blog.local") == {successor.ip: found},
        seconds=10,
        what="the successor alone answers, to everybody",
    )

    assert pis.pinode(staying[0], "apps:rename", "blog", "news").returncode == 0
    pis.until(
        lambda: answers(staying[1], "news.local") == {successor.ip: expected},
        seconds=10,
        what="news.local is found",
    )
    assert answers(staying[1], "blog.local") == {}
    assert pis.pinode(staying[0], "apps:destroy", "news", "--confirm", "news").returncode == 0
    pis.until(lambda: answers(staying[1], "news.local") == {}, seconds=10, what="news.local is gone")
